"""The records of a bundle: one shape for bundle, API, admin, audit and services. Parsing is `schema.py`, files are `reader.py`.

Dates are aware UTC datetimes. Texts in tuples keep the author's order; two specs that differ only in the order of a list
that has set meaning compare equal through `canonical`.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

Combining = Literal["deny_overrides", "overlay"]
Json = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class CodeSpec:
    """A permission line: a code or pattern, with the condition under which it holds (empty: always)."""

    code: str
    condition: str = ""


@dataclass(frozen=True, slots=True)
class PermissionSpec:
    code: str
    title: str = ""
    description: str = ""
    menu: str = ""
    requires: tuple[str, ...] = ()
    critical: bool = False
    high_risk: bool = False


@dataclass(frozen=True, slots=True)
class GroupSpec:
    name: str
    title: str = ""
    description: str = ""
    permissions: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class RoleSpec:
    name: str
    title: str = ""
    description: str = ""
    inherits: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    permissions: tuple[CodeSpec, ...] = ()
    exclude: tuple[str, ...] = ()
    deny: tuple[CodeSpec, ...] = ()
    obligations: tuple[Json, ...] = ()
    valid_from: dt.datetime | None = None
    valid_until: dt.datetime | None = None


@dataclass(frozen=True, slots=True)
class SubjectSpec:
    id: str
    attributes: Json = field(default_factory=dict)
    active: bool = True
    locked: bool = False


@dataclass(frozen=True, slots=True)
class MemberSpec:
    id: str
    valid_from: dt.datetime | None = None
    valid_until: dt.datetime | None = None


@dataclass(frozen=True, slots=True)
class TeamSpec:
    id: str
    members: tuple[MemberSpec, ...] = ()
    attributes: Json = field(default_factory=dict)
    active: bool = True
    locked: bool = False


@dataclass(frozen=True, slots=True)
class ResourceSpec:
    id: str
    parent: str | None = None
    inherit: bool = True
    attributes: Json = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class BindingSpec:
    """`scope` None is the realm. Either `role`, or `allow` and `deny`, is given."""

    subject: str
    role: str | None = None
    allow: tuple[str, ...] = ()
    deny: tuple[str, ...] = ()
    scope: str | None = None
    condition: str = ""
    valid_from: dt.datetime | None = None
    valid_until: dt.datetime | None = None
    propagate: bool = True
    reason: str = ""
    obligations: tuple[Json, ...] = ()


@dataclass(frozen=True, slots=True)
class RealmSpec:
    """The realm's own keys: in a bundle they stand at the top level, `name` as `realm`."""

    name: str
    combining: Combining = "deny_overrides"
    resource_types: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    unknown_subjects: Literal["deny", "everyone"] = "deny"
    staleness_s: float = 0.5
    static_grace_s: float = 0.0
    suspended: bool = False


Spec: TypeAlias = RealmSpec | PermissionSpec | GroupSpec | RoleSpec | SubjectSpec | TeamSpec | ResourceSpec | BindingSpec


@dataclass(frozen=True, slots=True)
class Bundle:
    """A parsed bundle. A section that was absent is None and is left alone; `realm_keys` names the realm keys that were given.

    `lines`: place (such as `roles[2]`) → line of the file, so that a refusal found later still names its line.
    """

    realm: RealmSpec
    realm_keys: frozenset[str] = frozenset()
    permissions: tuple[PermissionSpec, ...] | None = None
    groups: tuple[GroupSpec, ...] | None = None
    roles: tuple[RoleSpec, ...] | None = None
    subjects: tuple[SubjectSpec, ...] | None = None
    teams: tuple[TeamSpec, ...] | None = None
    resources: tuple[ResourceSpec, ...] | None = None
    bindings: tuple[BindingSpec, ...] | None = None
    lines: Mapping[str, int] = field(default_factory=dict, compare=False)
