"""The tables as they are, read by plain SQL: what was noted, and the rows to compare with the replay."""

from __future__ import annotations

import datetime as dt
from typing import Any

import psycopg

from tests.chaos.consistency import checker
from tests.chaos.consistency import world as w


def noted(admin: psycopg.Connection[Any]) -> dict[str, list[checker.Row]]:
    return checker.rows_of(admin.execute("SELECT op_id, realm, rev, changed, style, steps FROM chaos_op").fetchall())


def _us(value: dt.datetime | None) -> int | None:
    if value is None:
        return None
    gap = value - dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
    return (gap.days * 86_400 + gap.seconds) * 1_000_000 + gap.microseconds


def final(admin: psycopg.Connection[Any]) -> dict[str, dict[str, Any]]:
    return {realm: _final(admin, realm) for realm in w.REALMS}


def _final(admin: psycopg.Connection[Any], name: str) -> dict[str, Any]:
    def rows(sql: str) -> list[Any]:
        return admin.execute(sql, [name]).fetchall()

    of = "FROM permissions_{0} x JOIN permissions_realm m ON m.id = x.realm_id AND m.name = %s"
    ((suspended, unknown),) = rows("SELECT suspended, unknown_subjects FROM permissions_realm WHERE name = %s")
    requires: dict[str, list[str]] = {}
    for code, needed in rows(
        f"SELECT x.code, q.code {of.format('permission')} JOIN permissions_permissionrequirement e ON e.permission_id = x.id"
        " JOIN permissions_permission q ON q.id = e.required_id"
    ):
        requires.setdefault(code, []).append(needed)
    groups: dict[str, list[str]] = {}
    for group, pattern in rows(
        f"SELECT x.name, l.pattern {of.format('permissiongroup')} JOIN permissions_groupline l ON l.group_id = x.id"
    ):
        groups.setdefault(group, []).append(pattern)
    roles: dict[str, tuple[Any, ...]] = {
        role: ([], [], [], _us(start), _us(end))
        for role, start, end in rows(f"SELECT x.name, x.valid_from, x.valid_until {of.format('role')}")
    }
    for role, *line in rows(
        f"SELECT x.name, l.effect, l.pattern, l.condition {of.format('role')} JOIN permissions_roleline l ON l.role_id = x.id"
    ):
        roles[role][0].append(tuple(line))
    for place, table, other in ((1, "roleinheritance", ("parent_id", "role")), (2, "rolegroup", ("group_id", "permissiongroup"))):
        for role, named in rows(
            f"SELECT x.name, o.name {of.format('role')} JOIN permissions_{table} e ON e.role_id = x.id"
            f" JOIN permissions_{other[1]} o ON o.id = e.{other[0]}"
        ):
            roles[role][place].append(named)
    bindings: dict[tuple[Any, ...], int] = {}
    for subject, role, allow, deny, scope, condition, start, end, propagate in rows(
        "SELECT s.ref, r.name, x.allow, x.deny, n.ref, x.condition, x.valid_from, x.valid_until, x.propagate"
        f" {of.format('rolebinding')} JOIN permissions_subject s ON s.id = x.subject_id"
        " LEFT JOIN permissions_role r ON r.id = x.role_id LEFT JOIN permissions_resource n ON n.id = x.scope_id"
    ):
        key = (subject, role, tuple(allow), tuple(deny), scope, condition, _us(start), _us(end), propagate)
        bindings[key] = bindings.get(key, 0) + 1
    return {
        "realm": (suspended, unknown),
        "permissions": {
            code: (tuple(requires.get(code, ())), critical)
            for code, critical in rows(f"SELECT x.code, x.critical {of.format('permission')}")
        },
        "groups": {
            group: tuple(sorted(groups.get(group, ()))) for (group,) in rows(f"SELECT x.name {of.format('permissiongroup')}")
        },
        "roles": {role: (sorted(row[0]), sorted(row[1]), sorted(row[2]), *row[3:]) for role, row in roles.items()},
        "subjects": {
            ref: (kind, active, locked, attributes.get("level"))
            for ref, kind, active, locked, attributes in rows(
                f"SELECT x.ref, x.kind, x.active, x.locked, x.attributes {of.format('subject')} AND x.kind <> 'everyone'"
            )
        },
        "members": {
            (team, member): (_us(start), _us(end))
            for team, member, start, end in rows(
                f"SELECT x.ref, n.ref, e.valid_from, e.valid_until {of.format('subject')}"
                " JOIN permissions_membership e ON e.team_id = x.id JOIN permissions_subject n ON n.id = e.member_id"
            )
        },
        "resources": {
            ref: (parent, inherit)
            for ref, parent, inherit in rows(
                f"SELECT x.ref, p.ref, x.inherit {of.format('resource')} LEFT JOIN permissions_resource p ON p.id = x.parent_id"
            )
        },
        "bindings": bindings,
    }
