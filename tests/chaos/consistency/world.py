"""What the realms hold, by the requested operations alone: the checker's model. No Django, no SQL, nothing of the cache.

A step is a JSON list `[name, ...]`; `REALM_STEPS` says what each does to the model. A transaction is a list of steps that became
one revision. What follows from the rows is `truth.py`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

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
    """One realm's rows. `bindings`: (subject, role, allow, deny, scope, condition, start, end, propagate), with how many."""

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


def _role(realm: Realm, name: str, *rest: Any) -> None:
    lines, inherits, groups, start, end = rest
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
