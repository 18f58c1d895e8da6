"""Installing the triggers, removing them, and telling what in the database differs from what is generated."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from django.apps import apps as current_apps
from django.apps.registry import Apps
from django.db import transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.migrations.state import StateApps

from permissions.triggers import postgresql, sqlite
from permissions.triggers import postgresql_core as core
from permissions.triggers.schema import Schema, schema_of
from permissions.triggers.tables import AUDIT, HISTORY


def install(connection: BaseDatabaseWrapper, apps: Apps | StateApps = current_apps) -> bool:
    """Makes the database's triggers those that are generated; answers whether anything had to change."""
    schema = schema_of(connection, apps)
    if not differences(connection, schema):
        return False
    # One transaction: a writer meets the old triggers or the new ones, never none.
    with transaction.atomic(using=connection.alias), connection.cursor() as cursor:
        for statement in _removal(connection):
            cursor.execute(statement)
        for statement in _creation(connection, schema):
            cursor.execute(statement)
    return True


def remove(connection: BaseDatabaseWrapper) -> None:
    """Drops every trigger and function of ours. Until `install` no change of the tables makes a revision."""
    with transaction.atomic(using=connection.alias), connection.cursor() as cursor:
        for statement in _removal(connection):
            cursor.execute(statement)


@contextmanager
def lifted_unsafe(connection: BaseDatabaseWrapper) -> Iterator[None]:
    """Lets the block erase everything, the audit trail included, without lock or revision. For what ends all history: flush."""
    if connection.vendor != "postgresql":
        remove(connection)
        try:
            yield
        finally:
            install(connection)
        return
    # Of the session, not of a transaction: the block has its own. `*` satisfies the guards, strict ones too.
    state = "SELECT set_config('ps.locked', %s, false)"
    seals = [t for t in postgresql.triggers(schema_of(connection)) if t.table in (AUDIT, HISTORY)]
    with connection.cursor() as cursor:
        cursor.execute(state, ["*"])
        for seal in seals:
            cursor.execute(f"ALTER TABLE {seal.table} DISABLE TRIGGER {seal.name}")
    try:
        yield
    finally:
        with connection.cursor() as cursor:
            cursor.execute(state, [""])
            for seal in seals:
                cursor.execute(f"ALTER TABLE {seal.table} ENABLE ALWAYS TRIGGER {seal.name}")


def differences(connection: BaseDatabaseWrapper, schema: Schema | None = None) -> list[str]:
    """One sentence for each trigger or function that is missing, altered, switched off or unknown. Empty: all is well."""
    schema = schema or schema_of(connection)
    expected, found = _expected(connection, schema), _found(connection)
    said = [f"{what} is missing" for what in expected if what not in found]
    said += [f"{what} is not what this version generates" for what in expected if what in found and found[what] != expected[what]]
    return said + [f"{what} is not known to this version" for what in found if what not in expected]


def _expected(connection: BaseDatabaseWrapper, schema: Schema) -> dict[str, str]:
    if connection.vendor != "postgresql":
        return {f"trigger {name}": sql for name, sql in sqlite.triggers(schema)}
    config = str(postgresql.config_of(_search_path(connection)))
    return {f"function {f.name}({f.arguments})": f.body + config for f in postgresql.functions(schema)} | {
        f"trigger {t.name} on {t.table}": "A " + t.text for t in postgresql.triggers(schema)
    }


def _search_path(connection: BaseDatabaseWrapper) -> str:
    # Foreign SQL may come with any search_path; pg_temp last, so that no temporary table stands in for one of ours.
    with connection.cursor() as cursor:
        cursor.execute("SELECT quote_ident(current_schema())")
        return f"{cursor.fetchone()[0]}, pg_temp"


_FUNCTIONS: Final = r"""
    SELECT p.proname, pg_get_function_identity_arguments(p.oid), p.prosrc, coalesce(p.proconfig, '{}')
    FROM pg_proc p WHERE p.pronamespace = current_schema()::regnamespace AND p.proname LIKE 'ps\_%'"""
_TRIGGERS: Final = r"""
    SELECT t.tgname, c.relname, t.tgenabled, pg_get_triggerdef(t.oid, true)
    FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid
    WHERE NOT t.tgisinternal AND c.relnamespace = current_schema()::regnamespace AND t.tgname LIKE 'ps\_%'"""


def _found(connection: BaseDatabaseWrapper) -> dict[str, str]:
    with connection.cursor() as cursor:
        if connection.vendor != "postgresql":
            cursor.execute(r"SELECT name, sql FROM sqlite_master WHERE type = 'trigger' AND name LIKE 'ps\_%' ESCAPE '\'")
            return {f"trigger {name}": sql for name, sql in cursor.fetchall()}
        cursor.execute(_FUNCTIONS)
        found = {
            f"function {name}({arguments})": body + str(sorted(config)) for name, arguments, body, config in cursor.fetchall()
        }
        cursor.execute(_TRIGGERS)
        return found | {f"trigger {name} on {table}": f"{state} {text}" for name, table, state, text in cursor.fetchall()}


def _removal(connection: BaseDatabaseWrapper) -> Iterator[str]:
    quote = connection.ops.quote_name
    with connection.cursor() as cursor:
        if connection.vendor != "postgresql":
            cursor.execute(r"SELECT name FROM sqlite_master WHERE type = 'trigger' AND name LIKE 'ps\_%' ESCAPE '\'")
            return iter([f"DROP TRIGGER {quote(name)}" for (name,) in cursor.fetchall()])
        cursor.execute(_TRIGGERS)
        drop = [f"DROP TRIGGER {quote(name)} ON {quote(table)}" for name, table, *_ in cursor.fetchall()]
        cursor.execute(_FUNCTIONS)
        return iter(drop + [f"DROP FUNCTION {quote(name)}({arguments})" for name, arguments, *_ in cursor.fetchall()])


def _creation(connection: BaseDatabaseWrapper, schema: Schema) -> Iterator[str]:
    if connection.vendor != "postgresql":
        yield from (sql for _, sql in sqlite.triggers(schema))
        return
    # Counts foreign statements that came without a lock; a sequence, since a counter row would be one more lock.
    yield "CREATE SEQUENCE IF NOT EXISTS ps_unlocked_writes"
    settings = " ".join(f"SET {name} = {value}" for name, value in core.PLANNER)
    path = _search_path(connection)
    for function in postgresql.functions(schema):
        yield (
            f"CREATE FUNCTION {function.name}({function.arguments}) RETURNS {function.returns} LANGUAGE plpgsql "
            f"SET search_path = {path} {settings} AS $ps${function.body}$ps$"
        )
    for trigger in postgresql.triggers(schema):
        yield trigger.text
        # ALWAYS: otherwise a session with session_replication_role = replica would write behind the revision's back.
        yield f"ALTER TABLE {trigger.table} ENABLE ALWAYS TRIGGER {trigger.name}"
