"""A database of before the history: it migrates, and its past begins with the migration."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from django.core.checks import run_checks
from django.core.management import call_command
from django.db import connection

from permissions import timeline, triggers
from permissions.engine.questions import question
from permissions.models import HistoryFloor, Realm, Resource, RoleBinding, RowHistory
from permissions.timeline import NotKept
from permissions.writing import SYSTEM, permission_write
from tests.permissions.timeline.changes import Changing

pytestmark = pytest.mark.both_databases


@pytest.fixture
def older(changing: Changing) -> Iterator[Changing]:
    """The database as the version before left it, with rows and triggers that know no history."""
    call_command("migrate", "permissions", "0005", verbosity=0)
    yield changing
    call_command("migrate", verbosity=0)


def test_it_migrates_and_its_past_begins_there(older: Changing) -> None:
    assert "permissions_rowhistory" not in connection.introspection.table_names()
    with permission_write(older.realm.name, SYSTEM):
        Resource.objects.create(realm=older.realm, ref="old:1")
    call_command("migrate", verbosity=0)
    assert triggers.differences(connection) == [] and run_checks(databases=["default"]) == []
    older.realm.refresh_from_db()
    begun = older.realm.rev
    assert HistoryFloor.objects.get(realm_id=older.realm.pk).rev == begun and not RowHistory.objects.exists()
    older.look()
    with permission_write(older.realm.name, SYSTEM):
        RoleBinding.objects.filter(realm=older.realm).delete()
    asked = question("user:a", "post:read")
    then = older.seen[begun].decisions[0]
    assert timeline.decide_at(older.realm.name, begun, asked, at_us=older.seen[begun].at_us).revision == then.revision == begun
    with pytest.raises(NotKept, match=f"begins with revision {begun}"):
        timeline.decide_at(older.realm.name, begun - 1, asked, at_us=0)
    assert RowHistory.objects.filter(realm_id=older.realm.pk, kind="rolebinding").exists()
    assert Realm.objects.count() == HistoryFloor.objects.count()
