"""Prefetch: walks that repeat are loaded ahead and used; where nothing repeats it stops, and starts again once it would pay."""

from __future__ import annotations

import random
import threading
from collections import OrderedDict
from collections.abc import Iterator
from typing import Any

import pytest

from permissions.cache import follows, prefetch
from permissions.cache.follows import Follows
from permissions.cache.prefetch import Prefetch
from permissions.engine.reasons import Unavailable
from resilience import telemetry
from resilience.clock import FakeClock


class Site:
    """Sessions that ask, a first layer that holds few, a database that is asked for the rest."""

    def __init__(self, *, size: int = 300, fill_s: float = 0.0, pause_s: float = 0.02) -> None:
        self.clock = FakeClock()
        self.resident: OrderedDict[str, None] = OrderedDict()
        self.size = size
        self.fill_s = fill_s
        self.pause_s = pause_s
        self.batches: list[list[str]] = []
        self.error: BaseException | None = None
        self.is_busy = False
        self.woken = 0
        self.misses = 0
        self.prefetch = Prefetch(
            self.fill, is_resident=self.resident.__contains__, wake=self.wake, is_busy=lambda: self.is_busy, clock=self.clock
        )

    def wake(self) -> None:
        self.woken += 1

    def fill(self, refs: list[str]) -> None:
        self.batches.append(refs)
        if self.error is not None:
            raise self.error
        self.clock.advance(self.fill_s)
        for ref in refs:
            self.keep(ref)

    def keep(self, ref: str) -> None:
        self.resident[ref] = None
        self.resident.move_to_end(ref)
        while len(self.resident) > self.size:
            self.resident.popitem(last=False)

    def ask(self, session: object, ref: str) -> bool:
        """Whether the first layer had it."""
        found = ref in self.resident
        self.prefetch.record(session, ref)
        if not found:
            self.misses += 1
            self.prefetch.missed(ref)
        self.keep(ref)
        self.clock.advance(self.pause_s)
        self.prefetch.run()
        return found

    @property
    def loaded(self) -> int:
        return sum(map(len, self.batches))


@pytest.fixture
def site() -> Site:
    return Site()


@pytest.fixture(autouse=True)
def _counts() -> Iterator[None]:
    telemetry.reset()
    yield
    telemetry.reset()


def teach(site: Site, *walk: str, times: int = 3) -> None:
    for visit in range(times):
        for ref in walk:
            site.prefetch.record(f"teacher{visit}", ref)


def walks(site: Site, number: int, *, flows: int = 200, together: int = 8, seed: int = 1) -> None:
    """`number` visits of four steps each, `together` at a time, step by step in turn."""
    drawn = random.Random(seed)
    live: list[tuple[int, list[str]]] = []
    begun = 0
    while begun < number or live:
        while len(live) < together and begun < number:
            flow = drawn.randrange(flows)
            live.append((begun, [f"doc:{flow}:{step}" for step in range(4)]))
            begun += 1
        session, steps = drawn.choice(live)
        site.ask(session, steps.pop(0))
        live = [(session, steps) for session, steps in live if steps]


class TestTraces:
    def test_sessions_that_walk_the_same_four_steps_find_them_loaded(self, site: Site) -> None:
        walks(site, 1_500)
        seen = site.prefetch.snapshot()
        assert seen.is_on
        assert seen.ratio is not None
        assert seen.ratio > 0.8
        assert site.prefetch.ratio == seen.ratio
        alone = Site()
        alone.prefetch = Prefetch(alone.fill, is_busy=lambda: True, clock=alone.clock)  # the same site without prefetch
        for each in (site, alone):
            each.misses = 0
            walks(each, 1_000, seed=5)
        assert site.misses < alone.misses / 2

    def test_asking_at_random_turns_it_off_and_loads_next_to_nothing_more(self) -> None:
        site = Site(pause_s=1.0)
        drawn = random.Random(2)
        for number in range(30_000):
            site.ask(number % 50, f"doc:{drawn.randrange(800)}")
        seen = site.prefetch.snapshot()
        assert (seen.is_on, seen.why_off) == (False, "useless")
        loaded = site.loaded
        for number in range(10_000):
            site.ask(number % 50, f"doc:{drawn.randrange(800)}")
        assert site.loaded == loaded

    def test_ids_that_never_come_again_cause_no_load_at_all(self, site: Site) -> None:
        for number in range(5_000):
            site.ask(number % 50, f"doc:{number}")
        assert site.batches == []

    def test_it_turns_off_when_a_habit_ends_and_on_again_when_it_comes_back(self, site: Site) -> None:
        walks(site, 1_500)
        assert site.prefetch.snapshot().is_on
        site.pause_s = 1.0
        drawn = random.Random(3)
        for number in range(1_000):  # everybody leaves after the first step
            site.ask(f"guest{number}", f"doc:{drawn.randrange(200)}:0")
            site.resident.clear()
        assert site.prefetch.snapshot().why_off == "useless"
        site.pause_s = 0.02
        walks(site, 1_500, seed=6)
        seen = site.prefetch.snapshot()
        assert seen.is_on
        assert seen.ratio is None or seen.ratio > 0.6


class TestPrediction:
    def test_what_follows_is_predicted_the_nearest_first(self, site: Site) -> None:
        teach(site, "a", "b", "c", "d", times=30)
        assert site.prefetch.predict("a")[0] == "b"
        assert set(site.prefetch.predict("a")) == {"b", "c", "d"}
        assert site.prefetch.predict("d") == []

    def test_once_is_no_habit(self, site: Site) -> None:
        teach(site, "a", "b", times=1)
        assert site.prefetch.predict("a") == []

    def test_what_one_session_asks_does_not_follow_what_another_asked(self, site: Site) -> None:
        for _ in range(5):
            site.prefetch.record("ann", "a")
            site.prefetch.record("bob", "b")
        assert site.prefetch.predict("a") == []

    def test_the_same_id_again_is_no_step(self, site: Site) -> None:
        for _ in range(5):
            site.prefetch.record("ann", "a")
        assert site.prefetch.predict("a") == []

    def test_at_most_four_follow(self, site: Site) -> None:
        for after in "bcdefgh":
            teach(site, "a", after, times=5)
        assert len(site.prefetch.predict("a")) <= follows.SUCCESSORS

    def test_a_new_habit_takes_the_place_of_an_old_one(self, site: Site) -> None:
        for old in "bcde":
            teach(site, "a", old, times=40)
        for visit in range(200):
            site.prefetch.record(visit, "a")
            site.prefetch.record(visit, "z")
        assert site.prefetch.predict("a")[0] == "z"

    def test_memory_is_bounded_whatever_comes(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(follows, "SESSIONS", 50)
        monkeypatch.setattr(follows, "PAIRS", 400)
        learnt = Follows()
        drawn = random.Random(4)
        for _ in range(20_000):
            learnt.record(drawn.randrange(1_000), f"doc:{drawn.randrange(500)}")
            assert learnt.pairs <= 400
        assert len(learnt._sessions.values()) <= 50

    def test_a_session_may_be_anything_that_can_be_a_key_and_nothing_else(self, site: Site) -> None:
        for session in ("ann", 7, None, ("ann", 7), object()):
            site.prefetch.record(session, "a")
        unhashable: Any = ["ann"]
        with pytest.raises(TypeError, match="unhashable"):
            site.prefetch.record(unhashable, "a")
        site.prefetch.record("ann", "b")  # its lock is free again


class TestLoading:
    def test_a_miss_puts_what_follows_in_line_and_wakes_the_loader(self, site: Site) -> None:
        teach(site, "a", "b", "c")
        site.prefetch.missed("a")
        assert (site.woken, site.prefetch.snapshot().waiting) == (1, 2)
        assert site.prefetch.run() == 2
        assert site.batches == [["b", "c"]]
        assert (site.prefetch.run(), site.woken) == (0, 1)

    def test_what_is_there_already_is_not_loaded(self, site: Site) -> None:
        teach(site, "a", "b", "c")
        site.keep("b")
        site.prefetch.missed("a")
        site.prefetch.run()
        assert site.batches == [["c"]]

    def test_at_most_64_ids_a_second(self, site: Site) -> None:
        for number in range(400):
            teach(site, f"page:{number}", f"next:{number}", times=2)
        for _ in range(40):  # ten seconds
            for number in range(400):
                site.resident.clear()
                site.prefetch.missed(f"page:{number}")
            site.clock.advance(0.25)
            site.prefetch.run()
        assert max(map(len, site.batches)) <= prefetch.MAX_IDS_S
        assert site.loaded <= prefetch.MAX_IDS_S * 11

    def test_used_in_time_is_useful_and_later_is_wasted(self, site: Site) -> None:
        teach(site, "a", "b", "c")
        site.prefetch.missed("a")
        site.prefetch.run()
        site.prefetch.used("b")
        site.prefetch.used("b")
        site.clock.advance(prefetch.WINDOW_S)
        site.prefetch.record("ann", "c")
        seen = site.prefetch.snapshot()
        assert (seen.useful, seen.wasted, seen.outstanding) == (1, 1, 0)
        assert results() == {("useful",): 1, ("wasted",): 1}

    def test_what_left_the_first_layer_before_it_was_asked_for_is_wasted(self, site: Site) -> None:
        teach(site, "a", "b")
        site.prefetch.missed("a")
        site.prefetch.run()
        site.resident.clear()
        site.prefetch.record("ann", "b")
        assert (site.prefetch.snapshot().useful, site.prefetch.snapshot().wasted) == (0, 1)

    def test_an_id_that_nobody_asked_for_is_wasted(self, site: Site) -> None:
        teach(site, "a", "b")
        site.prefetch.missed("a")
        site.prefetch.run()
        site.clock.advance(prefetch.WINDOW_S - 1)
        assert (site.prefetch.snapshot().wasted, site.prefetch.snapshot().outstanding) == (0, 1)
        site.clock.advance(1)
        assert (site.prefetch.snapshot().wasted, site.prefetch.snapshot().outstanding) == (1, 0)
        site.prefetch.used("b")
        assert results() == {("wasted",): 1}

    def test_what_was_not_really_loaded_proves_nothing(self) -> None:
        site = Site()
        site.prefetch = Prefetch(lambda refs: refs[:1], clock=site.clock)
        teach(site, "a", "b", "c")
        site.prefetch.missed("a")
        site.prefetch.run()
        assert site.prefetch.snapshot().outstanding == 1

    def test_under_load_nothing_is_loaded_then_or_later(self, site: Site) -> None:
        teach(site, "a", "b")
        site.is_busy = True
        site.prefetch.missed("a")
        assert site.prefetch.snapshot().why_off == "busy"
        assert site.prefetch.run() == 0
        site.is_busy = False
        assert (site.prefetch.run(), site.batches) == (0, [])
        assert site.prefetch.snapshot().is_on

    def test_a_slow_database_is_left_alone_for_a_while(self) -> None:
        site = Site(fill_s=prefetch.SLOW_FILL_S * 2)
        teach(site, "a", "b")
        site.prefetch.missed("a")
        assert site.prefetch.run() == 1
        assert site.prefetch.snapshot().why_off == "resting"
        site.clock.advance(prefetch.REST_S)
        assert site.prefetch.snapshot().is_on

    def test_a_database_that_is_away_is_left_alone_and_wastes_nothing(self, site: Site) -> None:
        teach(site, "a", "b")
        site.error = Unavailable("the database does not answer", retry_after_s=1.0)
        site.prefetch.missed("a")
        assert site.prefetch.run() == 0
        seen = site.prefetch.snapshot()
        assert (seen.why_off, seen.outstanding, seen.wasted) == ("resting", 0, 0)

    def test_a_fault_of_the_loader_leaves_as_itself_and_leaves_nothing_outstanding(self, site: Site) -> None:
        teach(site, "a", "b")
        site.error = ZeroDivisionError()
        site.prefetch.missed("a")
        with pytest.raises(ZeroDivisionError):
            site.prefetch.run()
        assert site.prefetch.snapshot().outstanding == 0

    def test_threads_that_record_miss_use_and_load_do_not_hurt_each_other(self) -> None:
        clock = FakeClock()
        seen: list[str] = []
        prefetcher = Prefetch(seen.extend, clock=clock)
        errors: list[BaseException] = []

        def work(name: int) -> None:
            drawn = random.Random(name)
            try:
                for _ in range(2_000):
                    flow = drawn.randrange(30)
                    for step in range(3):
                        prefetcher.record((name, flow), f"doc:{flow}:{step}")
                    prefetcher.missed(f"doc:{flow}:0")
                    prefetcher.run()
                    prefetcher.used(f"doc:{flow}:1")
                    clock.advance_us(500)
            except BaseException as error:  # noqa: BLE001 - told to the test's own thread
                errors.append(error)

        threads = [threading.Thread(target=work, args=(name,)) for name in range(5)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert errors == []
        shown = prefetcher.snapshot()
        assert shown.useful + shown.wasted + shown.outstanding == len(seen)


def results() -> dict[tuple[str, ...], float]:
    return telemetry.collect()["permission_cache_prefetch_total"]
