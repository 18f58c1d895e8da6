"""Audit events are added, never changed or removed; only what erases the whole database erases them."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from django.core.management import call_command
from django.db import IntegrityError, connection, transaction
from django.utils import timezone

from permissions import triggers
from permissions.models import AuditEvent, Changelog, Realm
from tests.permissions.triggers.operations import execute, insert_sql

pytestmark = [pytest.mark.both_databases, pytest.mark.usefixtures("db")]


@pytest.fixture
def event() -> AuditEvent:
    seq = AuditEvent.objects.count() + 1
    return AuditEvent.objects.create(
        realm_name="history",
        seq=seq,
        at=timezone.now(),
        actor="user:alice",
        actor_kind="user",
        action="role_create",
        object_type="role",
        object_id="editor",
        payload_hash="p",
        hash="h",
    )


def _save(event: AuditEvent) -> None:
    event.actor = "user:charlie"
    event.save()


def _replace(event: AuditEvent) -> None:
    """By its place in the chain: an upsert on PostgreSQL, a displacing insert on SQLite."""
    event.actor = "user:charlie"
    if connection.vendor == "postgresql":
        sql, values = insert_sql(event, tail="ON CONFLICT (realm_name, seq) DO UPDATE SET actor = excluded.actor")
    else:
        sql, values = insert_sql(event, verb="INSERT OR REPLACE INTO")
    execute(sql, values)


@pytest.mark.parametrize(
    "change",
    [
        _save,
        _replace,
        lambda e: AuditEvent.objects.filter(pk=e.pk).update(reason="forged"),
        lambda e: e.delete(),
        lambda e: AuditEvent.objects.all().delete(),
        lambda e: execute("DELETE FROM permissions_auditevent"),
        lambda e: execute("TRUNCATE permissions_auditevent") if connection.vendor == "postgresql" else e.delete(),
    ],
    ids=["save", "replace", "update", "delete", "delete_all", "raw_delete", "truncate"],
)
def test_an_audit_event_cannot_be_changed(event: AuditEvent, change: Callable[[AuditEvent], object]) -> None:
    count = AuditEvent.objects.count()
    with pytest.raises(IntegrityError, match="audit events are never changed or removed"), transaction.atomic():
        change(event)
    stored = AuditEvent.objects.get(pk=event.pk)
    assert (stored.actor, stored.reason, AuditEvent.objects.count()) == ("user:alice", "", count)


def test_an_audit_event_makes_no_revision(event: AuditEvent) -> None:
    before = list(Realm.objects.values_list("pk", "rev"))
    AuditEvent.objects.bulk_create([AuditEvent(realm_name="bulk", seq=n, at=timezone.now()) for n in range(3)])
    assert list(Realm.objects.values_list("pk", "rev")) == before


def test_a_flush_empties_everything_and_leaves_the_seal(event: AuditEvent) -> None:
    call_command("flush", interactive=False, verbosity=0)
    assert not AuditEvent.objects.exists()
    assert list(Realm.objects.values_list("name", "rev")) == [("default", 1)]
    assert set(Changelog.objects.values_list("rev", "kind", "object_id")) == {(1, "m", "default")}
    assert triggers.differences(connection) == []
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("SELECT current_setting('ps.locked', true)")
            assert cursor.fetchone()[0] == ""
