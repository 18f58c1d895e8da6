"""Random worlds over small alphabets, so that things collide: a model, a subject, a resource, questions and an instant."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from permissions.engine.types import (
    REALM,
    BindingFact,
    Condition,
    ConditionError,
    ConditionSyntaxError,
    GroupFact,
    MembershipFact,
    ModelFacts,
    PermissionFact,
    Request,
    ResourceFacts,
    ResourceNodeFact,
    RoleFact,
    RoleLineFact,
    SubjectFacts,
)

SEGMENTS = ("a", "b", "ab")
ACTIONS = ("r", "w", "rw")
CODES = (*(f"{s}:{a}" for s in SEGMENTS for a in ACTIONS), "a:r:own", "b:r:own", "ab:w:own")
PATTERNS = (
    *CODES,
    *("*", "a:*", "*:r", "*:*", "a*:r", "*:*", "?:*", "a:??", "a*:*"),
    *("*", "a:*", "b:*", "*:r", "*:*", "a*:r", "?:w", "a:?w", "a:r*", "a:r:*", "*b:*", "*:*:own", "a:?", "??:*", "**:r", "c:*"),
    *("permsite.*:view", "permsite.role:*", "permsite.role:view", "p*:*"),
)
QUESTIONS = (*CODES, "permsite.role:view", "permsite.role:change", "c:new")
CONDITIONS = ("yes", "no", "error", "broken", "is a:r", "action r", "mfa", "late", "senior", "open", "fast")
ROLES = ("R1", "R2", "R3", "R4")
GROUPS = ("G1", "G2")
TEAMS = ("team:x", "team:y", "team:z")
SUBJECTS = ("user:alice", "user:bob", "agent:c", "team:x")
NODES = ("srv:1", "ch:2", "msg:3", "ch:9")
LATEST = 12
Effect = Literal["allow", "exclude", "deny"]
EXCEPTIONS: tuple[Effect, ...] = ("exclude", "deny")


def ask(text: str, names: Mapping[str, Any]) -> bool:
    """The language of the conditions above: like CEL, it raises ConditionError where a name is missing."""
    try:
        match text:
            case "yes" | "no":
                return text == "yes"
            case "is a:r":
                return bool(names["permission"] == "a:r")
            case "action r":
                return bool(names["action"]["name"] == "r")
            case "mfa":
                return bool(names["context"]["mfa"])
            case "late":
                return bool(now_of(names) >= LATEST // 2)
            case "senior":
                return bool(names["subject"]["attributes"]["level"] > 3)
            case "open":
                return bool(names["resource"]["attributes"]["open"])
            case "fast":
                return bool(names["action"]["attributes"]["fast"])
    except KeyError as error:
        raise ConditionError(str(error)) from error
    raise ConditionError(text)


def now_of(names: Mapping[str, Any]) -> int:
    """The engine gives `now` as a datetime, the reference as microseconds."""
    return int(names["now_us"] if "now_us" in names else names["now"].microsecond)


@dataclass
class Asking:
    text: str

    def evaluate(self, names: Mapping[str, Any]) -> bool:
        return ask(self.text, names)


class Language:
    def compile(self, text: str) -> Condition:
        if text == "broken":
            raise ConditionSyntaxError("does not compile any more")
        return Asking(text)


@dataclass(frozen=True)
class World:
    model: ModelFacts
    subject: SubjectFacts
    resource: ResourceFacts | None
    request: Request
    codes: tuple[str, ...]
    now_us: int
    superuser_allowed: bool


def world(rnd: random.Random) -> World:
    return _Maker(rnd).world()


class _Maker:
    """Draws one world. In a calm one, with few windows, conditions, denies and bindings of everyone, role sets alone decide."""

    def __init__(self, rnd: random.Random) -> None:
        self.rnd = rnd
        self.is_calm = rnd.random() < 0.25
        self.size = rnd.choice((1, 2, 4))

    def chance(self, odds: float, calm: float | None = None) -> bool:
        return self.rnd.random() < (odds if calm is None or not self.is_calm else calm)

    def few(self, most: int) -> int:
        return self.rnd.randrange(most + 1)

    def world(self) -> World:
        rnd = self.rnd
        model = ModelFacts(
            realm="default",
            combining="deny_overrides" if self.chance(0.5, 0.9) else "overlay",
            type_combining={kind: rnd.choice(("deny_overrides", "overlay")) for kind in ("ch", "msg") if self.chance(0.2, 0.05)},
            unknown_subjects=rnd.choice(("deny", "everyone")),
            suspended=self.chance(0.02),
            permissions=tuple(self.permission(code) for code in CODES if self.chance(0.93)),
            groups=tuple(GroupFact(name, self.patterns(0, 2)) for name in GROUPS if self.chance(0.5)),
            roles=tuple(self.role(name) for name in ROLES if self.chance(0.85)),
            everyone=tuple(
                self.binding(100 + n, rnd.choice(("user:*", "user:*", "team:*", "agent:*")))
                for n in range(self.few(2) if self.chance(0.4, 0.1) else 0)
            ),
        )
        ref = rnd.choice(SUBJECTS) if self.chance(0.3) else SUBJECTS[0]
        chain = self.chain()
        resource = None
        if self.chance(0.85):
            last = chain[-1].ref if chain and self.chance(0.85) else rnd.choice(("ch:unseen", "doc:7"))
            known = bool(chain) and last == chain[-1].ref
            resource = ResourceFacts(last, known, self.attributes("open", (True, False, "text")), chain)
        codes = tuple(rnd.choice(CODES) if self.chance(0.9) else rnd.choice(QUESTIONS) for _ in range(4))
        request = Request(
            ref,
            codes[0],
            resource.ref if resource else None,
            context=self.attributes("mfa", (True, False)),
            subject_properties=self.attributes("level", (2, 5)),
            resource_properties=self.attributes("open", (True, False)),
            action_properties=self.attributes("fast", (True, False)),
            asserted=rnd.choice(("fill", "override", "ignore")),
        )
        return World(model, self.subject(ref), resource, request, codes, rnd.randrange(LATEST + 1), self.chance(0.1, 0.02))

    def subject(self, ref: str) -> SubjectFacts:
        rnd = self.rnd
        if self.chance(0.04):
            # A caller with an `override` key may make an unknown subject known by its teams.
            teams = tuple(MembershipFact(ref, team) for team in TEAMS if team != ref and self.chance(0.3))
            bindings = tuple(self.binding(n, edge.team) for n, edge in enumerate(teams))
            return SubjectFacts(ref, known=False, memberships=teams, bindings=bindings)
        edges = tuple(
            MembershipFact(member, team, *self.window())
            for member in (ref, *(team for team in TEAMS if team != ref))
            for team in TEAMS
            if member != team and self.chance(0.3)
        )
        holders = (ref, ref, *TEAMS)
        return SubjectFacts(
            ref,
            active=self.chance(0.985),
            locked=self.chance(0.015),
            superuser=self.chance(0.3),
            attributes=self.attributes("level", (1, 5)),
            memberships=edges,
            bindings=tuple(self.binding(n, rnd.choice(holders)) for n in range(1 + self.few(3 * self.size))),
        )

    def window(self) -> tuple[int | None, int | None]:
        rnd = self.rnd
        if not self.chance(0.25, 0.02):
            return None, None
        start = rnd.randrange(LATEST) if self.chance(0.6) else None
        end = rnd.randrange((start or 0) + 1, LATEST + 2) if start is None or self.chance(0.6) else None
        return start, end

    def patterns(self, least: int, most: int) -> tuple[str, ...]:
        return tuple(self.rnd.choice(PATTERNS) for _ in range(self.rnd.randint(least, most)))

    def condition(self) -> str:
        return self.rnd.choice(CONDITIONS) if self.chance(0.25, 0.02) else ""

    def attributes(self, key: str, values: tuple[Any, ...]) -> dict[str, Any]:
        return {key: self.rnd.choice(values)} if self.chance(0.5) else {}

    def duties(self, name: str) -> tuple[dict[str, Any], ...]:
        return ({"id": name, "type": "notification"},) if self.chance(0.15, 0.02) else ()

    def permission(self, code: str) -> PermissionFact:
        if not self.chance(0.15, 0.05):
            return PermissionFact(code)
        return PermissionFact(code, requires=tuple(self.rnd.choice((*CODES, "c:new")) for _ in range(self.rnd.randint(1, 2))))

    def role(self, name: str) -> RoleFact:
        lines = []
        for _ in range(self.few(3)):
            effect: Effect = "allow" if self.chance(0.6, 0.85) else self.rnd.choice(EXCEPTIONS)
            lines.append(RoleLineFact(effect, self.rnd.choice(PATTERNS), "" if effect == "exclude" else self.condition()))
        # Mostly a graph that grows upwards; now and then a cycle, which a write would refuse.
        above = [other for other in ROLES if other > name or self.chance(0.05)]
        start, end = self.window() if self.chance(0.6) else (None, None)
        return RoleFact(
            name,
            inherits=tuple(other for other in above if other != name and self.chance(0.35)),
            groups=tuple(group for group in (*GROUPS, "gone") if self.chance(0.25)),
            lines=tuple(lines),
            valid_from_us=start,
            valid_until_us=end,
            obligations=self.duties(name),
        )

    def binding(self, number: int, holder: str) -> BindingFact:
        start, end = self.window()
        is_role = self.chance(0.65, 0.97)
        return BindingFact(
            number,
            holder,
            role=self.rnd.choice((*ROLES, "gone")) if is_role else None,
            allow=() if is_role else self.patterns(0, 2),
            deny=() if is_role or self.chance(0.6) else self.patterns(1, 1),
            scope=self.rnd.choice(NODES) if self.chance(0.4) else REALM,
            condition=self.condition(),
            valid_from_us=start,
            valid_until_us=end,
            propagate=not self.chance(0.15, 0.02),
            obligations=self.duties(f"binding {number}"),
        )

    def chain(self) -> tuple[ResourceNodeFact, ...]:
        depth = self.rnd.randrange(4)
        return tuple(ResourceNodeFact(ref, inherit=not self.chance(0.2, 0.05)) for ref in NODES[:depth])


def shuffled(world: World, rnd: random.Random) -> World:
    """The same world with all rows in another order."""

    def mixed(rows: tuple[Any, ...]) -> tuple[Any, ...]:
        rows = tuple(rnd.sample(rows, len(rows)))
        return tuple(
            dataclasses.replace(row, inherits=mixed(row.inherits), groups=mixed(row.groups), lines=mixed(row.lines))
            if isinstance(row, RoleFact)
            else row
            for row in rows
        )

    model, subject = world.model, world.subject
    return dataclasses.replace(
        world,
        model=dataclasses.replace(
            model,
            permissions=mixed(model.permissions),
            groups=mixed(model.groups),
            roles=mixed(model.roles),
            everyone=mixed(model.everyone),
        ),
        subject=dataclasses.replace(subject, memberships=mixed(subject.memberships), bindings=mixed(subject.bindings)),
    )


def smaller(world: World) -> Iterator[World]:
    """Worlds with one row, or one part of a row, less: to find the least that still goes wrong."""
    for code in world.codes if len(world.codes) > 1 else ():
        yield dataclasses.replace(world, codes=(code,))
    model, subject, resource = world.model, world.subject, world.resource
    for name in ("permissions", "groups", "roles", "everyone"):
        for rows in _without_one(getattr(model, name)):
            yield dataclasses.replace(world, model=_with(model, name, rows))
    for place, role in enumerate(model.roles):
        for part in ("inherits", "groups", "lines", "obligations"):
            for rows in _without_one(getattr(role, part)):
                roles = (*model.roles[:place], _with(role, part, rows), *model.roles[place + 1 :])
                yield dataclasses.replace(world, model=dataclasses.replace(model, roles=roles))
    for name in ("memberships", "bindings"):
        for rows in _without_one(getattr(subject, name)):
            yield dataclasses.replace(world, subject=_with(subject, name, rows))
    if resource is not None:
        for chain in _without_one(resource.chain):
            yield dataclasses.replace(world, resource=dataclasses.replace(resource, chain=chain))


def _without_one(rows: tuple[Any, ...]) -> Iterator[tuple[Any, ...]]:
    for place in range(len(rows)):
        yield (*rows[:place], *rows[place + 1 :])


def _with(row: Any, part: str, rows: tuple[Any, ...]) -> Any:
    return dataclasses.replace(row, **{part: rows})
