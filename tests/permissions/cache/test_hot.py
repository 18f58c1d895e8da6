"""The hot list of a process, and without Redis: sampled, gathered, told in rows that make no revision and wait for no writer."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.db import transaction

from permissions import triggers
from permissions.cache import hot
from permissions.cache.hot import HotList, Preload
from permissions.models import HotItem, Realm
from permissions.models import hot as rows_module
from permissions.models.hot import Met
from permissions.revisions import head
from permissions.writing import SYSTEM, permission_write
from resilience.clock import FakeClock
from tests.permissions.cache.hot_cast import EDITOR, OWNER, meet, rows, use
from tests.permissions.triggers.threads import PATIENCE_S, in_thread

committed = [pytest.mark.django_db(transaction=True), pytest.mark.both_databases]
REALM = 4_711


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock(1_700_000_000.0)


@pytest.fixture
def hot_list(clock: FakeClock) -> HotList:
    return HotList(clock=clock)


class TestSampling:
    def test_the_most_met_come_first(self, hot_list: HotList) -> None:
        meet(hot_list, *["user:ann"] * 3, "user:bob", *["user:cy"] * 2)
        assert hot_list.top(2) == [("user:ann", 3), ("user:cy", 2)]

    def test_what_was_met_is_drained_once(self, hot_list: HotList, clock: FakeClock) -> None:
        meet(hot_list, "user:ann", "user:ann", "user:bob")
        meet(hot_list, "user:ann", roles=OWNER)
        drained = hot_list.drain()
        assert drained.hour == clock.now_us() // 3_600_000_000
        assert (drained.subjects, drained.role_sets) == ({"user:ann": 3, "user:bob": 1}, {EDITOR: 3, OWNER: 1})
        assert (hot_list.drain().subjects, hot_list.drain().role_sets) == ({}, {})

    def test_memory_is_bounded_whatever_comes(self, clock: FakeClock) -> None:
        hot_list = HotList(subjects=100, role_sets=10, clock=clock)
        for number in range(20_000):
            hot_list.sample(f"user:{number}", (f"role{number}",))
        assert len(hot_list._pending) < hot.BATCH
        drained = hot_list.drain()
        assert (len(drained.subjects), len(drained.role_sets)) == (100, 10)

    def test_a_hot_one_is_found_among_many_that_come_once(self, clock: FakeClock) -> None:
        hot_list = HotList(subjects=50, clock=clock)
        for number in range(10_000):
            hot_list.sample("user:ann" if number % 20 == 0 else f"user:{number}", EDITOR)
        assert hot_list.top(1)[0][0] == "user:ann"
        assert hot_list.top(1)[0][1] >= 500

    def test_a_sample_that_comes_while_others_are_counted_is_counted_next(self, hot_list: HotList) -> None:
        hot_list._pending = Interrupted(lambda: hot_list.sample("user:late", OWNER))
        meet(hot_list, "user:ann", "user:bob")
        first, second = hot_list.drain().subjects, hot_list.drain().subjects
        assert {**first, **second} == {"user:ann": 1, "user:bob": 1, "user:late": 1}

    def test_no_sample_of_many_threads_is_lost_or_counted_twice(self, clock: FakeClock) -> None:
        hot_list = HotList(clock=clock)
        each = hot.PENDING // 6  # no more than may wait to be counted
        start = threading.Barrier(6)

        def work() -> None:
            start.wait(PATIENCE_S)
            for number in range(each):
                hot_list.sample(f"user:{number % 7}", EDITOR)

        with ThreadPoolExecutor(6) as pool:
            for done in [pool.submit(work) for _ in range(6)]:
                done.result(PATIENCE_S)
        assert sum(hot_list.drain().subjects.values()) == each * 6

    def test_counts_halve_with_the_hour(self, hot_list: HotList, clock: FakeClock) -> None:
        meet(hot_list, *["user:ann"] * 8)
        hot_list.drain()
        clock.advance(3600)
        hot_list.drain()
        assert hot_list.top(1) == [("user:ann", 4)]

    def test_a_subject_without_roles_or_with_too_many_names_no_set(self, hot_list: HotList) -> None:
        meet(hot_list, "user:ann", roles=())
        meet(hot_list, "user:bob", roles=tuple(f"role{n:03}" for n in range(hot.MAX_ROLES + 1)))
        drained = hot_list.drain()
        assert (len(drained.subjects), drained.role_sets) == (2, {})


class Interrupted(deque[tuple[str, tuple[str, ...]]]):
    """In the middle of its first reading another thread comes by."""

    def __init__(self, interrupt: Callable[[], None]) -> None:
        super().__init__()
        self._interrupt: Callable[[], None] | None = interrupt

    def _come_by(self) -> None:
        interrupt, self._interrupt = self._interrupt, None
        if interrupt is not None:
            interrupt()

    def popleft(self) -> tuple[str, tuple[str, ...]]:
        self._come_by()
        return super().popleft()

    def __iter__(self) -> Iterator[tuple[str, tuple[str, ...]]]:
        found = [*super().__iter__()]
        self._come_by()
        return iter(found)


class TestWithoutRedis:
    pytestmark = committed

    @pytest.fixture(autouse=True)
    def _none(self, settings: Any) -> None:
        use(settings, None)

    def told(self, hot_list: HotList, clock: FakeClock) -> None:
        clock.advance(hot.ROWS_EVERY_S)
        assert hot.flush(REALM, hot_list, clock=clock).where == "rows"

    def test_increments_gather_for_a_minute_and_go_into_rows(self, hot_list: HotList, clock: FakeClock) -> None:
        meet(hot_list, "user:ann")
        for _ in range(5):
            clock.advance(10)
            assert hot.flush(REALM, hot_list, clock=clock).where == "kept"
        meet(hot_list, "user:ann", "user:Ł")
        clock.advance(10)
        assert hot.flush(REALM, hot_list, clock=clock) == hot.Flushed("rows", 3)
        assert rows(REALM) == {("s", "user:ann"): (0, 2), ("s", "user:Ł"): (0, 1), ("r", '["editor"]'): (0, 3)}

    def test_processes_add_up_in_the_rows_and_a_cold_one_reads_them(self, clock: FakeClock) -> None:
        for refs in (["user:ann"], ["user:ann", "user:ann", "user:bob"]):
            hot_list = HotList(clock=clock)
            meet(hot_list, *refs)
            self.told(hot_list, clock)
        assert rows(REALM)["s", "user:ann"] == (0, 3)
        assert hot.preload(REALM, clock=clock) == Preload(["user:ann", "user:bob"], [EDITOR])
        assert hot.preload(REALM + 1, clock=clock) == Preload([], [])

    def test_there_is_nothing_to_roll_up(self, clock: FakeClock) -> None:
        assert hot.collect(REALM, clock=clock) is None

    def test_rows_make_no_revision(self, hot_list: HotList, clock: FakeClock) -> None:
        before = head("default")
        meet(hot_list, "user:ann")
        self.told(hot_list, clock)
        HotItem.objects.meet(Realm.objects.get(name="default").pk, 1, "shared", [Met("s", "user:ann", 1)])
        hot.forget(100, clock=clock)
        assert head("default") == before

    def test_inside_an_open_transaction_nothing_is_written_and_nothing_lost(self, hot_list: HotList, clock: FakeClock) -> None:
        meet(hot_list, "user:ann")
        clock.advance(hot.ROWS_EVERY_S)
        with transaction.atomic():
            assert hot.flush(REALM, hot_list, clock=clock).where == "kept"
        assert hot.flush(REALM, hot_list, clock=clock).where == "rows"
        assert rows(REALM)["s", "user:ann"] == (0, 1)

    def test_a_database_that_fails_keeps_the_increments(
        self, hot_list: HotList, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        meet(hot_list, "user:ann")
        clock.advance(hot.ROWS_EVERY_S)
        with monkeypatch.context() as patch:
            patch.setitem(rows_module._DO, "direct", "DO NO SUCH THING")
            assert hot.flush(REALM, hot_list, clock=clock).where == "kept"
        assert hot.flush(REALM, hot_list, clock=clock).where == "rows"
        assert rows(REALM)["s", "user:ann"] == (0, 1)

    def test_rows_are_gone_after_25_hours_a_bounded_number_at_a_time(self, hot_list: HotList, clock: FakeClock) -> None:
        meet(hot_list, "user:ann", "user:bob", "user:cy")
        self.told(hot_list, clock)
        clock.advance(24 * 3600)
        assert hot.forget(100, clock=clock) == 0
        clock.advance(3600)
        assert [hot.forget(3, clock=clock), hot.forget(3, clock=clock), hot.forget(3, clock=clock)] == [3, 1, 0]
        assert rows(REALM) == {}

    def test_a_process_without_a_leader_forgets_as_well(self, hot_list: HotList, clock: FakeClock) -> None:
        meet(hot_list, "user:ann")
        self.told(hot_list, clock)
        clock.advance(25 * 3600)
        meet(hot_list, "user:bob")
        self.told(hot_list, clock)
        assert ("s", "user:ann") not in rows(REALM)

    def test_an_hour_that_has_ended_keeps_its_top(self, clock: FakeClock, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("permissions.models.hot.ROWS_AN_HOUR", 2)
        now = hot._hour(clock)
        met = [Met("s", f"user:{n}", n + 1) for n in range(5)]
        for hour in (now - 1, now):
            HotItem.objects.meet(REALM, hour, "direct", met)
        assert hot.forget(100, clock=clock) == 3
        left = HotItem.objects.filter(realm_id=REALM).values_list("hour", "item")
        assert sorted(left) == sorted([(now - 1, "user:3"), (now - 1, "user:4"), *[(now, m.item) for m in met]])


@pytest.mark.django_db(transaction=True)
class TestBesideWriters:
    """PostgreSQL, where writers do not wait for each other as they do on SQLite."""

    def test_a_flush_waits_for_no_writer_of_permissions(self, settings: Any, hot_list: HotList, clock: FakeClock) -> None:
        use(settings, None)
        realm = Realm.objects.get(name="default")
        meet(hot_list, "user:ann")
        clock.advance(hot.ROWS_EVERY_S)
        with permission_write("default", SYSTEM), ThreadPoolExecutor(1) as pool:
            flushed = in_thread(pool, lambda: hot.flush(realm.pk, hot_list, clock=clock)).result(PATIENCE_S)
        assert flushed.where == "rows"

    def test_two_processes_that_write_the_same_rows_do_not_deadlock(self, clock: FakeClock) -> None:
        met = [Met("s", f"user:{n}", 1) for n in range(400)]

        def work(order: list[Met]) -> None:
            for _ in range(15):
                HotItem.objects.meet(REALM, 1, "direct", order)

        with ThreadPoolExecutor(2) as pool:
            for done in [in_thread(pool, lambda o=order: work(o)) for order in (met, met[::-1])]:  # type: ignore[misc]
                done.result(PATIENCE_S)
        assert {row.direct for row in HotItem.objects.filter(realm_id=REALM)} == {30}


def test_the_rows_are_told_apart_from_those_that_need_triggers() -> None:
    assert triggers.models_without_triggers() == []
