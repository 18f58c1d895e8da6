"""What the realms hold, by the requested operations alone: the checker's model. No Django, no SQL, nothing of the cache.

A step is a JSON list `[name, ...]`; `REALM_STEPS` says what each does to the model. A transaction is a list of steps that became
one revision. Truth is `tests.reference`, the law written a second time, over facts made from the model.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

from permissions.engine.types import (
    REALM,
    BindingFact,
    ConditionError,
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
from tests import reference

REALMS: Final = ("alpha", "beta")
# Seconds. Beta lowers the bound: a realm may.
BOUND_S: Final = {"alpha": 0.5, "beta": 0.3}

USERS: Final = tuple(f"user:u{n}" for n in range(14))
PASSING: Final = ("user:p0", "user:p1")  # deleted and made again
ACCOUNT: Final = "user:account"  # has a Django user, in the realm alpha
GHOSTS: Final = tuple(f"user:ghost{n}" for n in range(40))  # no row, ever: what a filter stops
TEAMS: Final = ("team:a", "team:b", "team:c", "team:d")
FOLDERS: Final = ("org:0", "org:1", "box:0", "box:1", "box:2", "box:3")
DOCS: Final = tuple(f"doc:{n}" for n in range(7))
UNKNOWN_DOCS: Final = tuple(f"doc:lost{n}" for n in range(10))
EXTRA: Final = "doc:extra"
CODES: Final = ("doc:read", "doc:edit", "doc:share", "doc:purge", "box:open", EXTRA)
CRITICAL: Final = "doc:purge"
ROLES: Final = ("reader", "editor", "sharer", "keeper")
PASSING_ROLE: Final = "temp"
GROUP: Final = "writing"
LEVEL: Final = "has(subject.attributes.level) && subject.attributes.level >= 3"
STRICT_LEVEL: Final = "subject.attributes.level >= 3"  # an error where there is none
MFA: Final = "context.mfa == true"

Step = list[Any]
Slot = tuple[bool, str]


def ask(text: str, names: dict[str, Any]) -> bool:
    """The three conditions of this world, by hand."""
    level = names["subject"]["attributes"].get("level")
    if text == MFA:
        if "mfa" not in names["context"]:
            raise ConditionError("no mfa")
        return names["context"]["mfa"] is True
    if level is None:
        if text == STRICT_LEVEL:
            raise ConditionError("no level")
        return False
    return bool(level >= 3)


@dataclass(slots=True)
class Role:
    lines: list[tuple[str, str, str]]
    inherits: list[str]
    groups: list[str]
    start: int | None = None
    end: int | None = None


@dataclass(slots=True)
class Subject:
    kind: str = "subject"
    active: bool = True
    locked: bool = False
    level: int | None = None
    user_active: bool = True


@dataclass(slots=True)
class Realm:
    """One realm's rows. `bindings`: (subject, role, allow, deny, scope, condition, start, end, propagate), several times if so bound."""

    name: str
    suspended: bool = False
    unknown: str = "deny"
    permissions: dict[str, tuple[tuple[str, ...], bool]] = field(default_factory=dict)
    groups: dict[str, tuple[str, ...]] = field(default_factory=dict)
    roles: dict[str, Role] = field(default_factory=dict)
    subjects: dict[str, Subject] = field(default_factory=dict)
    members: dict[tuple[str, str], tuple[int | None, int | None]] = field(default_factory=dict)
    resources: dict[str, tuple[str | None, bool]] = field(default_factory=dict)
    bindings: Counter[tuple[Any, ...]] = field(default_factory=Counter)
    version: int = 0

    def apply(self, steps: list[Step]) -> None:
        for name, *arguments in steps:
            _STEPS[name](self, *arguments)
        self.version += 1

    def rows(self) -> dict[str, Any]:
        """For comparison with the tables at the end."""
        return {
            "realm": (self.suspended, self.unknown),
            "permissions": dict(self.permissions),
            "groups": dict(self.groups),
            "roles": {n: (sorted(r.lines), sorted(r.inherits), sorted(r.groups), r.start, r.end) for n, r in self.roles.items()},
            "subjects": {ref: (s.kind, s.active, s.locked, s.level) for ref, s in self.subjects.items()},
            "members": dict(self.members),
            "resources": dict(self.resources),
            "bindings": {key: number for key, number in self.bindings.items() if number},
        }


def _bind(realm: Realm, subject: str, role: str | None, *rest: Any) -> None:
    allow, deny, scope, condition, start, end, propagate = rest
    if not subject.endswith(":*"):
        realm.subjects.setdefault(subject, Subject())
    if scope is not None:
        realm.resources.setdefault(scope, (None, True))
    realm.bindings[(subject, role, tuple(allow), tuple(deny), scope, condition, start, end, propagate)] += 1


def _drop(realm: Realm, keep: Callable[[tuple[Any, ...]], bool]) -> None:
    for key in [key for key in realm.bindings if not keep(key)]:
        del realm.bindings[key]


def _unbind(realm: Realm, subject: str, role: str | None, scope: str | None) -> None:
    _drop(realm, lambda key: (key[0], key[1], key[4]) != (subject, role, scope))


def _clear(realm: Realm, subject: str) -> None:
    _drop(realm, lambda key: key[0] != subject)


def _member(realm: Realm, team: str, member: str, start: int | None, end: int | None) -> None:
    realm.subjects.setdefault(member, Subject())
    realm.members[(team, member)] = (start, end)


def _unmember(realm: Realm, team: str, member: str) -> None:
    realm.members.pop((team, member), None)


def _role(realm: Realm, name: str, lines: Any, inherits: Any, groups: Any, start: int | None, end: int | None) -> None:
    realm.roles[name] = Role([(e, p, c) for e, p, c in lines], list(inherits), list(groups), start, end)


def _role_gone(realm: Realm, name: str) -> None:
    realm.roles.pop(name, None)
    _drop(realm, lambda key: key[1] != name)
    for role in realm.roles.values():
        role.inherits = [parent for parent in role.inherits if parent != name]


def _group(realm: Realm, name: str, patterns: Any) -> None:
    realm.groups[name] = tuple(patterns)


def _resource(realm: Realm, ref: str, parent: str | None, inherit: bool) -> None:
    if parent is not None:
        realm.resources.setdefault(parent, (None, True))
    realm.resources[ref] = (parent, inherit)


def _resource_gone(realm: Realm, ref: str) -> None:
    realm.resources.pop(ref, None)
    _drop(realm, lambda key: key[4] != ref)


def _subject(realm: Realm, ref: str, active: bool, locked: bool, level: int | None) -> None:
    row = realm.subjects.setdefault(ref, Subject())
    row.active, row.locked, row.level = active, locked, level


def _locked(realm: Realm, ref: str, locked: bool) -> None:
    """Raw SQL: a row that is not there stays away."""
    if ref in realm.subjects:
        realm.subjects[ref].locked = locked


def _subject_gone(realm: Realm, ref: str) -> None:
    realm.subjects.pop(ref, None)
    _clear(realm, ref)
    for edge in [edge for edge in realm.members if ref in edge]:
        del realm.members[edge]


def _team(realm: Realm, ref: str) -> None:
    """An empty team without bindings, whatever was there."""
    _subject_gone(realm, ref)
    realm.subjects[ref] = Subject(kind="team")


def _permission(realm: Realm, code: str, requires: Any, critical: bool) -> None:
    realm.permissions[code] = (tuple(requires), critical)


def _permission_gone(realm: Realm, code: str) -> None:
    realm.permissions.pop(code, None)


def _account(realm: Realm, ref: str, active: bool) -> None:
    """A Django user: a revision in every realm, a change only where its subject is."""
    if realm.name == REALMS[0] and ref in realm.subjects:
        realm.subjects[ref].user_active = active


def _law(realm: Realm, suspended: bool, unknown: str) -> None:
    realm.suspended, realm.unknown = suspended, unknown


def _nothing(realm: Realm, *_: Any) -> None:
    """A revision that changes no row of the law: a flush."""


_STEPS: Final[dict[str, Callable[..., None]]] = {
    "bind": _bind,
    "unbind": _unbind,
    "clear": _clear,
    "member": _member,
    "unmember": _unmember,
    "role": _role,
    "role_gone": _role_gone,
    "group": _group,
    "resource": _resource,
    "resource_gone": _resource_gone,
    "subject": _subject,
    "locked": _locked,
    "subject_gone": _subject_gone,
    "team": _team,
    "permission": _permission,
    "permission_gone": _permission_gone,
    "account": _account,
    "law": _law,
    "flush": _nothing,
}


class Truth:
    """What the law says on the model's present rows. Facts are interned and answers kept by them, so a replay is linear."""

    def __init__(self) -> None:
        self._numbers: dict[Any, int] = {}
        self._facts: list[Any] = []
        self._answers: dict[tuple[Any, ...], Slot] = {}
        self._bounds: dict[tuple[int, int], list[int]] = {}
        self._now: tuple[int, int] | None = None
        self._model = 0
        self._subjects: dict[str, int] = {}
        self._resources: dict[str, int] = {}

    def slots(self, realm: Realm, question: tuple[str, str, str | None, int], earliest_us: int, latest_us: int) -> set[Slot]:
        """Every answer that is right at some instant from `earliest_us` to `latest_us`. `question` ends with the context:
        0 none, 1 with mfa, 2 without."""
        subject, code, resource, context = question
        model = self._model_of(realm)
        who = self._subject_of(realm, subject)
        what = -1 if resource is None else self._resource_of(realm, resource)
        bounds = self._bounds_of(model, who)
        first, last = bisect_right(bounds, earliest_us), bisect_right(bounds, latest_us)
        found = set()
        for slot in range(first, last + 1):
            key = (model, who, what, code, resource, context, slot)
            answer = self._answers.get(key)
            if answer is None:
                at_us = bounds[slot - 1] if slot else (bounds[0] - 1 if bounds else earliest_us)
                answer = self._answers[key] = self._decide(model, who, what, question, at_us)
            found.add(answer)
        return found

    def model(self, realm: Realm) -> ModelFacts:
        return self._facts[self._model_of(realm)]

    def subject(self, realm: Realm, ref: str) -> SubjectFacts:
        self._fresh(realm)
        return self._facts[self._subject_of(realm, ref)]

    def resource(self, realm: Realm, ref: str) -> ResourceFacts:
        self._fresh(realm)
        return self._facts[self._resource_of(realm, ref)]

    def _decide(self, model: int, who: int, what: int, question: tuple[str, str, str | None, int], at_us: int) -> Slot:
        subject, code, resource, context = question
        request = Request(subject, code, resource, context={} if context == 0 else {"mfa": context == 1})
        answer = reference.decide(
            self._facts[model], self._facts[who], None if what < 0 else self._facts[what], request, at_us, ask
        )
        return answer.allowed, answer.reason

    def _fresh(self, realm: Realm) -> None:
        if self._now != (id(realm), realm.version):
            self._now = (id(realm), realm.version)
            self._model = -1
            self._subjects.clear()
            self._resources.clear()

    def _intern(self, key: Any, make: Callable[[], Any]) -> int:
        number = self._numbers.get(key)
        if number is None:
            number = self._numbers[key] = len(self._facts)
            self._facts.append(make())
        return number

    def _model_of(self, realm: Realm) -> int:
        self._fresh(realm)
        if self._model < 0:
            everyone = tuple(_facts_of(realm, lambda holder: holder.endswith(":*")))
            roles = tuple(
                RoleFact(
                    name,
                    tuple(role.inherits),
                    tuple(role.groups),
                    tuple(RoleLineFact(e, p, c) for e, p, c in role.lines),  # type: ignore[arg-type]
                    role.start,
                    role.end,
                )
                for name, role in sorted(realm.roles.items())
            )
            permissions = tuple(PermissionFact(code, *row) for code, row in sorted(realm.permissions.items()))
            groups = tuple(GroupFact(name, patterns) for name, patterns in sorted(realm.groups.items()))
            law = (realm.name, realm.unknown, realm.suspended)
            self._model = self._intern(
                ("m", law, permissions, groups, roles, everyone),
                lambda: ModelFacts(
                    realm.name,
                    unknown_subjects=realm.unknown,  # type: ignore[arg-type]
                    suspended=realm.suspended,
                    permissions=permissions,
                    groups=groups,
                    roles=roles,
                    everyone=everyone,
                ),
            )
        return self._model

    def _subject_of(self, realm: Realm, ref: str) -> int:
        number = self._subjects.get(ref)
        if number is None:
            number = self._subjects[ref] = self._read_subject(realm, ref)
        return number

    def _read_subject(self, realm: Realm, ref: str) -> int:
        row = realm.subjects.get(ref)
        edges, seen, todo = [], {ref}, [ref]
        while todo:
            member = todo.pop()
            for (team, inner), (start, end) in realm.members.items():
                if inner == member:
                    edges.append(MembershipFact(member, team, start, end))
                    if team not in seen:
                        seen.add(team)
                        todo.append(team)
        memberships = tuple(sorted(edges, key=lambda edge: (edge.member, edge.team)))
        bindings = tuple(_facts_of(realm, lambda holder: holder in seen)) if row is not None else ()
        state = None if row is None else (row.active and row.user_active, row.locked, row.level)
        return self._intern(
            ("s", ref, state, memberships, bindings),
            lambda: SubjectFacts(
                ref,
                known=row is not None,
                active=state is None or state[0],
                locked=state is not None and state[1],
                attributes={} if state is None or state[2] is None else {"level": state[2]},
                memberships=memberships,
                bindings=bindings,
            ),
        )

    def _resource_of(self, realm: Realm, ref: str) -> int:
        number = self._resources.get(ref)
        if number is None:
            chain: list[ResourceNodeFact] = []
            known, node = ref in realm.resources, ref
            while node in realm.resources:
                parent, inherit = realm.resources[node]
                chain.insert(0, ResourceNodeFact(node, inherit))
                if parent is None:
                    break
                node = parent
            nodes = tuple(chain) if known else (ResourceNodeFact(ref),)
            number = self._intern(("r", ref, known, nodes), lambda: ResourceFacts(ref, known=known, chain=nodes))
            self._resources[ref] = number
        return number

    def _bounds_of(self, model: int, who: int) -> list[int]:
        bounds = self._bounds.get((model, who))
        if bounds is None:
            facts, subject = self._facts[model], self._facts[who]
            rows = [*facts.roles, *facts.everyone, *subject.memberships, *subject.bindings]
            bounds = sorted({at for row in rows for at in (row.valid_from_us, row.valid_until_us) if at is not None})
            self._bounds[(model, who)] = bounds
        return bounds


def _facts_of(realm: Realm, holds: Callable[[str], bool]) -> list[BindingFact]:
    found: list[BindingFact] = []
    for key in sorted((key for key in realm.bindings if holds(key[0])), key=repr):
        subject, role, allow, deny, scope, condition, start, end, propagate = key
        # Twice the same binding gives nothing more, and no step of this world names one by its id.
        found.append(
            BindingFact(
                len(found), subject, role, allow, deny, REALM if scope is None else scope, condition, start, end, propagate
            )
        )
    return found
