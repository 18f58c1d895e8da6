"""A world's rows, by COPY straight into PostgreSQL: through the services a million subjects would take an hour.

The bench's database alone. Foreign keys are not looked at, since every row is made here; the permission triggers run: the realm
ends with the revision and the changelog that a large write leaves.
"""

from __future__ import annotations

import datetime as dt
import itertools
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from benchmarks.workloads.world import World, ref

# Subjects and bindings are committed in parts: one transaction over millions of rows fills the server's memory with what the
# triggers note.
PART = 250_000


def load(world: World) -> dict[str, Any]:
    """Makes the realm and everything in it; returns what it holds. `role`: one of middling size. Django is set up."""
    from django.db import connection  # noqa: PLC0415

    from permissions.models import Realm  # noqa: PLC0415
    from permissions.writing import SYSTEM, permission_write  # noqa: PLC0415

    name = world.model.realm
    if Realm.objects.filter(name=name).exists():
        return {}
    with permission_write(name, SYSTEM, "bench", create=True) as write:
        realm_id = write.realm.pk
        with connection.cursor() as cursor:
            cursor.execute("SET LOCAL session_replication_role = replica")
            roles = _model(cursor, realm_id, world)
    now = dt.datetime.now(dt.UTC)
    people = ((ref(number), held) for number, held in enumerate(world.held))
    by_size = sorted(world.model.roles, key=lambda role: len(role.lines))
    counted: dict[str, Any] = {
        "role": by_size[len(by_size) // 2].name,
        "roles": len(world.model.roles),
        "grants": sum(len(r.lines) for r in world.model.roles),
        "bindings": 0,
    }
    while part := list(itertools.islice(people, PART)):
        with permission_write(name, SYSTEM, "bench"), connection.cursor() as cursor:
            cursor.execute("SET LOCAL session_replication_role = replica")
            counted["bindings"] += _people(cursor, realm_id, roles, part, now)
    if world.resources:
        # With the triggers: they keep what lies above each resource.
        with permission_write(name, SYSTEM, "bench"), connection.cursor() as cursor:
            columns = ("realm_id", "ref", "inherit", "attributes")
            copy(cursor, "permissions_resource", columns, ((realm_id, place, True, "{}") for place in world.resources))
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")
    return {**counted, "subjects": len(world.held), "permissions": len(world.model.permissions)}


def _model(cursor: Any, realm_id: int, world: World) -> dict[str, int]:
    model = world.model
    copy(
        cursor,
        "permissions_permission",
        ("realm_id", "code", "title", "description", "menu", "critical", "high_risk"),
        ((realm_id, fact.code, "", "", "", False, False) for fact in model.permissions),
    )
    groups = _named(cursor, "permissions_permissiongroup", realm_id, [fact.name for fact in model.groups], {})
    copy(
        cursor,
        "permissions_groupline",
        ("group_id", "pattern"),
        ((groups[fact.name], pattern) for fact in model.groups for pattern in fact.patterns),
    )
    roles = _named(cursor, "permissions_role", realm_id, [fact.name for fact in model.roles], {"obligations": "[]"})
    copy(
        cursor,
        "permissions_roleline",
        ("role_id", "effect", "pattern", "condition"),
        ((roles[role.name], line.effect, line.pattern, line.condition) for role in model.roles for line in role.lines),
    )
    copy(
        cursor,
        "permissions_rolegroup",
        ("role_id", "group_id"),
        ((roles[role.name], groups[group]) for role in model.roles for group in role.groups),
    )
    return roles


def _people(
    cursor: Any, realm_id: int, roles: dict[str, int], part: Sequence[tuple[str, tuple[str, ...]]], now: dt.datetime
) -> int:
    first = _reserved(cursor, "permissions_subject", len(part))
    copy(
        cursor,
        "permissions_subject",
        ("id", "realm_id", "ref", "kind", "attributes", "active", "locked"),
        ((first + n, realm_id, who, "subject", "{}", True, False) for n, (who, _held) in enumerate(part)),
    )
    return copy(
        cursor,
        "permissions_rolebinding",
        (
            "realm_id",
            "subject_id",
            "role_id",
            "allow",
            "deny",
            "condition",
            "propagate",
            "reason",
            "obligations",
            "granted_by",
            "created_at",
        ),
        (
            (realm_id, first + n, roles[role], "[]", "[]", "", True, "", "[]", "", now)
            for n, (_who, held) in enumerate(part)
            for role in held
        ),
    )


def _named(cursor: Any, table: str, realm_id: int, names: Sequence[str], more: dict[str, Any]) -> dict[str, int]:
    first = _reserved(cursor, table, len(names))
    ids = {name: first + n for n, name in enumerate(names)}
    rows = ((pk, realm_id, name, "", "", *more.values()) for name, pk in ids.items())
    copy(cursor, table, ("id", "realm_id", "name", "title", "description", *more), rows)
    return ids


def _reserved(cursor: Any, table: str, count: int) -> int:
    """The first of `count` ids in a row that no other insert will draw."""
    cursor.execute("SELECT pg_get_serial_sequence(%s, 'id')", [table])
    (sequence,) = cursor.fetchone()
    cursor.execute("SELECT nextval(%s)", [sequence])
    (first,) = cursor.fetchone()
    cursor.execute("SELECT setval(%s, %s)", [sequence, first + max(count, 1)])
    return int(first)


def copy(cursor: Any, table: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> int:
    listed = ", ".join(columns)
    count = 0
    with cursor.copy(f"COPY {table} ({listed}) FROM STDIN") as writer:
        for row in rows:
            writer.write_row(row)
            count += 1
    return count


def chunks(values: Iterable[Any], size: int) -> Iterator[list[Any]]:
    rest = iter(values)
    while part := list(itertools.islice(rest, size)):
        yield part
