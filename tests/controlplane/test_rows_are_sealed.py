"""Versions are added, never changed; one is in force, by the database's own law."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
from django.db import IntegrityError, connection, transaction

from controlplane import seal
from controlplane.models import ConfigRevision
from controlplane.services import config as service
from permissions.models import Realm
from permissions.writing import SYSTEM
from resilience.errors import ConfigConflict

pytestmark = pytest.mark.both_databases


@pytest.fixture
def row(db: None) -> ConfigRevision:
    Realm.objects.get_or_create(name="default")
    service.section_change(actor=SYSTEM, section="limiters", values={"login": {"limit": 5}}, reason="one")
    return service.section_change(actor=SYSTEM, section="limiters", values={"login": {"limit": 6}}, reason="two").revision


CHANGES: dict[str, Callable[[Any], object]] = {
    "a value": lambda rows: rows.update(sections={}),
    "the author": lambda rows: rows.update(author="user:mallory"),
    "the reason": lambda rows: rows.update(reason="none of your business"),
    "the moment": lambda rows: rows.update(created_at="2001-01-01T00:00:00Z"),
    "the version": lambda rows: rows.update(version=99),
    "the epoch": lambda rows: rows.update(epoch=99),
    "its origin": lambda rows: rows.update(rolled_back_from=7),
    "in force and a value": lambda rows: rows.update(is_active=False, reason="x"),
}


@pytest.mark.parametrize("what", CHANGES)
def test_no_sql_changes_a_version(row: ConfigRevision, what: str) -> None:
    with pytest.raises(IntegrityError), transaction.atomic():
        CHANGES[what](ConfigRevision.objects.filter(pk=row.pk))
    assert ConfigRevision.objects.filter(pk=row.pk, reason="two", version=2).exists()


def test_a_version_that_ended_is_never_in_force_again(row: ConfigRevision) -> None:
    first = ConfigRevision.objects.get(version=1)
    ConfigRevision.objects.filter(pk=row.pk).update(is_active=False)
    with pytest.raises(IntegrityError), transaction.atomic():
        ConfigRevision.objects.filter(pk=first.pk).update(is_active=True)


def test_no_row_goes(row: ConfigRevision) -> None:
    with pytest.raises(TypeError, match="never removed"):
        row.delete()
    if connection.vendor == "postgresql":
        with pytest.raises(IntegrityError), transaction.atomic():
            ConfigRevision.objects.filter(pk=row.pk).delete()


def test_two_in_force_are_refused_by_the_database(row: ConfigRevision) -> None:
    with pytest.raises(IntegrityError), transaction.atomic():
        ConfigRevision.objects.create(epoch=1, version=3, sections={}, author="x", is_active=True)
    with pytest.raises(IntegrityError), transaction.atomic():
        ConfigRevision.objects.create(epoch=9, version=2, sections={}, author="x", is_active=False)


def test_the_seal_is_laid_anew_without_harm(row: ConfigRevision) -> None:
    seal.install(connection)
    seal.install(connection)
    with pytest.raises(IntegrityError), transaction.atomic():
        ConfigRevision.objects.filter(pk=row.pk).update(reason="x")


@pytest.mark.parametrize("first", [True, False], ids=["the first version of all", "a later one"])
def test_of_two_who_saw_the_same_version_one_wins(transactional_db: None, first: bool) -> None:
    """Threads with connections of their own, let go at the same moment."""
    from django.core.management import call_command

    call_command("migrate", verbosity=0)  # the flush before took the realm with it
    expected = 0
    if not first:
        service.section_change(actor=SYSTEM, section="limiters", values={})
        expected = 1
    gate = threading.Barrier(6)
    ended: list[object] = []

    def change(limit: int) -> None:
        gate.wait(timeout=30)
        try:
            done = service.section_change(
                actor=SYSTEM, section="limiters", values={"login": {"limit": limit}}, expected=expected, reason=str(limit)
            )
            ended.append(done.revision.version)
        except ConfigConflict as error:
            ended.append((error.expected, error.actual))
        except BaseException as error:  # noqa: BLE001 - a thread's failure is the test's
            ended.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=change, args=(limit,)) for limit in range(1, 7)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert sorted(ended, key=str) == [*[(expected, expected + 1)] * 5, expected + 1]
    assert ConfigRevision.objects.filter(is_active=True).count() == 1
    assert service.active().version == expected + 1  # type: ignore[union-attr]
