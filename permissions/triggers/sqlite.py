"""SQLite: the same contract by row triggers, counting by `realm.write_state`.

0: foreign SQL, each row makes its own revision. 1: permission_write is open; the first row counts and sets 2, the rest join it.
3 and 4: the same inside a trigger of the user table, which opens and closes its realms itself. Source: consistency, section 3.

The conflict clause of the statement that fired a trigger overrides the trigger's own, hence NOT EXISTS where a row may be there.
"""
# The SQL is put together from names of this package; nothing of a request is in it.
# ruff: noqa: S608

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from permissions.triggers import history, users
from permissions.triggers.schema import Schema, UserTable
from permissions.triggers.tables import AUDIT, CHANGELOG, HISTORY, LAWS, REALM, SUBJECT, Cycle, Law, Table, Touch

# Objects, as on PostgreSQL; counted when permission_write closes the realm.
MAX_OBJECTS: Final = 20_000
_NOW: Final = "strftime('%Y-%m-%d %H:%M:%f000', 'now')"
_COLUMNS: Final = "realm_id, rev, kind, object_id, stamp, at"
_STAMP: Final = "(random() & 2147483647)"


def _touched(touch: Touch, row: str, also: str = "") -> str:
    text = f"SELECT {touch.realm} AS realm, {touch.kind} AS kind, {touch.object_id} AS object"
    conditions = [join.on for join in touch.joins] + ([also] if also else [])
    if touch.joins:
        text += " FROM " + ", ".join(f"{join.table} {join.alias}" for join in touch.joins)
    if conditions:
        text += " WHERE " + " AND ".join(conditions)
    return text.format(x=row)


def _log(parts: list[str], schema: Schema) -> list[str]:
    """Counts each realm touched once, then writes what was touched; all rows of a revision carry the time of its first."""
    touched = " UNION ".join(parts)
    steps = []
    if schema.strict:
        message = "strict mode: a write without the lock of its realm; write through permission_write"
        steps.append(
            f"SELECT RAISE(ABORT, '{message}') FROM {REALM} m WHERE m.write_state = 0 AND m.id IN (SELECT realm FROM ({touched}))"
        )
    return [
        *steps,
        f"UPDATE {REALM} SET rev = rev + 1, stamp = {_STAMP}, write_state = write_state + (write_state IN (1, 3)) "
        f"WHERE write_state IN (0, 1, 3) AND id IN (SELECT realm FROM ({touched}))",
        f"INSERT INTO {CHANGELOG} ({_COLUMNS}) "
        f"SELECT m.id, m.rev, t.kind, t.object, m.stamp, coalesce("
        f"(SELECT c.at FROM {CHANGELOG} c WHERE c.realm_id = m.id AND c.rev = m.rev LIMIT 1), {_NOW}) "
        f"FROM ({touched}) t JOIN {REALM} m ON m.id = t.realm WHERE NOT EXISTS (SELECT 1 FROM {CHANGELOG} c "
        f"WHERE c.realm_id = m.id AND c.rev = m.rev AND c.kind = t.kind AND c.object_id = t.object)",
    ]


def marking(realm_id: int, kind: str, object_id: str) -> list[str]:
    """What a trigger does for one object, as statements of their own."""
    row = f"SELECT {realm_id:d} AS realm, {users.literal(kind)} AS kind, {users.literal(object_id)} AS object"
    return _log([row], Schema({}, None, "", strict=False))


def _refuse(condition: str, message: str) -> str:
    quoted = message.replace("'", "''")
    return f"SELECT RAISE(ABORT, '{quoted}') WHERE EXISTS ({condition})"


def _breach(law: Law, alias: str) -> str:
    others = ", ".join(f"{table} {a}" for a, table in law.tables if a != alias)
    # The law names its row by an alias; here that row is NEW.
    return _refuse(f"SELECT 1 FROM {others} WHERE {law.breach.replace(alias + '.', 'NEW.')}", law.message)


def _cycle(cycle: Cycle, table: str) -> str:
    return _refuse(
        f"WITH RECURSIVE up(node) AS (SELECT NEW.{cycle.upper} "
        f"WHERE EXISTS (SELECT 1 FROM {table} e WHERE e.{cycle.upper} = NEW.{cycle.lower}) "
        f"UNION SELECT e.{cycle.upper} FROM up JOIN {table} e ON e.{cycle.lower} = up.node) "
        f"SELECT 1 FROM up WHERE node = NEW.{cycle.lower}",
        cycle.message,
    )


def _laws(table: Table, schema: Schema) -> list[str]:
    steps = [
        _breach(law, alias)
        for law in LAWS
        for alias, name in law.tables
        if name == table.name and all(t in schema.columns for _, t in law.tables)
    ]
    if table.cycle:
        steps.append(_cycle(table.cycle, table.name))
    return steps


def _differs(columns: tuple[str, ...]) -> str:
    return " OR ".join(f'OLD."{c}" IS NOT NEW."{c}"' for c in columns)


def _trigger(name: str, event: str, table: str, when: str, steps: list[str]) -> tuple[str, str]:
    condition = f" WHEN {when}" if when else ""
    body = "".join(f"  {step};\n" for step in steps)
    return name, f'CREATE TRIGGER {name} {event} ON "{table}" FOR EACH ROW{condition} BEGIN\n{body}END'


def _displaced(table: Table, schema: Schema) -> tuple[str, str]:
    """INSERT OR REPLACE fires no delete trigger for the row it displaces: that row's objects are logged before.

    Only those the new row does not touch itself, which its own trigger logs: so a plain upsert and an ignored duplicate, which
    come by here too, make no revision of their own.
    """
    keys = (("id",), *table.keys)
    same = " OR ".join("(" + " AND ".join(f'd."{c}" = NEW."{c}"' for c in key) + ")" for key in keys)
    parts = []
    for touch in table.touches:
        joins = "".join(f", {j.table} {j.alias}" for j in touch.joins)
        on = "".join(f" AND {j.on}" for j in touch.joins)
        old = f'FROM "{table.name}" d{joins} WHERE ({same}){on}'
        columns = f"SELECT {touch.realm} AS realm, {touch.kind} AS kind, {touch.object_id} AS object"
        parts.append(f"SELECT * FROM ({columns} {old} EXCEPT ".format(x="d") + _touched(touch, "NEW") + ")")
    return _trigger(
        f"ps_{table.short}_r",
        "BEFORE INSERT",
        table.name,
        f'EXISTS (SELECT 1 FROM "{table.name}" d WHERE {same})',
        _log(parts, schema),
    )


def _table(table: Table, schema: Schema) -> Iterator[tuple[str, str]]:
    columns = schema.relevant(table)
    laws = _laws(table, schema)
    renamed = [_touched(r.touch, "NEW", f"({_differs(('id', r.column))})") for r in table.renames]
    inserted = [_touched(t, "NEW") for t in (*table.touches, *(r.touch for r in table.renames if r.touch.joins))]
    deleted = [_touched(t, "OLD") for t in table.touches]
    listed = ", ".join(f'"{c}"' for c in columns)
    if table.name == REALM:
        yield from _realm(schema, columns, inserted, [*deleted, *inserted, *renamed])
    else:
        kept = {event: history.sqlite_steps(table.name, event, schema) for event in "iud"}
        yield _trigger(f"ps_{table.short}_i", "AFTER INSERT", table.name, "", [*laws, *_log(inserted, schema), *kept["i"]])
        steps = [*laws, *_log([*deleted, *(_touched(t, "NEW") for t in table.touches), *renamed], schema), *kept["u"]]
        yield _trigger(f"ps_{table.short}_u", f"AFTER UPDATE OF {listed}", table.name, _differs(columns), steps)
        yield _trigger(f"ps_{table.short}_d", "AFTER DELETE", table.name, "", [*_log(deleted, schema), *kept["d"]])
    yield _displaced(table, schema)
    displaced = history.sqlite_displaced(table.name, schema)
    if displaced is not None:
        yield _trigger(f"ps_{table.short}_k", "BEFORE INSERT", table.name, *displaced)


def _realm(schema: Schema, columns: tuple[str, ...], inserted: list[str], updated: list[str]) -> Iterator[tuple[str, str]]:
    relaxed = Schema(schema.columns, schema.users, schema.realm, strict=False)  # a new realm has no lock that could be held
    born = [*_log(inserted, relaxed), *history.sqlite_steps(REALM, "i", schema), *_adopt(schema, "NEW.name")]
    yield _trigger("ps_realm_i", "AFTER INSERT", REALM, "", born)
    # A row saved whole from an older copy (Model.save) would turn the counter back, or close a write that is open.
    stale = "(NEW.rev < OLD.rev OR (NEW.rev = OLD.rev AND (NEW.stamp <> OLD.stamp OR NEW.write_state < OLD.write_state)))"
    keep = f"UPDATE {REALM} SET rev = OLD.rev, stamp = OLD.stamp, write_state = OLD.write_state WHERE id = NEW.id AND {stale}"
    # Without a relevant change the touched rows are none: a stale copy alone makes no revision.
    touched = [f"SELECT * FROM ({part}) WHERE {_differs(columns)}" for part in updated]
    listed = ", ".join(f'"{c}"' for c in (*columns, "rev", "stamp"))
    renamed = _adopt(schema, "NEW.name", "NEW.name IS NOT OLD.name")
    yield _trigger(
        "ps_realm_u",
        f"AFTER UPDATE OF {listed}",
        REALM,
        f"{_differs(columns)} OR {stale}",
        [keep, *_log(touched, schema), *history.sqlite_steps(REALM, "u", schema), *renamed],
    )
    anew = history.sqlite_steps(REALM, "e", schema)
    if anew:
        yield _trigger("ps_realm_e", "AFTER UPDATE OF epoch, id", REALM, _differs(("epoch", "id")), anew)
    rev = "OLD.rev + (OLD.write_state NOT IN (2, 4))"
    steps = [
        f"INSERT INTO {CHANGELOG} ({_COLUMNS}) SELECT OLD.id, {rev}, '*', '', OLD.stamp, {_NOW} WHERE NOT EXISTS "
        f"(SELECT 1 FROM {CHANGELOG} WHERE realm_id = OLD.id AND rev = {rev} AND kind = '*')"
    ]
    if schema.strict:
        message = "strict mode: a realm deleted without its lock; write through permission_write"
        steps.insert(0, f"SELECT RAISE(ABORT, '{message}') WHERE OLD.write_state = 0")
    steps += history.sqlite_steps(REALM, "d", schema)
    yield _trigger("ps_realm_d", "AFTER DELETE", REALM, "", steps)
    # The end of permission_write: more than MAX_OBJECTS become one `*`.
    many = f"(SELECT count(*) FROM {CHANGELOG} WHERE realm_id = NEW.id AND rev = NEW.rev) > {MAX_OBJECTS}"
    yield _trigger(
        "ps_realm_w",
        "AFTER UPDATE OF write_state",
        REALM,
        f"NEW.write_state = 0 AND OLD.write_state = 2 AND ({many} OR EXISTS "
        f"(SELECT 1 FROM {CHANGELOG} WHERE realm_id = NEW.id AND rev = NEW.rev AND kind = '*'))",
        [
            f"DELETE FROM {CHANGELOG} WHERE realm_id = NEW.id AND rev = NEW.rev",
            f"INSERT INTO {CHANGELOG} ({_COLUMNS}) VALUES (NEW.id, NEW.rev, '*', '', NEW.stamp, {_NOW})",
        ],
    )


_OPEN: Final = f"UPDATE {REALM} SET write_state = 3 WHERE write_state = 0"
_CLOSE: Final = f"UPDATE {REALM} SET write_state = 0 WHERE write_state IN (3, 4)"


def _adopt(schema: Schema, name: str, also: str = "true") -> list[str]:
    """Links the users once the realm they belong to has appeared."""
    if schema.users is None:
        return []
    condition = f"{name} = {users.literal(schema.realm)} AND {also}"
    return [_OPEN, *users.link(schema.users, schema.realm, users.without_subject(schema.users, condition)), _CLOSE]


def _users(table: UserTable, realm: str, schema: Schema) -> Iterator[tuple[str, str]]:
    columns = (table.attribute, *table.flags)
    link = users.link(table, realm, users.without_subject(table, f'u."{table.key}" = NEW."{table.key}"'))
    yield _trigger("ps_user_i", "AFTER INSERT", table.name, "", [_OPEN, *link, _CLOSE])
    rename = (
        f'UPDATE {SUBJECT} SET ref = {users.ref(table, "NEW")} WHERE user_id = NEW."{table.key}" '
        f"AND ref <> {users.ref(table, 'NEW')} AND {users.nameable(table, 'NEW')}"
    )
    everywhere = [
        f"SELECT a.id AS realm, 's' AS kind, {users.ref(table, row)} AS object FROM {REALM} a" for row in ("OLD", "NEW")
    ]
    yield _trigger(
        "ps_user_u",
        "AFTER UPDATE OF " + ", ".join(f'"{c}"' for c in columns),
        table.name,
        _differs(columns),
        [_OPEN, *history.sqlite_user_steps(schema), rename, *link, *_log(everywhere, schema), _CLOSE],
    )
    gone = history.sqlite_user_steps(schema)
    if gone:
        yield _trigger("ps_user_d", "AFTER DELETE", table.name, "", gone)


def _sealed() -> Iterator[tuple[str, str]]:
    refuse = "SELECT RAISE(ABORT, 'audit events are never changed or removed')"
    yield _trigger("ps_sealed_u", "BEFORE UPDATE", AUDIT, "", [refuse])
    yield _trigger("ps_sealed_d", "BEFORE DELETE", AUDIT, "", [refuse])
    # REPLACE removes a row without firing the delete trigger.
    there = f"EXISTS (SELECT 1 FROM {AUDIT} a WHERE a.id = NEW.id OR (a.realm_name = NEW.realm_name AND a.seq = NEW.seq))"
    yield _trigger("ps_sealed_r", "BEFORE INSERT", AUDIT, there, [refuse])


def triggers(schema: Schema) -> Iterator[tuple[str, str]]:
    """(name, CREATE TRIGGER), exactly as sqlite_master keeps the text."""
    for table in schema.tables:
        yield from _table(table, schema)
    if AUDIT in schema.columns:
        yield from _sealed()
    if schema.history:
        for name, event, when, steps in history.sqlite_seals():
            yield _trigger(name, event, HISTORY, when, steps)
    if schema.users:
        yield from _users(schema.users, schema.realm, schema)
