"""A trigger that is missing, altered or switched off is told by the system check and mended by migrate."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from django.apps import apps
from django.core.checks import run_checks
from django.core.management import call_command
from django.core.management.base import SystemCheckError
from django.db import connection, models

from permissions import checks, triggers
from permissions.models import Permission, Role
from permissions.triggers.tables import TABLES
from tests.permissions.triggers import later_migrations
from tests.permissions.triggers.operations import execute
from tests.permissions.triggers.world import World, unique

pytestmark = [pytest.mark.both_databases, pytest.mark.usefixtures("db")]

POSTGRESQL, SQLITE = "postgresql", "sqlite"
DAMAGE = {
    "dropped_trigger": {
        POSTGRESQL: ["DROP TRIGGER ps_u ON permissions_rolebinding"],
        SQLITE: ["DROP TRIGGER ps_rolebinding_u"],
    },
    "altered_trigger": {
        POSTGRESQL: [
            "DROP TRIGGER ps_d ON permissions_rolebinding",
            "CREATE TRIGGER ps_d AFTER DELETE ON permissions_rolebinding REFERENCING OLD TABLE AS gone "
            "FOR EACH STATEMENT EXECUTE FUNCTION ps_role_d()",
            "ALTER TABLE permissions_rolebinding ENABLE ALWAYS TRIGGER ps_d",
        ],
        SQLITE: [
            "DROP TRIGGER ps_rolebinding_d",
            "CREATE TRIGGER ps_rolebinding_d AFTER DELETE ON permissions_rolebinding BEGIN SELECT 1; END",
        ],
    },
    "altered_body": {
        POSTGRESQL: [
            "CREATE OR REPLACE FUNCTION ps_rolebinding_i() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'"
        ],
        SQLITE: [
            "DROP TRIGGER ps_rolebinding_i",
            "CREATE TRIGGER ps_rolebinding_i AFTER INSERT ON permissions_rolebinding BEGIN SELECT 1; END",
        ],
    },
    "switched_off": {
        POSTGRESQL: ["ALTER TABLE permissions_rolebinding DISABLE TRIGGER ps_i"],
        SQLITE: ["DROP TRIGGER ps_rolebinding_i"],
    },
    "not_always": {
        POSTGRESQL: ["ALTER TABLE permissions_rolebinding ENABLE TRIGGER ps_i"],
        SQLITE: ["DROP TRIGGER ps_rolebinding_r"],
    },
    "unknown": {
        POSTGRESQL: [
            "CREATE TRIGGER ps_more AFTER DELETE ON permissions_rolebinding FOR EACH STATEMENT EXECUTE FUNCTION ps_truncated()"
        ],
        SQLITE: ["CREATE TRIGGER ps_more AFTER DELETE ON permissions_rolebinding BEGIN SELECT 1; END"],
    },
    "user_table": {
        POSTGRESQL: ["DROP TRIGGER ps_u ON auth_user"],
        SQLITE: ["DROP TRIGGER ps_user_u"],
    },
    "unsealed": {
        POSTGRESQL: ["DROP TRIGGER ps_sealed ON permissions_auditevent"],
        SQLITE: ["DROP TRIGGER ps_sealed_d"],
    },
}


@pytest.fixture(autouse=True)
def _mended() -> Iterator[None]:
    yield
    triggers.install(connection)


@pytest.mark.parametrize("name", DAMAGE)
def test_the_check_names_what_is_wrong_and_migrate_mends_it(name: str) -> None:
    assert triggers.differences(connection) == []
    for statement in DAMAGE[name][connection.vendor]:
        execute(statement)
    found = [e for e in run_checks(databases=["default"]) if e.id == "permissions.E002"]
    assert len(found) == 1
    assert "ps_" in found[0].msg
    assert "migrate" in str(found[0].hint)
    with pytest.raises(SystemCheckError, match="E002"):
        call_command("check", databases=["default"])
    call_command("migrate", verbosity=0)
    assert triggers.differences(connection) == []


def test_without_a_database_named_the_check_asks_none() -> None:
    triggers.remove(connection)
    assert [e for e in run_checks() if e.id == "permissions.E002"] == []


def test_a_setting_that_changed_is_told_until_migrate_writes_it_in(settings: object) -> None:
    settings.STRICT_WRITES = True  # type: ignore[attr-defined]  # pytest-django names no public type
    said = triggers.differences(connection)
    assert said
    assert all("is not what this version generates" in s for s in said)
    settings.STRICT_WRITES = False  # type: ignore[attr-defined]
    assert triggers.differences(connection) == []


def test_every_model_has_its_row_in_the_table_of_triggers() -> None:
    assert triggers.models_without_triggers() == []
    assert checks.every_model_has_triggers(None) == []


def test_a_model_without_triggers_fails_the_check() -> None:
    class Forgotten(models.Model):
        class Meta:
            app_label = "permissions"

    try:
        (error,) = checks.every_model_has_triggers(None)
        assert "permissions_forgotten" in error.msg
        assert error.id == "permissions.E001"
    finally:
        del apps.all_models["permissions"]["forgotten"]
        apps.clear_cache()


@pytest.mark.parametrize("name", ["first_name", "no_such_field", "groups"])
def test_the_attribute_that_names_a_subject_must_be_unique(settings: object, name: str) -> None:
    settings.SUBJECT_ATTRIBUTE = name  # type: ignore[attr-defined]
    (error,) = checks.subject_attribute_names_one_subject(None)
    assert error.id == "permissions.E003"
    assert name in error.msg


def test_a_migration_that_rebuilds_tables_ends_with_all_triggers(settings: object, worlds: tuple[World, World]) -> None:
    """On SQLite altering a column makes the table anew, which drops its triggers without a word."""
    world = worlds[0]
    settings.MIGRATION_MODULES = {"permissions": later_migrations.__name__}  # type: ignore[attr-defined]
    call_command("migrate", "permissions", verbosity=0)
    try:
        assert triggers.differences(connection) == []
        before = world.head()
        Role.objects.filter(pk=world.role.pk).update(title=unique("title"))
        permission = Permission.objects.create(realm=world.realm, code=unique("doc:a"))
        revisions = world.log_after(before)
        assert set().union(*revisions.values()) == {("m", world.role.name), ("m", permission.code)}
    finally:
        call_command("migrate", "permissions", later_migrations.NEWEST, verbosity=0)
    assert triggers.differences(connection) == []


def test_going_back_before_the_triggers_removes_them_and_forward_brings_them_back() -> None:
    call_command("migrate", "permissions", "0001", verbosity=0)
    call_command("migrate", "permissions", verbosity=0)
    assert triggers.differences(connection) == []


def test_every_table_has_its_triggers_for_every_event() -> None:
    with connection.cursor() as cursor:
        if connection.vendor == POSTGRESQL:
            cursor.execute(r"SELECT tgrelid::regclass::text, tgname, tgenabled FROM pg_trigger WHERE tgname LIKE 'ps\_%'")
            rows = cursor.fetchall()
            assert {state for *_, state in rows} == {"A"}
            found = {(table, name) for table, name, _ in rows}
            assert {(t.name, f"ps_{e}") for t in TABLES for e in "iudt"} <= found
        else:
            cursor.execute("SELECT tbl_name, name FROM sqlite_master WHERE type = 'trigger'")
            found = set(cursor.fetchall())
            assert {(t.name, f"ps_{t.short}_{e}") for t in TABLES for e in "iudr"} <= found
