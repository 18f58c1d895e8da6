"""Pruning: a beginning goes, whole revisions, oldest first; what is kept has no hole, and nothing changes by it."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator

import pytest
from django.db import DatabaseError, IntegrityError, connection
from django.utils import timezone

from controlplane.loop import lease
from controlplane.loop.leader import Leader
from controlplane.loop.pruning import KEEP_REVISIONS, KEEP_S, Pruning, cut_of
from permissions import triggers
from permissions.models import Changelog, HistoryFloor, Realm, Subject
from permissions.writing import SYSTEM, permission_write
from resilience import telemetry
from tests.controlplane.loop.rows import taken

pytestmark = [pytest.mark.django_db, pytest.mark.both_databases]

DAY = dt.timedelta(days=1)


@pytest.fixture
def realm(db: None) -> Realm:
    return Realm.objects.get_or_create(name="default")[0]


def write(realm: Realm, *names: str) -> int:
    """One revision that touches so many subjects."""
    if connection.vendor == "postgresql":
        # A test is one transaction, and a transaction makes one revision.
        with connection.cursor() as cursor:
            cursor.execute("SELECT set_config(%s, '', true), set_config(%s, '', true)", [f"ps.r{realm.pk}", f"ps.n{realm.pk}"])
    with permission_write(realm.name, SYSTEM) as written:
        for name in names:
            Subject.objects.create(realm=realm, ref=f"user:{name}")
    return written.revision


def history(realm: Realm, revisions: int, *, objects: int = 1) -> None:
    for number in range(revisions):
        write(realm, *(f"u{realm.pk}-{number}-{item}" for item in range(objects)))


def age(realm: Realm, through: int, by: dt.timedelta = 2 * DAY) -> None:
    """As if these revisions were old, and the history of rows no longer answered for them."""
    Changelog.objects.filter(realm_id=realm.pk, rev__lte=through).update(at=timezone.now() - by)
    HistoryFloor.objects.filter(realm_id=realm.pk).update(rev=through)


def revs(realm: Realm) -> list[int]:
    return sorted(set(Changelog.objects.filter(realm_id=realm.pk).values_list("rev", flat=True)))


def head(realm: Realm) -> int:
    return Realm.objects.get(pk=realm.pk).rev


def prune(task: Pruning) -> None:
    leader = Leader([task])
    assert leader.once() and leader.failed == []


def test_what_it_keeps_from_the_start_is_a_day_and_200_000_revisions():
    assert (KEEP_S, KEEP_REVISIONS) == (86_400.0, 200_000)
    assert (Pruning().keep_s, Pruning().keep_revisions) == (KEEP_S, KEEP_REVISIONS)


def test_what_is_old_and_beyond_the_newest_goes(realm):
    history(realm, 10)
    age(realm, head(realm))
    prune(Pruning(keep_revisions=4))
    assert revs(realm) == list(range(head(realm) - 3, head(realm) + 1))


def test_what_is_young_stays_however_much_it_is(realm):
    history(realm, 10)
    last_old = head(realm) - 6
    age(realm, last_old)
    prune(Pruning(keep_revisions=1))
    assert revs(realm) == list(range(last_old + 1, head(realm) + 1))


def test_the_newest_stay_however_old_they_are(realm):
    history(realm, 5)
    age(realm, head(realm), 400 * DAY)
    before = revs(realm)
    prune(Pruning())
    assert revs(realm) == before


def test_a_few_seconds_decide(realm):
    history(realm, 4)
    age(realm, head(realm) - 1, DAY + dt.timedelta(seconds=60))
    age(realm, head(realm) - 2, DAY - dt.timedelta(seconds=60))
    before = revs(realm)
    prune(Pruning(keep_revisions=0))
    # The oldest are younger than a day by a minute: nothing goes, though a later one is old enough by its time.
    assert revs(realm) == before


def test_revisions_go_whole(realm):
    history(realm, 6, objects=5)
    age(realm, head(realm) - 2)
    counts = {rev: Changelog.objects.filter(realm_id=realm.pk, rev=rev).count() for rev in revs(realm)}
    for batch in (1, 2, 3, 4, 7, 11):
        task = Pruning(keep_revisions=0, batch=batch)
        term = taken("a")
        more = task.look(term)
        while more:
            with lease.acting(term, "pruning") as act:
                more = task.step(act)
            left = revs(realm)
            assert left == list(range(left[0], head(realm) + 1)), f"a hole, batch {batch}"
            assert all(Changelog.objects.filter(realm_id=realm.pk, rev=rev).count() == counts[rev] for rev in left), batch
    assert revs(realm) == [head(realm) - 1, head(realm)]


def test_a_step_takes_a_batch_and_no_more(realm):
    history(realm, 30)
    age(realm, head(realm))
    first = revs(realm)[0]
    task, term = Pruning(keep_revisions=0, batch=10), taken("a")
    assert task.look(term)
    with lease.acting(term, "pruning") as act:
        assert task.step(act)
    assert 9 <= revs(realm)[0] - first <= 10


def test_a_revision_larger_than_a_batch_goes_as_a_whole(realm):
    write(realm, *(f"many-{number}" for number in range(12)))
    write(realm, "one")
    age(realm, head(realm) - 1)
    prune(Pruning(keep_revisions=0, batch=5))
    assert revs(realm) == [head(realm)]


def test_it_makes_no_revision_and_touches_no_other_row(realm):
    history(realm, 5)
    age(realm, head(realm) - 1)
    before = Realm.objects.filter(pk=realm.pk).values_list("rev", "stamp", "epoch", "write_state").get()
    subjects = Subject.objects.count()
    prune(Pruning(keep_revisions=0))
    assert Realm.objects.filter(pk=realm.pk).values_list("rev", "stamp", "epoch", "write_state").get() == before
    assert Subject.objects.count() == subjects and revs(realm) == [before[0]]


def test_writing_goes_on_without_a_gap(realm):
    history(realm, 5)
    age(realm, head(realm))
    prune(Pruning(keep_revisions=0))
    assert revs(realm) == []
    before = head(realm)
    assert write(realm, "next") == before + 1 and revs(realm) == [before + 1]


@pytest.fixture
def strict(settings) -> Iterator[None]:
    settings.STRICT_WRITES = True
    triggers.install(connection)
    yield
    settings.STRICT_WRITES = False
    triggers.install(connection)


@pytest.mark.django_db(transaction=True)
def test_strict_triggers_permit_it(strict):
    realm = Realm.objects.get_or_create(name="default")[0]
    history(realm, 4)
    age(realm, head(realm) - 1)
    with pytest.raises(DatabaseError, match="strict"):
        Subject.objects.create(realm=realm, ref="user:foreign")
    prune(Pruning(keep_revisions=0))
    assert revs(realm) == [head(realm)]


def test_each_realm_is_judged_by_itself(realm):
    others = [Realm.objects.create(name=f"other-{number}") for number in range(3)]
    for number, each in enumerate([realm, *others]):
        history(each, 4 + number)
        age(each, head(each))
    prune(Pruning(keep_revisions=5, batch=2))
    for each in [realm, *others]:
        assert len(revs(each)) == min(5, head(each)), each.name
        assert revs(each)[-1] == head(each)


def test_what_is_left_of_a_deleted_realm_goes_after_a_day(realm):
    gone = Realm.objects.create(name="gone")
    history(gone, 3)
    key = gone.pk
    gone.delete()
    gone.pk = key
    prune(Pruning())
    assert revs(gone) != []
    age(gone, 1_000)
    prune(Pruning())
    assert revs(gone) == []


def test_a_realm_that_cannot_be_read_does_not_keep_the_others_waiting(realm, monkeypatch):
    other = Realm.objects.create(name="other")
    for each in (realm, other):
        history(each, 4)
        age(each, head(each))
    first = min(realm.pk, other.pk)
    whole = cut_of
    asked = []

    def failing(rows, horizon, *, may_go_on):
        asked.append(1)
        if len(asked) == 1:
            raise IntegrityError("cannot be read")
        return whole(rows, horizon, may_go_on=may_go_on)

    monkeypatch.setattr("controlplane.loop.pruning.cut_of", failing)
    task = Pruning(keep_revisions=0)
    leader = Leader([task])
    leader.once()
    assert leader.failed == ["pruning"]
    assert leader.once() and leader.failed == []
    left = {each.pk: revs(each) for each in (realm, other)}
    assert left.pop(first) != [] and list(left.values()) == [[]]
    leader.once()
    assert revs(realm) == revs(other) == []


def test_it_is_counted(realm):
    history(realm, 5)
    age(realm, head(realm))
    rows, before = Changelog.objects.count(), telemetry.collect()["permsite_loop_pruned_total"].get((), 0)
    prune(Pruning(keep_revisions=0))
    assert telemetry.collect()["permsite_loop_pruned_total"][()] - before == rows - Changelog.objects.count() > 0


def test_who_lost_the_lease_prunes_nothing(realm):
    history(realm, 5)
    age(realm, head(realm))
    before = revs(realm)
    task, term = Pruning(keep_revisions=0), taken("a")
    task.look(term)
    lease.release(term)
    lease.take("b")
    with pytest.raises(lease.LostLease), lease.acting(term, "pruning") as act:
        task.step(act)
    assert revs(realm) == before


def test_a_look_costs_one_statement_however_many_realms(realm, django_assert_num_queries):
    for number in range(5):
        Realm.objects.create(name=f"r{number}")
    task, term = Pruning(), taken("a")
    with django_assert_num_queries(1):
        assert not task.look(term)


OLD, YOUNG = dt.datetime(2020, 1, 1, tzinfo=dt.UTC), dt.datetime(2030, 1, 1, tzinfo=dt.UTC)
HORIZON = dt.datetime(2025, 1, 1, tzinfo=dt.UTC)


@pytest.mark.parametrize(
    ("revisions", "may_go_on", "cut"),
    [
        ([], False, None),
        ([(1, YOUNG)], False, None),
        ([(1, OLD)], False, 1),
        ([(1, OLD), (2, OLD)], False, 2),
        ([(1, OLD), (2, OLD)], True, 1),
        ([(1, OLD), (1, OLD)], True, 1),
        ([(1, OLD), (2, YOUNG)], False, 1),
        ([(1, OLD), (2, YOUNG)], True, 1),
        ([(1, YOUNG), (2, OLD)], False, None),
        ([(1, OLD), (2, YOUNG), (3, OLD)], False, 1),
        ([(1, OLD), (2, YOUNG), (3, OLD), (4, OLD)], False, 1),
        ([(1, OLD), (1, YOUNG)], False, None),
        ([(1, OLD), (2, OLD), (2, YOUNG)], False, 1),
        ([(1, OLD), (1, OLD), (2, OLD), (2, OLD)], True, 1),
        ([(1, HORIZON)], False, None),
    ],
)
def test_where_it_cuts(revisions, may_go_on, cut):
    assert cut_of(revisions, HORIZON, may_go_on=may_go_on) == cut
