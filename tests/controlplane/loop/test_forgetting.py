"""The history of rows goes after its time: the floor rises first, and everything above it can still be read back."""

from __future__ import annotations

import datetime as dt

import pytest
from django.db import connection
from django.utils import timezone

from controlplane.loop.forgetting import Forgetting
from controlplane.loop.leader import Leader, Task
from controlplane.loop.pruning import Pruning
from permissions import timeline
from permissions.engine.questions import question
from permissions.models import Changelog, HistoryFloor, Realm, RowHistory, Subject
from permissions.timeline import NotKept
from resilience import config
from tests.controlplane.loop.test_pruning import write

pytestmark = [pytest.mark.django_db, pytest.mark.both_databases]
HOUR = dt.timedelta(hours=1)


@pytest.fixture
def realm(db: None) -> Realm:
    """Ten revisions: each adds a subject, and each was made an hour after the one before, the last one just now."""
    realm = Realm.objects.get_or_create(name="default")[0]
    revs = [write(realm, f"f{number}") for number in range(10)]
    for age, rev in enumerate(reversed(revs)):
        Changelog.objects.filter(realm_id=realm.pk, rev=rev).update(at=timezone.now() - age * HOUR)
    Changelog.objects.filter(realm_id=realm.pk, rev__lt=revs[0]).update(at=timezone.now() - 100 * HOUR)
    HistoryFloor.objects.filter(realm_id=realm.pk).update(rev=revs[0] - 1, at=timezone.now() - 100 * HOUR)
    realm.refresh_from_db()
    return realm


def forget(batch: int = 2_000) -> None:
    run(Forgetting(batch=batch))


def run(task: Task) -> None:
    leader = Leader([task])
    assert leader.once() and leader.failed == []


def keep(hours: int) -> None:
    config.change("history", {"keep_hours": hours})


def known(realm: Realm, revision: int) -> list[str]:
    return [
        f"f{number}"
        for number in range(10)
        if timeline.decide_at(realm.name, revision, question(f"user:f{number}", "post:read"), at_us=0).reason != "unknown_subject"
    ]


def floor(realm: Realm) -> int:
    return HistoryFloor.objects.get(realm_id=realm.pk).rev


@pytest.mark.parametrize("batch", [1, 3, 2_000])
def test_what_is_older_than_its_hours_goes_and_no_more(realm: Realm, batch: int) -> None:
    keep(3)
    before = {rev: known(realm, rev) for rev in range(realm.rev - 3, realm.rev + 1)}
    forget(batch)
    # Four revisions are three hours old or younger; the one that was in force then can be read back, too.
    assert floor(realm) == realm.rev - 3
    assert not RowHistory.objects.filter(realm_id=realm.pk, rev__lte=floor(realm)).exists()
    assert {rev: known(realm, rev) for rev in before} == before
    with pytest.raises(NotKept, match=f"begins with revision {floor(realm)}"):
        known(realm, floor(realm) - 1)


def test_what_is_young_stays(realm: Realm) -> None:
    keep(1_000)
    lowest = floor(realm)
    kept = RowHistory.objects.filter(realm_id=realm.pk, rev__gt=lowest)
    rows = kept.count()
    forget()
    assert (kept.count(), floor(realm)) == (rows, lowest)


def test_the_changelog_keeps_what_the_history_can_be_asked_about(realm: Realm) -> None:
    keep(5)
    forget()
    run(Pruning(keep_s=3_600.0, keep_revisions=0))
    assert Changelog.objects.filter(realm_id=realm.pk, rev=floor(realm) + 1).exists()
    keep(2)
    forget()
    assert known(realm, floor(realm))


def test_a_realm_that_is_gone_leaves_nothing(realm: Realm) -> None:
    Subject.objects.filter(realm=realm).delete()
    realm_id = realm.pk
    realm.delete()
    assert RowHistory.objects.filter(realm_id=realm_id).exists()
    forget()
    assert not RowHistory.objects.filter(realm_id=realm_id).exists()


def test_it_makes_no_revision(realm: Realm) -> None:
    keep(1)
    forget()
    assert Realm.objects.get(pk=realm.pk).rev == realm.rev
    assert connection.in_atomic_block
