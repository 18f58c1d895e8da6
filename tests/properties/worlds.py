"""Random worlds over small alphabets, so that things collide: a realm's model, a subject, a resource, questions and an instant."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

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
CODES = tuple(f"{s}:{a}" for s in SEGMENTS for a in ACTIONS) + ("a:r:own", "b:r:own", "ab:w:own")
PATTERNS = (
    *CODES,
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


@dataclass(frozen=True)
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
    now_us: int
    superuser_allowed: bool


def world(rnd: random.Random) -> World:
    size = rnd.choice((1, 2, 4))
    model = ModelFacts(
        realm="default",
        combining=rnd.choice(("deny_overrides", "overlay")),
        type_combining={kind: rnd.choice(("deny_overrides", "overlay")) for kind in ("ch", "msg") if rnd.random() < 0.2},
        unknown_subjects=rnd.choice(("deny", "everyone")),
        suspended=rnd.random() < 0.02,
        permissions=tuple(_permission(rnd, code) for code in CODES if rnd.random() < 0.8),
        groups=tuple(GroupFact(name, _patterns(rnd, 0, 2)) for name in GROUPS if rnd.random() < 0.5),
        roles=tuple(_role(rnd, name) for name in ROLES if rnd.random() < 0.8),
        everyone=tuple(
            _binding(rnd, 100 + n, rnd.choice(("user:*", "team:*", "agent:*"))) for n in range(_few(rnd, 1 if size < 4 else 3))
        ),
    )
    ref = rnd.choice(SUBJECTS) if rnd.random() < 0.3 else SUBJECTS[0]
    chain = _chain(rnd)
    resource = None
    if rnd.random() < 0.85:
        last = chain[-1].ref if chain and rnd.random() < 0.85 else rnd.choice(("ch:unseen", "doc:7"))
        known = bool(chain) and last == chain[-1].ref
        resource = ResourceFacts(last, known, _attributes(rnd, "open", (True, False, "text")), chain)
    request = Request(
        ref,
        rnd.choice(QUESTIONS) if rnd.random() < 0.5 else "a:r",
        resource.ref if resource else None,
        context=_attributes(rnd, "mfa", (True, False)),
        subject_properties=_attributes(rnd, "level", (2, 5)),
        resource_properties=_attributes(rnd, "open", (True, False)),
        action_properties=_attributes(rnd, "fast", (True, False)),
        asserted=rnd.choice(("fill", "override", "ignore")),
    )
    return World(model, _subject(rnd, ref, size), resource, request, rnd.randrange(LATEST + 1), rnd.random() < 0.1)


def _subject(rnd: random.Random, ref: str, size: int) -> SubjectFacts:
    if rnd.random() < 0.07:
        # A caller with an `override` key may make an unknown subject known by its teams.
        teams = tuple(MembershipFact(ref, team) for team in TEAMS if team != ref and rnd.random() < 0.2)
        bindings = tuple(_binding(rnd, n, edge.team) for n, edge in enumerate(teams))
        return SubjectFacts(ref, known=False, memberships=teams, bindings=bindings)
    edges = tuple(
        MembershipFact(member, team, *_window(rnd))
        for member in {ref, *TEAMS}
        for team in TEAMS
        if member != team and rnd.random() < 0.25
    )
    holders = (ref, ref, *TEAMS)
    return SubjectFacts(
        ref,
        active=rnd.random() > 0.02,
        locked=rnd.random() < 0.02,
        superuser=rnd.random() < 0.3,
        attributes=_attributes(rnd, "level", (1, 5)),
        memberships=edges,
        bindings=tuple(_binding(rnd, n, rnd.choice(holders)) for n in range(_few(rnd, 2 * size))),
    )


def _few(rnd: random.Random, most: int) -> int:
    return rnd.randrange(most + 1)


def _window(rnd: random.Random) -> tuple[int | None, int | None]:
    if rnd.random() < 0.7:
        return None, None
    start = rnd.randrange(LATEST) if rnd.random() < 0.6 else None
    end = rnd.randrange((start or 0) + 1, LATEST + 2) if start is None or rnd.random() < 0.6 else None
    return start, end


def _patterns(rnd: random.Random, least: int, most: int) -> tuple[str, ...]:
    return tuple(rnd.choice(PATTERNS) for _ in range(rnd.randint(least, most)))


def _condition(rnd: random.Random) -> str:
    return rnd.choice(CONDITIONS) if rnd.random() < 0.25 else ""


def _attributes(rnd: random.Random, key: str, values: tuple[Any, ...]) -> dict[str, Any]:
    return {key: rnd.choice(values)} if rnd.random() < 0.5 else {}


def _duties(rnd: random.Random, name: str) -> tuple[dict[str, Any], ...]:
    return ({"id": name, "type": "notification"},) if rnd.random() < 0.15 else ()


def _permission(rnd: random.Random, code: str) -> PermissionFact:
    if rnd.random() < 0.85:
        return PermissionFact(code)
    return PermissionFact(code, requires=tuple(rnd.choice((*CODES, "c:new")) for _ in range(rnd.randint(1, 2))))


def _role(rnd: random.Random, name: str) -> RoleFact:
    lines = []
    for _ in range(_few(rnd, 3)):
        effect = rnd.choice(("allow", "allow", "allow", "exclude", "deny"))
        lines.append(RoleLineFact(effect, rnd.choice(PATTERNS), "" if effect == "exclude" else _condition(rnd)))
    # Mostly a graph that grows upwards; now and then a cycle, which a write would refuse.
    above = [other for other in ROLES if other > name or rnd.random() < 0.05]
    return RoleFact(
        name,
        inherits=tuple(other for other in above if rnd.random() < 0.3 and other != name),
        groups=tuple(group for group in (*GROUPS, "gone") if rnd.random() < 0.2),
        lines=tuple(lines),
        valid_from_us=(window := _window(rnd) if rnd.random() < 0.5 else (None, None))[0],
        valid_until_us=window[1],
        obligations=_duties(rnd, name),
    )


def _binding(rnd: random.Random, number: int, holder: str) -> BindingFact:
    start, end = _window(rnd)
    is_role = rnd.random() < 0.6
    return BindingFact(
        number,
        holder,
        role=rnd.choice((*ROLES, "gone")) if is_role else None,
        allow=() if is_role else _patterns(rnd, 0, 2),
        deny=() if is_role or rnd.random() < 0.5 else _patterns(rnd, 1, 1),
        scope=rnd.choice(NODES) if rnd.random() < 0.5 else REALM,
        condition=_condition(rnd),
        valid_from_us=start,
        valid_until_us=end,
        propagate=rnd.random() > 0.15,
        obligations=_duties(rnd, f"binding {number}"),
    )


def _chain(rnd: random.Random) -> tuple[ResourceNodeFact, ...]:
    depth = rnd.randrange(4)
    return tuple(ResourceNodeFact(ref, inherit=rnd.random() > 0.2) for ref in NODES[:depth])


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
    model, subject, resource = world.model, world.subject, world.resource
    for name in ("permissions", "groups", "roles", "everyone"):
        for rows in _without_one(getattr(model, name)):
            yield dataclasses.replace(world, model=dataclasses.replace(model, **{name: rows}))
    for place, role in enumerate(model.roles):
        for part in ("inherits", "groups", "lines", "obligations"):
            for rows in _without_one(getattr(role, part)):
                roles = (*model.roles[:place], dataclasses.replace(role, **{part: rows}), *model.roles[place + 1 :])
                yield dataclasses.replace(world, model=dataclasses.replace(model, roles=roles))
    for name in ("memberships", "bindings"):
        for rows in _without_one(getattr(subject, name)):
            yield dataclasses.replace(world, subject=dataclasses.replace(subject, **{name: rows}))
    if resource is not None:
        for chain in _without_one(resource.chain):
            yield dataclasses.replace(world, resource=dataclasses.replace(resource, chain=chain))


def _without_one(rows: tuple[Any, ...]) -> Iterator[tuple[Any, ...]]:
    for place in range(len(rows)):
        yield (*rows[:place], *rows[place + 1 :])
