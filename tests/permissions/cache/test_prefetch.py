"""Prefetch: walks that repeat are loaded ahead and used; where nothing repeats it stops, and starts again once it would pay."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, wait

import pytest

from permissions.cache import prefetch
from permissions.cache.prefetch import Prefetch
from permissions.engine.reasons import Unavailable
from resilience import telemetry
from resilience.clock import FakeClock
from tests.permissions.cache.prefetch_cast import Site, teach, walks
from tests.permissions.triggers.threads import PATIENCE_S


@pytest.fixture
def site() -> Site:
    return Site()


@pytest.fixture(autouse=True)
def _counts() -> Iterator[None]:
    telemetry.reset()
    yield
    telemetry.reset()


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

    def test_two_threads_that_load_at_the_same_time_load_nothing_twice(self, site: Site) -> None:
        line = StoppingLine()
        site.prefetch._waiting = line
        teach(site, "a", "b", "c")
        site.prefetch.missed("a")
        with ThreadPoolExecutor(2) as pool:
            first = pool.submit(site.prefetch.run)
            assert line.stopped.wait(PATIENCE_S)  # it has chosen, and not yet taken out of the line
            second = pool.submit(site.prefetch.run)
            wait([second], 0.2)  # it may only wait; how long does not matter
            line.go_on.set()
            assert first.result(PATIENCE_S) + second.result(PATIENCE_S) == 2
        assert site.batches == [["b", "c"]]

    def test_threads_that_record_miss_use_and_load_count_every_id_once(self) -> None:
        clock = FakeClock()
        seen: list[str] = []
        prefetcher = Prefetch(seen.extend, clock=clock)

        def work(name: int) -> None:
            drawn = random.Random(name)
            for _ in range(1_000):
                flow = drawn.randrange(30)
                for step in range(3):
                    prefetcher.record((name, flow), f"doc:{flow}:{step}")
                prefetcher.missed(f"doc:{flow}:0")
                prefetcher.run()
                prefetcher.used(f"doc:{flow}:1")
                clock.advance_us(500)

        with ThreadPoolExecutor(5) as pool:
            for done in [pool.submit(work, name) for name in range(5)]:
                done.result(PATIENCE_S)
        shown = prefetcher.snapshot()
        assert shown.useful + shown.wasted + shown.outstanding == len(seen)


class StoppingLine(dict[str, None]):
    """Holds up the first thread that takes something out."""

    def __init__(self) -> None:
        super().__init__()
        self.stopped = threading.Event()
        self.go_on = threading.Event()

    def __delitem__(self, ref: str) -> None:
        if not self.stopped.is_set():
            self.stopped.set()
            self.go_on.wait(PATIENCE_S)
        super().__delitem__(ref)


def results() -> dict[tuple[str, ...], float]:
    return telemetry.collect()["permission_cache_prefetch_total"]
