"""What migrate does besides the migrations: triggers put back, the realm `default`, a subject for each user."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.apps import apps
from django.db import connections, router, transaction

from permissions import conf
from permissions.models import Assertion, Changelog, HistoryFloor, HotItem, KeyUse, Realm, RowHistory
from permissions.triggers import users
from permissions.triggers.installed import install, remove
from permissions.triggers.schema import schema_of
from permissions.triggers.tables import AUDIT, FLOOR, HISTORY, REALM, TABLES

FIRST_REALM = "default"
# Written by triggers, sealed by them, a tally of what was asked, or a question kept: their changes do not change the model.
_WITHOUT_REVISION = frozenset(
    {AUDIT, *(model._meta.db_table for model in (Assertion, Changelog, HistoryFloor, HotItem, KeyUse, RowHistory))}
)


def models_without_triggers() -> list[str]:
    """Tables of this app that no row of `tables.py` describes: their changes would reach no cache."""
    known = {t.name for t in TABLES} | _WITHOUT_REVISION
    models = apps.get_app_config("permissions").get_models(include_auto_created=True)
    return sorted({m._meta.db_table for m in models if not m._meta.proxy and m._meta.managed} - known)


def lift_for_rebuild(using: str, plan: Sequence[tuple[Any, bool]]) -> None:
    """Before migrations on SQLite: a rebuild drops the table for a moment, and fails while another table's trigger names it.

    PostgreSQL alters tables in place, under live writers; there the triggers stay.
    """
    if plan and connections[using].vendor != "postgresql":
        remove(connections[using])


def keep_triggers(using: str) -> None:
    """After migrations: a table rebuild on SQLite drops its triggers silently, and settings may have changed their bodies."""
    if is_there(using):
        install(connections[using])


def keep_history(using: str) -> None:
    """Realms whose rows the triggers begin to keep here can be read back from now on; where they no longer do, none can.

    After the triggers: an entry that is missing above the floor would give rows that never were.
    """
    connection = connections[using]
    if not is_there(using):
        return
    with connection.cursor() as cursor, transaction.atomic(using=using):
        if not {HISTORY, FLOOR} <= set(connection.introspection.table_names(cursor)):
            return
        if not conf.row_history():
            cursor.execute(f"DELETE FROM {FLOOR}")  # noqa: S608 - names of ours
            cursor.execute(f"DELETE FROM {HISTORY}")  # noqa: S608 - names of ours
            return
        now = "clock_timestamp()" if connection.vendor == "postgresql" else "strftime('%Y-%m-%d %H:%M:%f000', 'now')"
        cursor.execute(
            f"INSERT INTO {FLOOR} (realm_id, epoch, rev, at) SELECT m.id, m.epoch, m.rev, {now} FROM {REALM} m "  # noqa: S608
            f"WHERE NOT EXISTS (SELECT 1 FROM {FLOOR} f WHERE f.realm_id = m.id)"
        )


def keep_default_realm(using: str) -> None:
    if is_there(using) and not Realm.objects.using(using).filter(name=FIRST_REALM).exists():
        # Born in state 1 and closed below: its birth and the subjects of the users are one revision on SQLite, too.
        with transaction.atomic(using=using):
            realm = Realm.objects.using(using).create(name=FIRST_REALM, write_state=1)
            _close(using, realm.pk)


def link_users(using: str) -> None:
    """Gives users that came before the triggers, or before the realm of DJANGO_REALM was named, their subjects."""
    connection = connections[using]
    if not is_there(using):
        return
    schema = schema_of(connection)
    if schema.users is None:
        return
    table = schema.users
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT EXISTS {users.without_subject(table)}, id FROM {REALM} WHERE name = %s", [schema.realm])  # noqa: S608 - names of ours
        row = cursor.fetchone()
        if row is None or not row[0]:
            return
        with transaction.atomic(using=using):
            if connection.vendor == "postgresql":
                cursor.execute(f"SELECT id FROM {REALM} WHERE id = %s FOR UPDATE", [row[1]])  # noqa: S608 - names of ours
                cursor.execute("SELECT set_config('ps.locked', %s, true)", [str(row[1])])
            else:
                cursor.execute(f"UPDATE {REALM} SET write_state = 1 WHERE id = %s", [row[1]])  # noqa: S608 - names of ours
            for statement in users.link(table, schema.realm, users.without_subject(table)):
                cursor.execute(statement)
            _close(using, row[1])


def _close(using: str, realm_id: int) -> None:
    Realm.objects.using(using).filter(pk=realm_id).update(write_state=0)


def is_there(using: str) -> bool:
    """Whether this database holds our tables: another may be routed elsewhere, or stand before the first migration."""
    if not router.allow_migrate_model(using, Realm):
        return False
    with connections[using].cursor() as cursor:
        return REALM in connections[using].introspection.table_names(cursor)
