"""PostgreSQL: statement triggers over transition tables, one a table and event. Source: consistency, section 3."""
# The SQL is put together from names of this package; nothing of a request is in it.
# ruff: noqa: S608

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from permissions.triggers import history, users
from permissions.triggers import postgresql_core as core
from permissions.triggers.schema import Schema, UserTable
from permissions.triggers.tables import AUDIT, CHANGELOG, HISTORY, LAWS, REALM, SUBJECT, Cycle, Law, Table, Touch


@dataclass(frozen=True, slots=True)
class Function:
    name: str
    body: str
    arguments: str = ""
    returns: str = "trigger"


@dataclass(frozen=True, slots=True)
class Trigger:
    """`head` stands between name and table, `tail` between table and EXECUTE, as pg_get_triggerdef prints them."""

    name: str
    table: str
    head: str
    tail: str
    function: str

    @property
    def text(self) -> str:
        return f"CREATE TRIGGER {self.name} {self.head} ON {self.table} {self.tail} EXECUTE FUNCTION {self.function}()"


def _list(columns: tuple[str, ...]) -> str:
    return ", ".join(f'"{c}"' for c in columns)


def _differing(columns: tuple[str, ...], which: str, other: str) -> str:
    return f"(SELECT {_list(columns)} FROM {which} EXCEPT SELECT {_list(columns)} FROM {other})"


def _touched(touch: Touch, source: str) -> str:
    text = f"SELECT {touch.realm} AS realm, {touch.kind} || {touch.object_id} AS object FROM {source} x"
    for join in touch.joins:
        text += f" JOIN {join.table} {join.alias} ON {join.on}"
    return text.format(x="x")


def _breach(law: Law, alias: str, source: str) -> str:
    tables = ", ".join(f"{source} {a}" if a == alias else f"{table} {a}" for a, table in law.tables)
    return _refuse(f"SELECT FROM {tables} WHERE {law.breach}", law.name, law.message)


def _cycle(cycle: Cycle, table: str, source: str) -> str:
    # Only an edge whose lower end has something below it can close a ring: a hundred thousand plain members cost one lookup each.
    return _refuse(
        f"""WITH RECURSIVE up(start, node) AS (
      SELECT x.{cycle.lower}, x.{cycle.upper} FROM {source} x
        WHERE x.{cycle.upper} IS NOT NULL AND EXISTS (SELECT FROM {table} e WHERE e.{cycle.upper} = x.{cycle.lower})
      UNION SELECT up.start, e.{cycle.upper} FROM up JOIN {table} e ON e.{cycle.lower} = up.node WHERE up.node <> up.start)
    SELECT FROM up WHERE start = node""",
        cycle.name,
        cycle.message,
    )


def _refuse(query: str, name: str, message: str) -> str:
    quoted = message.replace("'", "''")
    return (
        f"  IF EXISTS ({query}) THEN\n    RAISE EXCEPTION USING MESSAGE = '{quoted}', ERRCODE = '23514', "
        f"CONSTRAINT = '{name}', TABLE = TG_TABLE_NAME;\n  END IF;\n"
    )


def _laws(table: Table, event: str, schema: Schema) -> str:
    text = ""
    for law in LAWS:
        for alias, name in law.tables:
            if name == table.name and all(t in schema.columns for _, t in law.tables):
                columns = dict(law.columns)[alias]
                text += _breach(law, alias, "come" if event == "i" else _differing(columns, "come", "gone"))
    if table.cycle:
        columns = ("id", *dict.fromkeys(c for c in (table.cycle.lower, table.cycle.upper) if c != "id"))
        text += _cycle(table.cycle, table.name, "come" if event == "i" else _differing(columns, "come", "gone"))
    return text


def _log(table: Table, event: str, schema: Schema) -> str:
    columns = schema.relevant(table)
    if event == "u":
        parts = [
            _touched(touch, _differing(columns, *pair))
            for touch in table.touches
            for pair in (("gone", "come"), ("come", "gone"))
        ]
        parts += [_touched(r.touch, _differing(("id", r.column), "come", "gone")) for r in table.renames]
    else:
        parts = [_touched(touch, "come" if event == "i" else "gone") for touch in table.touches]
        parts += [_touched(r.touch, "come") for r in table.renames if event == "i" and r.touch.joins]
    union = "\n      UNION ALL ".join(parts)
    # Ascending realms: two statements that write several realms must not wait for each other.
    return (
        f"  FOR r, objects IN SELECT realm, array_agg(DISTINCT object) FROM (\n      {union}) t\n"
        "      GROUP BY realm ORDER BY realm LOOP\n    PERFORM ps_write(r, objects);\n  END LOOP;\n"
    )


_NEW_REALM: Final = """  FOR r IN SELECT id FROM come ORDER BY id LOOP
    -- Nobody else can see the row before the commit, so whoever inserts it holds its lock.
    IF current_setting('ps.locked', true) IS DISTINCT FROM '*' THEN
      PERFORM set_config('ps.locked', concat_ws(',', nullif(current_setting('ps.locked', true), ''), r::text), true);
    END IF;
  END LOOP;
"""
_GONE_REALM: Final = f"""
DECLARE g record;
BEGIN
{{history}}  FOR g IN SELECT id, rev, stamp FROM gone ORDER BY id LOOP
    INSERT INTO {CHANGELOG} (realm_id, rev, kind, object_id, stamp, at)
      VALUES (g.id, coalesce(nullif(current_setting('ps.r' || g.id, true), '')::bigint, g.rev + 1),
        '*', '', g.stamp, clock_timestamp())
      ON CONFLICT DO NOTHING;
  END LOOP;
  RETURN NULL;
END
"""


def _event_body(table: Table, event: str, schema: Schema) -> str:
    if table.name == REALM and event == "d":
        return _GONE_REALM.format(history=history.postgresql_steps(REALM, "d", schema))
    body = "" if event == "d" else _laws(table, event, schema)
    if table.name == REALM and event == "i":
        body += _NEW_REALM
    body += _log(table, event, schema)
    body += history.postgresql_steps(table.name, event, schema)
    if table.name == REALM and event in "iu" and schema.users:
        come = "come" if event == "i" else _differing(("id", "name"), "come", "gone")
        adopt, create = users.link(schema.users, schema.realm, users.without_subject(schema.users))
        body += (
            f"  IF EXISTS (SELECT FROM {come} x WHERE x.name = {users.literal(schema.realm)}) THEN\n"
            f"    PERFORM ps_lock_all();\n    {adopt};\n    {create};\n  END IF;\n"
        )
    return f"\nDECLARE\n  r bigint;\n  objects text[];\nBEGIN\n{body}  RETURN NULL;\nEND\n"


def _user_insert(table: UserTable, realm: str) -> str:
    adopt, create = users.link(table, realm, f"(SELECT * FROM come c WHERE {users.nameable(table, 'c')})")
    return f"\nBEGIN\n  {adopt};\n  {create};\n  RETURN NULL;\nEND\n"


def _user_update(table: UserTable, schema: Schema) -> str:
    columns = (table.key, table.attribute, *table.flags)
    come, gone = _differing(columns, "come", "gone"), _differing(columns, "gone", "come")
    refs = " UNION ".join(f"SELECT 's' || {users.ref(table, 'x')} FROM {source} x" for source in (come, gone))
    changed = f'u."{table.key}" IN (SELECT x."{table.key}" FROM {come} x)'
    adopt, create = users.link(table, schema.realm, users.without_subject(table, changed))
    return f"""
DECLARE
  r bigint;
  objects text[] := ARRAY({refs});
BEGIN
  IF cardinality(objects) > 0 THEN
{history.postgresql_user_steps(schema, gone)}    UPDATE {SUBJECT} s SET ref = {users.ref(table, "x")} FROM {come} x
      WHERE s.user_id = x."{table.key}" AND s.ref <> {users.ref(table, "x")} AND {users.nameable(table, "x")};
    {adopt};
    {create};
    FOR r IN SELECT id FROM {REALM} ORDER BY id LOOP
      PERFORM ps_write(r, objects);
    END LOOP;
  END IF;
  RETURN NULL;
END
"""


def functions(schema: Schema) -> Iterator[Function]:
    yield Function("ps_lock_all", core.LOCK_ALL, returns="void")
    yield Function("ps_guard", core.GUARD.format(action=core.GUARD_RAISES if schema.strict else core.GUARD_LOCKS))
    yield Function("ps_bump", core.BUMP.format(strict=core.BUMP_STRICT if schema.strict else ""), "r bigint", "bigint")
    yield Function("ps_write", core.WRITE, "r bigint, objects text[]", "void")
    yield Function("ps_truncated", core.TRUNCATED.format(forget="PERFORM ps_forget(r);" if schema.history else ""))
    yield Function("ps_keep", core.KEEP)
    yield Function("ps_sealed", core.SEALED)
    if schema.history:
        yield Function("ps_forget", history.FORGET, "r bigint", "void")
        yield Function("ps_history_sealed", history.HISTORY_SEALED)
    for table in schema.tables:
        for event in "iud":
            yield Function(f"ps_{table.short}_{event}", _event_body(table, event, schema))
    if schema.users:
        yield Function("ps_guard_user", core.GUARD_USER)
        yield Function("ps_user_i", _user_insert(schema.users, schema.realm))
        yield Function("ps_user_u", _user_update(schema.users, schema))
        if schema.history:
            steps = history.postgresql_user_steps(schema, "gone")
            yield Function("ps_user_d", f"\nBEGIN\n{steps}  RETURN NULL;\nEND\n")


_STATEMENT: Final = "FOR EACH STATEMENT"
_EVENTS: Final = (
    ("i", "AFTER INSERT", "REFERENCING NEW TABLE AS come"),
    ("u", "AFTER UPDATE", "REFERENCING OLD TABLE AS gone NEW TABLE AS come"),
    ("d", "AFTER DELETE", "REFERENCING OLD TABLE AS gone"),
)


def triggers(schema: Schema) -> Iterator[Trigger]:
    for table in schema.tables:
        for event, head, tables in _EVENTS:
            yield Trigger(f"ps_{event}", table.name, head, f"{tables} {_STATEMENT}", f"ps_{table.short}_{event}")
        yield Trigger("ps_t", table.name, "AFTER TRUNCATE", _STATEMENT, "ps_truncated")
        if table.name == REALM:
            # Not on INSERT: a new realm has no row to lock. Not on the bump's own columns: it runs under the lock already.
            head = f"BEFORE DELETE OR UPDATE OF {', '.join(schema.relevant(table))} OR TRUNCATE"
            yield Trigger("ps_keep", table.name, "BEFORE UPDATE", "FOR EACH ROW", "ps_keep")
        else:
            head = "BEFORE INSERT OR DELETE OR UPDATE OR TRUNCATE"
        yield Trigger("ps_guard", table.name, head, _STATEMENT, "ps_guard")
    if AUDIT in schema.columns:
        yield Trigger("ps_sealed", AUDIT, "BEFORE DELETE OR UPDATE", "FOR EACH ROW", "ps_sealed")
        yield Trigger("ps_sealed_t", AUDIT, "BEFORE TRUNCATE", _STATEMENT, "ps_sealed")
    if schema.history:
        yield Trigger("ps_sealed", HISTORY, "BEFORE DELETE OR UPDATE", "FOR EACH ROW", "ps_history_sealed")
        yield Trigger("ps_sealed_t", HISTORY, "BEFORE TRUNCATE", _STATEMENT, "ps_history_sealed")
    if schema.users:
        name = schema.users.name
        columns = ", ".join((schema.users.attribute, *schema.users.flags))
        # Only these columns: a login writes last_login alone and must not lock every realm.
        events = "INSERT OR DELETE" if schema.history else "INSERT"
        yield Trigger("ps_guard", name, f"BEFORE {events} OR UPDATE OF {columns}", _STATEMENT, "ps_guard_user")
        for event, head, tables in _EVENTS if schema.history else _EVENTS[:2]:
            yield Trigger(f"ps_{event}", name, head, f"{tables} {_STATEMENT}", f"ps_user_{event}")


def config_of(search_path: str) -> list[str]:
    return sorted([f"{name}={value}" for name, value in core.PLANNER] + [f"search_path={search_path}"])
