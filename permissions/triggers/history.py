"""What the triggers keep of a row before it changes, so that the rows of a past revision can be read back. For both databases.

An entry of `permissions_rowhistory` says what a row was until its revision began: `o` with the row, `i` that it was not there.
The rows of revision R are those of now, with each row that has entries after R put back to what the first of them says.
`permissions_historyfloor` has, by realm, the oldest revision that can be read so: what ends all that came before (a new epoch, a
TRUNCATE, a row that moves to another realm or key, the pruning) raises it, and no entry can then be missing above it.
"""
# The SQL is put together from names of this package; nothing of a request is in it.
# ruff: noqa: S608

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from permissions.triggers.schema import Schema, UserTable
from permissions.triggers.tables import (
    BINDING,
    FLOOR,
    GROUP,
    HISTORY,
    MEMBERSHIP,
    PERMISSION,
    REALM,
    RESOURCE,
    ROLE,
    SUBJECT,
)

USER_FLAGS: Final = {"is_active": "user_active", "is_superuser": "user_superuser"}


@dataclass(frozen=True, slots=True)
class Kept:
    """A table that decides. `columns`: those that a decision reads; `owner`: table and column that tell a row's realm.

    `unique`: the keys by which REPLACE may displace a row, besides its id.
    """

    table: str
    columns: tuple[str, ...]
    owner: tuple[str, str] | None = None
    unique: tuple[tuple[str, ...], ...] = ()

    @property
    def kind(self) -> str:
        return self.table.removeprefix("permissions_")

    def realm(self, row: str) -> str:
        """The realm's id of a row; of one whose owner went before it (checked at the commit only), as the history has it."""
        if self.table == REALM:
            return f"{row}.id"
        if self.owner is None:
            return f"{row}.realm_id"
        table, column = self.owner
        kind = table.removeprefix("permissions_")
        return (
            f"coalesce((SELECT w.realm_id FROM {table} w WHERE w.id = {row}.{column}), (SELECT h.realm_id FROM {HISTORY} h "
            f"WHERE h.kind = '{kind}' AND h.row_id = {row}.{column} AND h.op = 'o' ORDER BY h.id DESC LIMIT 1))"
        )


_WINDOW: Final = ("valid_from", "valid_until")
KEPT: Final = {
    kept.table: kept
    for kept in (
        Kept(REALM, ("name", "combining", "resource_types", "unknown_subjects", "suspended"), unique=(("name",),)),
        Kept(PERMISSION, ("realm_id", "code", "critical", "high_risk"), unique=(("realm_id", "code"),)),
        Kept(
            "permissions_permissionrequirement",
            ("permission_id", "required_id"),
            (PERMISSION, "permission_id"),
            (("permission_id", "required_id"),),
        ),
        Kept(GROUP, ("realm_id", "name"), unique=(("realm_id", "name"),)),
        Kept("permissions_groupline", ("group_id", "pattern"), (GROUP, "group_id"), (("group_id", "pattern"),)),
        Kept(ROLE, ("realm_id", "name", "obligations", *_WINDOW), unique=(("realm_id", "name"),)),
        Kept(
            "permissions_roleline",
            ("role_id", "effect", "pattern", "condition"),
            (ROLE, "role_id"),
            (("role_id", "effect", "pattern", "condition"),),
        ),
        Kept("permissions_roleinheritance", ("role_id", "parent_id"), (ROLE, "role_id"), (("role_id", "parent_id"),)),
        Kept("permissions_rolegroup", ("role_id", "group_id"), (ROLE, "role_id"), (("role_id", "group_id"),)),
        Kept(
            SUBJECT,
            ("realm_id", "ref", "kind", "attributes", "active", "locked", "user_id"),
            unique=(("realm_id", "ref"), ("user_id",)),
        ),
        Kept(MEMBERSHIP, ("team_id", "member_id", *_WINDOW), (SUBJECT, "member_id"), (("team_id", "member_id"),)),
        Kept(RESOURCE, ("realm_id", "ref", "parent_id", "inherit", "attributes"), unique=(("realm_id", "ref"),)),
        Kept(
            BINDING,
            (
                "realm_id",
                "subject_id",
                "role_id",
                "allow",
                "deny",
                "scope_id",
                "condition",
                *_WINDOW,
                "propagate",
                "obligations",
            ),
        ),
    )
}


def kept_of(table: str, schema: Schema) -> Kept | None:
    return KEPT.get(table) if schema.history else None


def _flags(kept: Kept, users: UserTable | None) -> Iterator[tuple[str, str]]:
    """Key in the entry and column of the user table: a subject's row is kept with the flags of its user."""
    if kept.table == SUBJECT and users is not None:
        yield from ((USER_FLAGS[flag], flag) for flag in users.flags)


def _pairs(kept: Kept, row: str, users: UserTable | None) -> str:
    parts = [f"'{c}', {row}.\"{c}\"" for c in kept.columns]
    parts += [
        f'\'{key}\', (SELECT u."{flag}" FROM "{users.name}" u WHERE u."{users.key}" = {row}.user_id)'
        for key, flag in _flags(kept, users)
        if users is not None
    ]
    return ", ".join(parts)


_INTO: Final = f"INSERT INTO {HISTORY} (realm_id, rev, kind, op, row_id, old)"
_RAISED: Final = "ON CONFLICT (realm_id) DO UPDATE SET epoch = excluded.epoch, rev = excluded.rev, at = excluded.at"


# PostgreSQL: one entry for all rows that one statement adds, one a row for what it changes or removes.

FORGET: Final = f"""
BEGIN
  INSERT INTO {FLOOR} (realm_id, epoch, rev, at) SELECT m.id, m.epoch, m.rev, clock_timestamp() FROM {REALM} m WHERE m.id = r
    {_RAISED};
END
"""
# Pruning removes what lies below the floor, or belongs to a realm that is gone. Anything else would leave a hole nobody sees.
HISTORY_SEALED: Final = f"""
BEGIN
  IF TG_OP = 'DELETE' THEN
    IF NOT EXISTS (SELECT FROM {FLOOR} f WHERE f.realm_id = OLD.realm_id AND f.rev < OLD.rev) THEN
      RETURN OLD;
    END IF;
  END IF;
  RAISE EXCEPTION 'the history of rows is never changed, and removed only below its floor (% of %)', TG_OP, TG_TABLE_NAME
    USING ERRCODE = '23001', CONSTRAINT = 'history_sealed';
END
"""


def _rev(realm: str) -> str:
    return f"nullif(current_setting('ps.r' || {realm}, true), '')::bigint"


def _postgresql_old(kept: Kept, source: str, users: UserTable | None) -> str:
    # Without a revision nothing that decides has changed: no entry.
    rows = f"SELECT {kept.realm('x')} AS realm, x.id, jsonb_build_object({_pairs(kept, 'x', users)}) AS old FROM {source} x"
    return (
        f"  {_INTO}\n    SELECT t.realm, {_rev('t.realm')}, '{kept.kind}', 'o', t.id, t.old FROM (\n      {rows}) t\n"
        f"    WHERE {_rev('t.realm')} IS NOT NULL;\n"
    )


def _forget_all(sources: Iterable[str], kept: Kept) -> str:
    union = " UNION ".join(f"SELECT {kept.realm('x')} AS realm FROM {source} x" for source in sources)
    return f"    PERFORM ps_forget(t.realm) FROM ({union}) t;\n"


def postgresql_steps(table: str, event: str, schema: Schema) -> str:
    """What the statement trigger of the table does after the changelog: its revision is known then."""
    kept = kept_of(table, schema)
    if kept is None:
        return ""
    if event == "d":
        if table == REALM:
            return f"  DELETE FROM {FLOOR} f USING gone x WHERE f.realm_id = x.id;\n"
        return _postgresql_old(kept, "gone", schema.users)
    if event == "i":
        text = _forget_all(["come"], kept) if table == REALM else ""
        return text + (
            f"  {_INTO}\n    SELECT t.realm, {_rev('t.realm')}, '{kept.kind}', 'i', NULL, jsonb_agg(t.id) FROM "
            f"(SELECT {kept.realm('x')} AS realm, x.id FROM come x) t WHERE {_rev('t.realm')} IS NOT NULL GROUP BY t.realm;\n"
        )
    columns = ", ".join(f'"{c}"' for c in ("id", *kept.columns))
    gone, come = (
        f"(SELECT {columns} FROM {a} EXCEPT SELECT {columns} FROM {b})" for a, b in (("gone", "come"), ("come", "gone"))
    )
    # A row that went to another realm, or under another id, was not there before: its new realm has no entry that says so.
    moved = f"SELECT x.id, {kept.realm('x')} FROM {come} x EXCEPT SELECT x.id, {kept.realm('x')} FROM {gone} x"
    text = _postgresql_old(kept, gone, schema.users)
    text += f"  IF EXISTS ({moved}) THEN\n{_forget_all((gone, come), kept)}  END IF;\n"
    if table == REALM:
        text += (
            "  IF EXISTS (SELECT id, epoch FROM come EXCEPT SELECT id, epoch FROM gone) THEN\n"
            "    PERFORM ps_forget(t.id) FROM (SELECT id, epoch FROM come EXCEPT SELECT id, epoch FROM gone) t;\n  END IF;\n"
        )
    return text


def postgresql_user_steps(schema: Schema, changed: str) -> str:
    """Before the subjects of changed or removed users are touched: what their rows were, with the flags of before.

    Django removes a user before its subject, so when that goes, nothing would tell the flags any more.
    """
    kept = kept_of(SUBJECT, schema)
    if kept is None or schema.users is None:
        return ""
    users = schema.users
    pairs = ", ".join(
        [f"'{c}', s.\"{c}\"" for c in kept.columns] + [f"'{key}', x.\"{flag}\"" for key, flag in _flags(kept, users)]
    )
    return (
        f"    {_INTO}\n      SELECT s.realm_id, ps_bump(s.realm_id), '{kept.kind}', 'o', s.id, jsonb_build_object({pairs}) "
        f'FROM {SUBJECT} s JOIN {changed} x ON s.user_id = x."{users.key}" ORDER BY s.realm_id;\n'
    )


# SQLite: one entry a row.


def _sqlite_old(kept: Kept, row: str, schema: Schema, when: str = "true") -> str:
    return (
        f"{_INTO} SELECT m.id, m.rev, '{kept.kind}', 'o', {row}.id, json_object({_pairs(kept, row, schema.users)}) "
        f"FROM {REALM} m WHERE m.id = {kept.realm(row)} AND ({when})"
    )


def _sqlite_forget(where: str) -> str:
    # `WHERE true` parts the conflict clause from a join's ON.
    return (
        f"INSERT INTO {FLOOR} (realm_id, epoch, rev, at) SELECT m.id, m.epoch, m.rev, "
        f"strftime('%Y-%m-%d %H:%M:%f000', 'now') FROM {REALM} m WHERE {where} {_RAISED}"
    )


def sqlite_steps(table: str, event: str, schema: Schema) -> list[str]:
    kept = kept_of(table, schema)
    if kept is None:
        return []
    if event == "d":
        return [f"DELETE FROM {FLOOR} WHERE realm_id = OLD.id"] if table == REALM else [_sqlite_old(kept, "OLD", schema)]
    if event == "e":
        return [_sqlite_forget("m.id = NEW.id")]
    if event == "i":
        born = [_sqlite_forget("m.id = NEW.id")] if table == REALM else []
        return [
            *born,
            f"{_INTO} SELECT m.id, m.rev, '{kept.kind}', 'i', NEW.id, NULL FROM {REALM} m WHERE m.id = {kept.realm('NEW')}",
        ]
    differs = " OR ".join(f'OLD."{c}" IS NOT NEW."{c}"' for c in ("id", *kept.columns))
    moved = f"OLD.id IS NOT NEW.id OR {kept.realm('OLD')} IS NOT {kept.realm('NEW')}"
    steps = [_sqlite_old(kept, "OLD", schema, differs)]
    if table != REALM:
        steps.append(_sqlite_forget(f"m.id IN ({kept.realm('OLD')}, {kept.realm('NEW')}) AND ({moved})"))
    return steps


def sqlite_displaced(table: str, schema: Schema) -> tuple[str, list[str]] | None:
    """Condition and steps before an insert: REPLACE removes a row without its delete trigger.

    Whether the row goes is not known yet: an upsert and an ignored duplicate come by here too. What is kept is true all the same,
    as long as it is kept under a revision that the row has not reached.
    """
    kept = kept_of(table, schema)
    if kept is None:
        return None
    same = " OR ".join("(" + " AND ".join(f'd."{c}" = NEW."{c}"' for c in key) + ")" for key in (("id",), *kept.unique))
    step = (
        f"{_INTO} SELECT m.id, m.rev + (m.write_state IN (0, 1, 3)), '{kept.kind}', 'o', d.id, "
        f'json_object({_pairs(kept, "d", schema.users)}) FROM "{table}" d JOIN {REALM} m ON m.id = {kept.realm("d")} WHERE {same}'
    )
    return f'EXISTS (SELECT 1 FROM "{table}" d WHERE {same})', [step]


def sqlite_user_steps(schema: Schema) -> list[str]:
    kept = kept_of(SUBJECT, schema)
    if kept is None or schema.users is None:
        return []
    users = schema.users
    pairs = ", ".join(
        [f"'{c}', s.\"{c}\"" for c in kept.columns] + [f"'{key}', OLD.\"{flag}\"" for key, flag in _flags(kept, users)]
    )
    return [
        f"{_INTO} SELECT m.id, m.rev + (m.write_state IN (0, 1, 3)), '{kept.kind}', 'o', s.id, json_object({pairs}) "
        f'FROM {SUBJECT} s JOIN {REALM} m ON m.id = s.realm_id WHERE s.user_id = OLD."{users.key}"'
    ]


def sqlite_seals() -> Iterator[tuple[str, str, str, list[str]]]:
    """(name, event, condition, steps), as for the audit trail; below the floor the pruning removes."""
    refuse = "SELECT RAISE(ABORT, 'the history of rows is never changed, and removed only below its floor')"
    above = f"EXISTS (SELECT 1 FROM {FLOOR} f WHERE f.realm_id = OLD.realm_id AND f.rev < OLD.rev)"
    yield "ps_history_u", "BEFORE UPDATE", "", [refuse]
    yield "ps_history_d", "BEFORE DELETE", above, [refuse]
