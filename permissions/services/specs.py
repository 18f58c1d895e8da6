"""Rows → specs: the state of an object or of a whole realm in the words of a bundle, in a few statements whatever the size."""

from __future__ import annotations

import datetime as dt
from collections import defaultdict
from collections.abc import Collection, Sequence
from typing import Any, Final, cast, overload

from django.db.models import Model, QuerySet

from permissions.bundle.specs import (
    BindingSpec,
    Bundle,
    CodeSpec,
    GroupSpec,
    MemberSpec,
    PermissionSpec,
    RealmSpec,
    ResourceSpec,
    RoleSpec,
    Spec,
    SubjectSpec,
    TeamSpec,
)
from permissions.models import (
    GroupLine,
    Membership,
    Permission,
    PermissionGroup,
    PermissionRequirement,
    Realm,
    Resource,
    Role,
    RoleBinding,
    RoleGroup,
    RoleInheritance,
    RoleLine,
    Subject,
)

# SQLite takes 32,766 variables in a statement; longer lists of keys are read in parts.
PART: Final = 5_000
# Past this many keys, reading the realm's whole table is cheaper than sending the keys.
WHOLE: Final = 2_000


def parts(keys: Collection[Any]) -> list[list[Any]]:
    ordered = list(keys)
    return [ordered[at : at + PART] for at in range(0, len(ordered), PART)]


def _utc(moment: dt.datetime | None) -> dt.datetime | None:
    return None if moment is None else moment.astimezone(dt.UTC)


def realm_spec(realm: Realm) -> RealmSpec:
    return RealmSpec(
        name=realm.name,
        combining=cast(Any, realm.combining),
        resource_types={kind: dict(options) for kind, options in sorted(realm.resource_types.items())},
        unknown_subjects=cast(Any, realm.unknown_subjects),
        staleness_s=realm.staleness_s,
        static_grace_s=realm.static_grace_s,
        suspended=realm.suspended,
    )


def _owned(
    rows: QuerySet[Any], owner: str, keys: Collection[int] | None, realm: Realm, *columns: str
) -> dict[int, list[tuple[Any, ...]]]:
    """The rows of a line table by the key of what they belong to; of the realm where `keys` is None or long."""
    found: dict[int, list[tuple[Any, ...]]] = defaultdict(list)
    if keys is None or len(keys) > WHOLE:
        chosen = [rows.filter(**{f"{owner}__realm": realm})]
    else:
        chosen = [rows.filter(**{f"{owner}__in": part}) for part in parts(keys)]
    for query in chosen:
        for key, *values in query.values_list(f"{owner}_id", *columns).iterator(chunk_size=PART):
            found[key].append(tuple(values))
    return found


def permission_specs(realm: Realm, rows: Sequence[Permission], *, whole: bool = False) -> dict[int, PermissionSpec]:
    keys = None if whole else [row.pk for row in rows]
    requires = _owned(PermissionRequirement.objects.order_by("required__code"), "permission", keys, realm, "required__code")
    return {
        row.pk: PermissionSpec(
            code=row.code,
            title=row.title,
            description=row.description,
            menu=row.menu,
            requires=tuple(code for (code,) in requires.get(row.pk, ())),
            critical=row.critical,
            high_risk=row.high_risk,
        )
        for row in rows
    }


def group_specs(realm: Realm, rows: Sequence[PermissionGroup], *, whole: bool = False) -> dict[int, GroupSpec]:
    keys = None if whole else [row.pk for row in rows]
    lines = _owned(GroupLine.objects.order_by("pattern"), "group", keys, realm, "pattern")
    return {
        row.pk: GroupSpec(
            name=row.name,
            title=row.title,
            description=row.description,
            permissions=tuple(pattern for (pattern,) in lines.get(row.pk, ())),
        )
        for row in rows
    }


def role_specs(realm: Realm, rows: Sequence[Role], *, whole: bool = False) -> dict[int, RoleSpec]:
    keys = None if whole else [row.pk for row in rows]
    ordered = RoleLine.objects.order_by("effect", "pattern", "condition")
    lines = _owned(ordered, "role", keys, realm, "effect", "pattern", "condition")
    parents = _owned(RoleInheritance.objects.order_by("parent__name"), "role", keys, realm, "parent__name")
    groups = _owned(RoleGroup.objects.order_by("group__name"), "role", keys, realm, "group__name")
    found = {}
    for row in rows:
        own = lines.get(row.pk, ())
        found[row.pk] = RoleSpec(
            name=row.name,
            title=row.title,
            description=row.description,
            inherits=tuple(name for (name,) in parents.get(row.pk, ())),
            groups=tuple(name for (name,) in groups.get(row.pk, ())),
            permissions=tuple(CodeSpec(pattern, condition) for effect, pattern, condition in own if effect == "allow"),
            exclude=tuple(pattern for effect, pattern, _ in own if effect == "exclude"),
            deny=tuple(CodeSpec(pattern, condition) for effect, pattern, condition in own if effect == "deny"),
            obligations=tuple(row.obligations),
            valid_from=_utc(row.valid_from),
            valid_until=_utc(row.valid_until),
        )
    return found


def subject_spec(row: Subject) -> SubjectSpec:
    return SubjectSpec(id=row.ref, attributes=row.attributes, active=row.active, locked=row.locked)


def team_specs(realm: Realm, rows: Sequence[Subject], *, whole: bool = False) -> dict[int, TeamSpec]:
    keys = None if whole else [row.pk for row in rows]
    ordered = Membership.objects.order_by("member__ref")
    members = _owned(ordered, "team", keys, realm, "member__ref", "valid_from", "valid_until")
    return {
        row.pk: TeamSpec(
            id=row.ref,
            members=tuple(MemberSpec(ref, _utc(start), _utc(end)) for ref, start, end in members.get(row.pk, ())),
            attributes=row.attributes,
            active=row.active,
            locked=row.locked,
        )
        for row in rows
    }


def resource_spec(row: Resource) -> ResourceSpec:
    parent = None if row.parent is None else row.parent.ref
    return ResourceSpec(id=row.ref, parent=parent, inherit=row.inherit, attributes=row.attributes)


def binding_spec(row: RoleBinding) -> BindingSpec:
    return BindingSpec(
        subject=row.subject.ref,
        role=None if row.role is None else row.role.name,
        allow=tuple(row.allow),
        deny=tuple(row.deny),
        scope=None if row.scope is None else row.scope.ref,
        condition=row.condition,
        valid_from=_utc(row.valid_from),
        valid_until=_utc(row.valid_until),
        propagate=row.propagate,
        reason=row.reason,
        obligations=tuple(row.obligations),
    )


@overload
def spec_of(instance: Realm) -> RealmSpec: ...
@overload
def spec_of(instance: Permission) -> PermissionSpec: ...
@overload
def spec_of(instance: PermissionGroup) -> GroupSpec: ...
@overload
def spec_of(instance: Role) -> RoleSpec: ...
@overload
def spec_of(instance: Subject) -> SubjectSpec | TeamSpec: ...
@overload
def spec_of(instance: Resource) -> ResourceSpec: ...
@overload
def spec_of(instance: RoleBinding) -> BindingSpec: ...
def spec_of(instance: Model) -> Spec:
    """The stored state of one object. A team is a subject whose kind is `team`."""
    match instance:
        case Realm():
            return realm_spec(instance)
        case Permission():
            return permission_specs(instance.realm, [instance])[instance.pk]
        case PermissionGroup():
            return group_specs(instance.realm, [instance])[instance.pk]
        case Role():
            return role_specs(instance.realm, [instance])[instance.pk]
        case Subject() if instance.kind == "team":
            return team_specs(instance.realm, [instance])[instance.pk]
        case Subject():
            return subject_spec(instance)
        case Resource():
            return resource_spec(instance)
        case RoleBinding():
            return binding_spec(instance)
    raise TypeError(f"{type(instance).__name__} has no line in a bundle")


SECTIONS: Final = frozenset({"permissions", "groups", "roles", "subjects", "teams", "resources", "bindings"})
REALM_KEYS: Final = frozenset(
    {"name", "combining", "resource_types", "unknown_subjects", "staleness_s", "static_grace_s", "suspended"}
)


def bindings_with_names(realm: Realm) -> QuerySet[RoleBinding]:
    return RoleBinding.objects.filter(realm=realm).select_related("subject", "role", "scope")


def export_bundle(realm: Realm, sections: Collection[str] = SECTIONS) -> Bundle:
    """The realm as a bundle, or the sections named. Holders `type:*` live in the bindings that name them, and have no line."""
    found: dict[str, Any] = {}
    if "permissions" in sections:
        permissions = list(Permission.objects.filter(realm=realm).order_by("code"))
        found["permissions"] = tuple(permission_specs(realm, permissions, whole=True).values())
    if "groups" in sections:
        groups = list(PermissionGroup.objects.filter(realm=realm).order_by("name"))
        found["groups"] = tuple(group_specs(realm, groups, whole=True).values())
    if "roles" in sections:
        roles = list(Role.objects.filter(realm=realm).order_by("name"))
        found["roles"] = tuple(role_specs(realm, roles, whole=True).values())
    if "subjects" in sections:
        subjects = Subject.objects.filter(realm=realm, kind="subject").order_by("ref")
        found["subjects"] = tuple(subject_spec(row) for row in subjects)
    if "teams" in sections:
        teams = list(Subject.objects.filter(realm=realm, kind="team").order_by("ref"))
        found["teams"] = tuple(team_specs(realm, teams, whole=True).values())
    if "resources" in sections:
        resources = Resource.objects.filter(realm=realm).select_related("parent").order_by("ref")
        found["resources"] = tuple(resource_spec(row) for row in resources)
    if "bindings" in sections:
        found["bindings"] = tuple(binding_spec(row) for row in bindings_with_names(realm).order_by("pk"))
    return Bundle(realm_spec(realm), REALM_KEYS, **found)
