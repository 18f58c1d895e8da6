"""Permissions, groups and roles: specs → rows and lines."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from django.db.models import Model

from permissions.bundle.specs import BindingSpec, GroupSpec, PermissionSpec, RoleSpec
from permissions.engine import names, platform
from permissions.models import (
    GroupLine,
    Permission,
    PermissionGroup,
    PermissionRequirement,
    Realm,
    Role,
    RoleGroup,
    RoleInheritance,
    RoleLine,
)
from permissions.services.specs import WHOLE, parts
from permissions.services.stores.rows import BATCH, Item, record, save_rows
from permissions.writing import Write

PERMISSION_COLUMNS = ("code", "title", "description", "menu", "critical", "high_risk")
GROUP_COLUMNS = ("name", "title", "description")
ROLE_COLUMNS = ("name", "title", "description", "obligations", "valid_from", "valid_until")


def patterns_of(spec: GroupSpec | RoleSpec | BindingSpec) -> list[str]:
    """Every code and pattern that the spec names."""
    match spec:
        case GroupSpec():
            return list(spec.permissions)
        case RoleSpec():
            return [*(line.code for line in spec.permissions), *spec.exclude, *(line.code for line in spec.deny)]
        case BindingSpec():
            return [*spec.allow, *spec.deny]


def rows_by(model: Any, realm: Realm, key: str, values: Collection[str]) -> dict[str, Any]:
    """The realm's rows with these natural keys, by key."""
    rows = model.objects.filter(realm=realm)
    if len(values) > WHOLE:
        return {getattr(row, key): row for row in rows if getattr(row, key) in values}
    return {getattr(row, key): row for part in parts(values) for row in rows.filter(**{f"{key}__in": part})}


def register(write: Write, patterns: Iterable[str]) -> None:
    """Gives every concrete code among `patterns` its row. The platform's own codes are constants and need none."""
    codes = {p for p in patterns if not names.is_pattern(p) and not p.startswith(platform.PREFIX)}
    if not codes:
        return
    rows = Permission.objects.filter(realm=write.realm)
    chosen = [rows] if len(codes) > WHOLE else [rows.filter(code__in=part) for part in parts(codes)]
    known = {code for query in chosen for code in query.order_by().values_list("code", flat=True)}
    new = sorted(codes - known)
    Permission.objects.bulk_create([Permission(realm=write.realm, code=code) for code in new], batch_size=BATCH)
    for code in new:
        record(write, "permission", code, None, PermissionSpec(code))


def sync_lines(
    model: type[Model], owner: str, wanted: Mapping[int, set[tuple[Any, ...]]], columns: Sequence[str], fresh: Collection[int]
) -> None:
    """Brings the line rows of each owner to `wanted`: what is gone is deleted, what is new inserted, the rest not touched.

    `fresh` owners were inserted just now and hold no lines yet, so nothing is read for them.
    """
    gone: list[int] = []
    new: list[Model] = []
    held: dict[int, set[tuple[Any, ...]]] = {}
    for part in parts([key for key in wanted if key not in fresh]):
        rows = model._default_manager.filter(**{f"{owner}__in": part})
        for pk, key, *values in rows.values_list("pk", f"{owner}_id", *columns):
            line = tuple(values)
            held.setdefault(key, set()).add(line)
            if line not in wanted[key]:
                gone.append(pk)
    for key, lines in wanted.items():
        for line in sorted(lines - held.get(key, set())):
            new.append(model(**{f"{owner}_id": key}, **dict(zip(columns, line, strict=True))))
    for part in parts(gone):
        model._default_manager.filter(pk__in=part).delete()
    model._default_manager.bulk_create(new, batch_size=BATCH)


def _new_rows(model: Any, write: Write, items: Sequence[Item[Any, Any]], key: str) -> dict[str, Any]:
    return {getattr(item.after, key): item.row if item.row is not None else model(realm=write.realm) for item in items}


def store_permissions(write: Write, items: Sequence[Item[PermissionSpec, Permission]]) -> dict[str, Permission]:
    rows = _new_rows(Permission, write, items, "code")
    new = {item.after.code for item in items if item.row is None}
    save_rows(Permission, items, rows, PERMISSION_COLUMNS, "code")
    required = {code for item in items for code in item.after.requires}
    register(write, required)
    known = {**rows_by(Permission, write.realm, "code", required), **rows}
    wanted = {rows[i.after.code].pk: {(known[code].pk,) for code in i.after.requires} for i in items}
    sync_lines(PermissionRequirement, "permission", wanted, ("required_id",), {rows[code].pk for code in new})
    for item in items:
        record(write, "permission", item.after.code, item.before, item.after)
    return rows


def store_groups(write: Write, items: Sequence[Item[GroupSpec, PermissionGroup]]) -> dict[str, PermissionGroup]:
    rows = _new_rows(PermissionGroup, write, items, "name")
    new = {item.after.name for item in items if item.row is None}
    register(write, (p for item in items for p in patterns_of(item.after)))
    save_rows(PermissionGroup, items, rows, GROUP_COLUMNS, "name")
    wanted = {rows[i.after.name].pk: {(pattern,) for pattern in i.after.permissions} for i in items}
    sync_lines(GroupLine, "group", wanted, ("pattern",), {rows[name].pk for name in new})
    for item in items:
        record(write, "group", item.after.name, item.before, item.after)
    return rows


def store_roles(write: Write, items: Sequence[Item[RoleSpec, Role]]) -> dict[str, Role]:
    """All roles are inserted before any line, so roles of one call may inherit from one another in any order."""
    rows = _new_rows(Role, write, items, "name")
    register(write, (p for item in items for p in patterns_of(item.after)))
    save_rows(Role, items, rows, ROLE_COLUMNS, "name")
    fresh = {rows[item.after.name].pk for item in items if item.row is None}
    lines: dict[int, set[tuple[Any, ...]]] = {}
    for item in items:
        spec = item.after
        lines[rows[spec.name].pk] = {
            *(("allow", line.code, line.condition) for line in spec.permissions),
            *(("exclude", pattern, "") for pattern in spec.exclude),
            *(("deny", line.code, line.condition) for line in spec.deny),
        }
    sync_lines(RoleLine, "role", lines, ("effect", "pattern", "condition"), fresh)
    groups = rows_by(PermissionGroup, write.realm, "name", {name for item in items for name in item.after.groups})
    parents = {**rows_by(Role, write.realm, "name", {name for item in items for name in item.after.inherits}), **rows}
    wanted = {rows[i.after.name].pk: {(groups[name].pk,) for name in i.after.groups} for i in items}
    sync_lines(RoleGroup, "role", wanted, ("group_id",), fresh)
    wanted = {rows[i.after.name].pk: {(parents[name].pk,) for name in i.after.inherits} for i in items}
    sync_lines(RoleInheritance, "role", wanted, ("parent_id",), fresh)
    for item in items:
        record(write, "role", item.after.name, item.before, item.after)
    return rows
