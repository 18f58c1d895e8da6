"""A table compiled from its predecessor is the table compiled from nothing, over random worlds and chains of random changes."""

from __future__ import annotations

import copy
import dataclasses
import random
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from permissions.engine import patterns
from permissions.engine.compile import compile_table
from permissions.engine.evaluate import allowed_codes, evaluate
from permissions.engine.increment import updated
from permissions.engine.patterns import Index
from permissions.engine.scopes import build_resource, build_subject
from permissions.engine.table import CompiledRole, Holdings, Line, RoleTable, role_set, roles_in
from permissions.engine.types import ModelFacts, PermissionFact, RoleFact, RoleLineFact
from tests.properties import worlds
from tests.properties.worlds import World

LANGUAGE = worlds.Language()
BLOCKS = 8
CHAINS_A_BLOCK = 40
CHANGES = 8
# More than fit in the bytes of the first masks; some of them are reached by patterns of the worlds, some by none.
MORE_CODES = tuple(f"{segment}:{action}{n}" for segment in ("a", "zz") for action in ("r", "new") for n in range(12))
MANY_CODES = tuple(f"a:many{n}" for n in range(patterns.MAX_ADDED + 1))
PARTS = {"permissions": "code", "groups": "name", "roles": "name"}

pytestmark = pytest.mark.timeout(300)


def replaced(row: Any, **parts: Any) -> Any:
    return dataclasses.replace(row, **parts)


def sorted_model(model: ModelFacts) -> ModelFacts:
    """As `selectors` reads one: each part ascending, without repetition."""
    parts = {
        part: tuple(fact for _, fact in sorted({getattr(fact, key): fact for fact in getattr(model, part)}.items()))
        for part, key in PARTS.items()
    }
    whole: ModelFacts = replaced(model, everyone=tuple(sorted(model.everyone, key=lambda b: b.id)), **parts)
    return whole


class Chain:
    """A world whose model changes step by step; each change comes as the names of a changelog and what they are by now."""

    def __init__(self, rnd: random.Random) -> None:
        self.rnd = rnd
        self.world = worlds.world(rnd)
        self.model = sorted_model(self.world.model)

    def change(self) -> ModelFacts:
        """The model after it, made by the increment; `self.now` is what a full read would give."""
        names: set[str] = set()
        self.now = self.model
        for _ in range(self.rnd.choice((1, 1, 2, 5))):
            names |= self.rnd.choice(self.ways())()
        self.now = sorted_model(self.now)
        fresh = replaced(
            self.now,
            everyone=tuple(b for b in self.now.everyone if b.holder in names),
            **{p: tuple(f for f in getattr(self.now, p) if getattr(f, key) in names) for p, key in PARTS.items()},
        )
        # What comes from a database is never the same object.
        self.model = updated(self.model, sorted(names), copy.deepcopy(fresh), settings=self.now.realm in names)
        return self.model

    def ways(self) -> tuple[Callable[[], set[str]], ...]:
        return (
            *(self.take(part) for part in ("roles", "roles", "roles", "groups", "permissions", "permissions")),
            *(self.drop(part) for part in PARTS),
            self.extend_role,
            self.register,
            self.register_many,
            self.flag,
            self.everyone,
            self.settings,
            self.nothing,
        )

    def other(self) -> ModelFacts:
        return worlds.world(self.rnd).model

    def put(self, part: str, *facts: Any) -> set[str]:
        """The last of equal names stays."""
        self.now = replaced(self.now, **{part: (*getattr(self.now, part), *facts)})
        self.now = sorted_model(self.now)
        return {getattr(fact, PARTS[part]) for fact in facts}

    def take(self, part: str) -> Callable[[], set[str]]:
        """A part of another world, new or in the place of what had its name."""

        def work() -> set[str]:
            facts = getattr(self.other(), part)
            return self.put(part, self.rnd.choice(facts)) if facts else set()

        return work

    def drop(self, part: str) -> Callable[[], set[str]]:
        def work() -> set[str]:
            facts = getattr(self.now, part)
            if not facts:
                return set()
            gone = self.rnd.choice(facts)
            self.now = replaced(self.now, **{part: tuple(f for f in facts if f is not gone)})
            return {getattr(gone, PARTS[part])}

        return work

    def extend_role(self) -> set[str]:
        if not self.now.roles:
            return set()
        role = self.rnd.choice(self.now.roles)
        line = RoleLineFact("allow", self.rnd.choice((*worlds.PATTERNS, *MORE_CODES)), self.rnd.choice(("", "yes")))
        return self.put("roles", dataclasses.replace(role, lines=(*role.lines, line)))

    def register(self) -> set[str]:
        return self.put("permissions", *(PermissionFact(code) for code in self.rnd.sample(MORE_CODES, self.rnd.randint(1, 4))))

    def register_many(self) -> set[str]:
        if self.rnd.random() < 0.7:
            return set()
        return self.put("permissions", *(PermissionFact(code) for code in MANY_CODES))

    def flag(self) -> set[str]:
        if not self.now.permissions:
            return set()
        fact = self.rnd.choice(self.now.permissions)
        return self.put("permissions", dataclasses.replace(fact, critical=not fact.critical))

    def everyone(self) -> set[str]:
        fresh = self.other().everyone
        names = {b.holder for b in (*fresh, *self.now.everyone)}
        self.now = replaced(self.now, everyone=fresh)
        return names

    def settings(self) -> set[str]:
        other = self.other()
        given = {f: getattr(other, f) for f in ("combining", "type_combining", "unknown_subjects", "suspended")}
        self.now = replaced(self.now, **given)
        return {self.now.realm}

    def nothing(self) -> set[str]:
        return {self.rnd.choice((*worlds.ROLES, *worlds.GROUPS, *worlds.CODES, "user:*"))}


def meaning(table: RoleTable) -> dict[str, Any]:
    """The table without its numbering: what each part says, in codes."""
    return {
        "codes": table.codes,
        "registered": {code for code in (*table.codes, *MORE_CODES, *worlds.CODES) if table.is_registered(code)},
        "roles": {name: role_meaning(table, role) for name, role in table.roles.items()},
        "required": dict(table.required),
        "quick": {code: table.index.bits[code] == byte * 8 + bit.bit_length() - 1 for code, (byte, bit) in table.quick.items()},
        "critical": table.critical,
        "obligations": dict(table.obligations),
        "everyone": {kind: holdings_meaning(held) for kind, held in table.everyone.items()},
        "is_uniform": table.is_uniform,
        "is_plain_realm": table.is_plain_realm,
        "role_facts": dict(table.role_facts),
        "group_facts": dict(table.group_facts),
    }


def role_meaning(table: RoleTable, role: CompiledRole) -> list[Any]:
    codes = table.index.codes_of
    return [codes(role.allow), codes(role.deny), lines_meaning(table, role.allow_lines), lines_meaning(table, role.deny_lines)]


def lines_meaning(table: RoleTable, lines: Iterable[Line]) -> list[Any]:
    """Of a code that is gone a line may be left that names nothing."""
    told = [
        (table.index.codes_of(line.mask), line.key, type(line.condition), line.condition and line.condition.text)
        for line in lines
    ]
    return [line for line in told if line[0]]


def holdings_meaning(held: Holdings) -> list[Any]:
    lines = {scope: [line.binding for line in own] for scope, own in held.lines.items()}
    return [held.realm_roles, dict(held.scopes), lines, [line.binding for line in held.apart]]


def memo_meaning(table: RoleTable) -> dict[tuple[str, ...], list[Any]]:
    found = {}
    for roles, masks in list(table.memo.items()):
        sets = [table.index.codes_of(int.from_bytes(m, "little")) for m in (masks.allow, masks.deny, masks.special)]
        assert {len(m) for m in (masks.allow, masks.deny, masks.special)} == {table.index.size_bytes}
        found[roles_in(roles)] = [*sets, lines_meaning(table, masks.allow_lines), lines_meaning(table, masks.deny_lines)]
    return found


def answers(table: RoleTable, world: World) -> list[Any]:
    """Every question of the alphabet; what they leave in the memos, the next table may take over."""
    found: list[Any] = []
    subject = build_subject(world.subject, world.now_us)
    resource = build_resource(world.resource) if world.resource is not None else None
    for code in (*worlds.QUESTIONS, *MORE_CODES[::5]):
        request = dataclasses.replace(world.request, permission=code)
        decision = evaluate(table, subject, resource, request, world.now_us, superuser_allowed=world.superuser_allowed)
        found.append((code, decision.allowed, decision.reason, decision.obligations))
    found.append(allowed_codes(table, subject, resource, world.request, world.now_us))
    for roles in (*worlds.ROLES, "gone"):
        table.masks(role_set((roles,)))
    table.masks(role_set(tuple(sorted(worlds.ROLES))))
    return found


def differences(rnd: random.Random, changes: int = CHANGES) -> Iterator[str]:
    """What goes wrong along one chain, in words."""
    chain = Chain(rnd)
    table = compile_table(chain.model, LANGUAGE)
    for step in range(changes):
        before, said = answers(table, chain.world), meaning(table)
        model = chain.change()
        if model != chain.now:
            yield f"step {step}: the model is {model}, read whole {chain.now}"
        new = compile_table(model, LANGUAGE, table)
        kept = memo_meaning(new)
        fresh = compile_table(chain.now, LANGUAGE)
        expected = meaning(fresh)
        for part, value in meaning(new).items():
            if value != expected[part]:
                yield f"step {step}: {part} is {value}, from nothing {expected[part]}"
        for roles, masks in kept.items():
            fresh.masks(role_set(roles))
            if masks != memo_meaning(fresh)[roles]:
                yield f"step {step}: the memo of {roles} was taken over as {masks}, from nothing {memo_meaning(fresh)[roles]}"
        if answers(new, chain.world) != answers(fresh, chain.world):
            yield f"step {step}: {answers(new, chain.world)}, from nothing {answers(fresh, chain.world)}"
        if answers(table, chain.world) != before or meaning(table) != said:
            yield f"step {step}: the old table, which readers still hold, has changed"
        table = new


@pytest.mark.parametrize("block", range(BLOCKS))
def test_a_table_compiled_from_its_predecessor_equals_one_compiled_from_nothing(block: int) -> None:
    for number in range(CHAINS_A_BLOCK):
        seed = f"chain {block}/{number}"
        found = next(differences(random.Random(seed)), "")
        assert not found, f"{seed}, {found}"


@settings(
    max_examples=60, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example]
)
@given(st.randoms(use_true_random=False))
def test_hypothesis_finds_no_difference_either(rnd: random.Random) -> None:
    assert next(differences(rnd, 2), "") == ""


@pytest.mark.parametrize("seed", range(30))
def test_an_index_with_other_codes_reaches_what_a_fresh_one_reaches(seed: int) -> None:
    rnd = random.Random(f"index {seed}")
    every = (*worlds.CODES, *MORE_CODES, "permsite.role:view", "deep:er:and:deeper")
    codes = set(rnd.sample(every, len(every) // 2))
    index: Index | None = Index(codes)
    for _ in range(12):
        assert index is not None
        for pattern in rnd.sample(worlds.PATTERNS, 8):
            index.mask(pattern)
        added = set(rnd.sample(sorted(set(every) - codes), 2)) if len(codes) < len(every) - 2 else set()
        gone = set(rnd.sample(sorted(codes), 2))
        before = {pattern: index.expand(pattern) for pattern in worlds.PATTERNS}
        old, codes = index, (codes | added) - gone
        index = index.changed(added, gone)
        fresh = Index(codes)
        assert index is not None and index.codes == fresh.codes
        for pattern in (*worlds.PATTERNS, *every):
            assert index.expand(pattern) == fresh.expand(pattern), pattern
        assert {pattern: old.expand(pattern) for pattern in worlds.PATTERNS} == before


def test_an_index_is_numbered_anew_where_that_costs_less() -> None:
    index = Index(f"a:r{n}" for n in range(100))
    assert index.changed({f"b:r{n}" for n in range(patterns.MAX_ADDED + 1)}, set()) is None
    assert index.changed(set(), set(index.codes[: patterns.MAX_ADDED + 1])) is None
    shrinking = index
    for code in index.codes:
        following = shrinking.changed((), (code,))
        if following is None:
            break
        shrinking = following
    assert len(shrinking.by_number) - len(shrinking.codes) == patterns.MAX_ADDED


class _Counting(worlds.Language):
    """Counts what it compiles."""

    def __init__(self) -> None:
        self.compiled: list[str] = []

    def compile(self, text: str) -> Any:
        self.compiled.append(text)
        return super().compile(text)


def _wide(count: int, language: Any = LANGUAGE) -> tuple[ModelFacts, RoleTable]:
    roles = tuple(RoleFact(f"r{n:03}", lines=(RoleLineFact("allow", f"a:r{n}", "yes"),)) for n in range(count))
    model = ModelFacts("default", permissions=tuple(PermissionFact(f"a:r{n}") for n in range(count)), roles=roles)
    model = sorted_model(model)
    return model, compile_table(model, language)


def _with_line(model: ModelFacts, name: str, pattern: str) -> ModelFacts:
    role = next(fact for fact in model.roles if fact.name == name)
    fresh = ModelFacts("", roles=(dataclasses.replace(role, lines=(*role.lines, RoleLineFact("allow", pattern))),))
    return updated(model, [name], fresh, settings=False)


def test_only_what_a_change_reaches_is_composed_and_forgotten() -> None:
    model, table = _wide(100)
    heir = RoleFact("heir", inherits=("r007",))
    model = updated(model, ["heir"], ModelFacts("", roles=(heir,)), settings=False)
    table = compile_table(model, LANGUAGE, table)
    sets = [role_set((fact.name,)) for fact in model.roles]
    for roles in sets:
        table.masks(roles)
    new = compile_table(_with_line(model, "r007", "a:r50"), LANGUAGE, table)
    assert {n for n in new.roles if new.roles[n] is not table.roles[n]} == {"r007", "heir"}
    assert {roles_in(roles) for roles in sets} - {roles_in(roles) for roles in new.memo} == {("r007",), ("heir",)}
    assert all(new.memo[roles] is table.memo[roles] for roles in new.memo)
    assert new.index is table.index and new.quick is table.quick and len(table.memo) == 101


def test_a_registered_code_composes_only_the_roles_that_name_it() -> None:
    model, table = _wide(100)
    model = _with_line(_with_line(model, "r007", "new:*"), "r008", "new:code")
    table = compile_table(model, LANGUAGE, table)
    registered = updated(model, ["new:code"], ModelFacts("", permissions=(PermissionFact("new:code"),)), settings=False)
    new = compile_table(registered, LANGUAGE, table)
    assert {n for n in new.roles if new.roles[n] is not table.roles[n]} == {"r007", "r008"}
    assert new.index.codes_of(new.roles["r008"].allow) == ["new:code"]
    assert not table.is_registered("new:code") and new.is_registered("new:code")


def test_the_same_model_is_the_same_table() -> None:
    model, table = _wide(3)
    assert compile_table(model, LANGUAGE, table) is table


def test_a_condition_is_compiled_once_for_all_tables() -> None:
    language = _Counting()
    model, table = _wide(20, language)
    new = compile_table(_with_line(model, "r007", "a:r1"), language, table)
    assert new.condition("yes") is table.condition("yes")
    assert language.compiled == ["yes"]


def test_a_table_in_another_language_is_compiled_from_nothing() -> None:
    model, table = _wide(3)
    other = worlds.Language()
    new = compile_table(model, other, table)
    assert new is not table and new.language is other
    assert not any(new.roles[name] is table.roles[name] for name in table.roles)
