"""Smart invalidation on a clock that stands still: what is taken one by one, what is gathered, and that nothing is lost."""

from __future__ import annotations

import os
import threading
from dataclasses import replace

import pytest

from permissions.cache import coalescer as module
from permissions.cache.coalescer import GATHER_S, MANY_A_SECOND, MANY_QUEUED, MAX_QUEUED, Coalescer
from permissions.cache.events import Event
from resilience.clock import FakeClock

FIRST = Event("ab" * 16, 7, "default", 0, 10, 1, 11, (("s", "user:a"),))


def following(number: int, realm: str = "default") -> Event:
    return replace(FIRST, name=realm, prev=number, rev=number + 1)


class Process:
    """What a process knows of its realms: applies what follows, drops what is old, reads the changelog when told to."""

    def __init__(self, setting: str = "auto") -> None:
        self.setting = setting
        self.clock = FakeClock()
        self.rev: dict[str, int] = {}
        self.head: dict[str, int] = {}
        self.done: list[str] = []
        self.coalescer = Coalescer(self.apply, self.pull, setting=lambda: self.setting, clock=self.clock)

    def apply(self, event: Event) -> bool:
        known = self.rev.get(event.name, 0)
        if event.rev <= known:
            self.done.append(f"old {event.rev}")
            return True
        if event.prev != known or event.objects is None:
            return False
        self.rev[event.name] = event.rev
        self.done.append(f"apply {event.rev}")
        return True

    def pull(self, name: str) -> None:
        self.rev[name] = self.head.get(name, 0)
        self.done.append(f"pull {name} {self.rev[name]}")

    def commits(self, *events: Event) -> None:
        """Others commit; what they say arrives."""
        for event in events:
            self.head[event.name] = max(event.rev, self.head.get(event.name, 0))
            self.coalescer.put(event)

    def run(self) -> list[str]:
        """All that is due at this moment."""
        before = len(self.done)
        while self.coalescer.step() == 0.0:
            pass
        return self.done[before:]

    def flood(self, number: int, *, start: int = 0, each_s: float = 0.0) -> None:
        for place in range(start, start + number):
            self.commits(following(place))
            self.clock.advance(each_s)


class TestAggressive:
    def test_each_event_is_applied_at_once_without_a_query(self) -> None:
        process = Process()
        process.commits(following(0), following(1))
        assert process.run() == ["apply 1", "apply 2"]
        process.commits(following(2))
        assert process.run() == ["apply 3"]

    def test_a_gap_pulls_once_and_takes_the_rest_of_the_queue_along(self) -> None:
        process = Process()
        process.commits(following(0), following(2), following(3), following(4))
        assert process.run() == ["apply 1", "pull default 5"]

    def test_what_came_twice_or_late_changes_nothing(self) -> None:
        process = Process()
        process.commits(following(0), following(1), following(0), following(1))
        assert process.run() == ["apply 1", "apply 2", "old 1", "old 2"]
        assert process.rev == {"default": 2}

    def test_a_change_of_the_model_is_pulled(self) -> None:
        process = Process()
        process.commits(replace(following(0), objects=None))
        assert process.run() == ["pull default 1"]

    def test_realms_do_not_wait_for_one_another(self) -> None:
        process = Process()
        process.commits(following(5, "one"), following(0, "two"), following(6, "one"))
        assert process.run() == ["pull one 7", "apply 1"]
        assert process.rev == {"one": 7, "two": 1}

    def test_forced_it_stays_so_in_a_flood_and_holds_a_bounded_number(self) -> None:
        process = Process("aggressive")
        process.flood(MAX_QUEUED + 10)
        assert process.coalescer.status().queued == MAX_QUEUED
        assert process.coalescer.status().mode == "aggressive"
        assert process.run() == [f"pull default {MAX_QUEUED + 10}"]
        assert process.coalescer.status().queued == 0


class TestConservative:
    def test_a_tenth_of_a_second_is_gathered_into_one_pull(self) -> None:
        process = Process("conservative")
        process.flood(30, each_s=0.001)
        assert process.run() == []
        process.clock.advance(GATHER_S - 0.030 - 0.001)
        assert process.run() == []
        process.clock.advance(0.001)
        assert process.run() == ["pull default 30"]
        process.clock.advance(10)
        assert process.run() == [], "one pull, and no more"

    def test_so_many_ids_are_not_kept_waiting(self) -> None:
        process = Process("conservative")
        many = tuple(("s", f"user:{i}") for i in range(256))
        process.commits(replace(following(0), objects=many))
        assert process.run() == []
        process.commits(replace(following(1), objects=many))
        assert process.run() == ["pull default 2"]
        process.commits(following(2))
        assert process.run() == [], "the count begins anew"

    def test_each_realm_is_pulled_once(self) -> None:
        process = Process("conservative")
        for place in range(10):
            process.commits(following(place, "one"), following(place, "two"))
        process.clock.advance(GATHER_S)
        assert process.run() == ["pull one 10", "pull two 10"]

    def test_what_comes_while_it_pulls_is_gathered_anew(self) -> None:
        process = Process("conservative")
        process.commits(following(0))
        process.clock.advance(GATHER_S)
        stock = process.pull

        def pull(name: str) -> None:
            stock(name)
            if process.head[name] == 1:
                process.commits(following(1))

        process.coalescer._pull = pull
        assert process.run() == ["pull default 1"]
        process.clock.advance(GATHER_S)
        assert process.run() == ["pull default 2"]


class TestAuto:
    def test_up_to_sixteen_waiting_are_taken_one_by_one(self) -> None:
        process = Process()
        process.flood(MANY_QUEUED)
        assert process.coalescer.status().mode == "aggressive"
        assert process.run() == [f"apply {rev}" for rev in range(1, MANY_QUEUED + 1)]

    def test_beyond_they_are_gathered(self) -> None:
        process = Process()
        process.flood(MANY_QUEUED + 1)
        assert process.coalescer.status().mode == "conservative"
        assert process.run() == []
        process.clock.advance(GATHER_S)
        assert process.run() == [f"pull default {MANY_QUEUED + 1}"]

    def test_more_than_fifty_a_second_are_gathered_though_none_had_to_wait(self) -> None:
        process = Process()
        process.clock.advance(0.01)
        for place in range(MANY_A_SECOND):
            process.commits(following(place))
            assert process.run() == [f"apply {place + 1}"]
        assert process.coalescer.status().mode == "aggressive"
        process.commits(following(MANY_A_SECOND))
        assert process.coalescer.status().mode == "conservative"
        assert process.run() == []

    def test_it_comes_back_at_half_of_both_and_not_before(self) -> None:
        process = Process()
        process.flood(MANY_QUEUED + 1)
        process.clock.advance(2)
        assert process.run() == [f"pull default {MANY_QUEUED + 1}"]
        assert process.coalescer.status().mode == "aggressive"
        process.flood(200, start=17, each_s=0.02)  # fifty a second
        process.clock.advance(GATHER_S)
        process.run()
        mode, rate = process.coalescer.status().mode, process.coalescer.status().rate
        assert (mode, rate > MANY_A_SECOND / 2) == ("conservative", True), "between half and whole it stays as it is"
        process.clock.advance(2)
        process.commits(following(217))
        assert process.run() == ["apply 218"]

    def test_coming_back_leaves_nothing_behind(self) -> None:
        process = Process()
        process.flood(MANY_QUEUED + 1)
        process.setting = "aggressive"
        assert process.run() == [f"pull default {MANY_QUEUED + 1}"], "what was gathered waits no longer"


class TestWhateverTheMode:
    @pytest.mark.parametrize("setting", ["auto", "aggressive", "conservative"])
    @pytest.mark.parametrize("burst", [1, 16, 17, 100, 5000])
    def test_every_commit_that_was_told_is_known_in_the_end(self, setting: str, burst: int) -> None:
        process = Process(setting)
        order = [(place * 7) % burst for place in range(burst)] if burst % 7 else list(range(burst))
        for place in order:  # out of order, each twice, every third of them lost
            if place % 3 or place == burst - 1:
                process.commits(following(place), following(place))
        process.run()
        process.clock.advance(GATHER_S)
        process.run()
        assert process.rev == {"default": burst}
        assert process.coalescer.status().queued == 0

    def test_a_gap_in_the_listening_pulls_at_once(self) -> None:
        process = Process("conservative")
        process.head = {"one": 5, "two": 6}
        process.coalescer.ask(["one", "two"])
        assert process.run() == ["pull one 5", "pull two 6"]

    def test_a_fault_in_applying_pulls_and_a_fault_in_pulling_stops_nothing(self) -> None:
        process = Process("aggressive")
        process.coalescer._apply = lambda event: bool(1 / 0)
        process.commits(following(0))
        assert process.run() == ["pull default 1"]

        def away(name: str) -> None:
            raise ConnectionError(name)

        process.coalescer._pull = away
        process.commits(following(1))
        process.run()
        process.coalescer._pull = process.pull
        process.commits(following(2))
        assert process.run() == ["pull default 3"]

    def test_what_it_does_can_be_seen(self) -> None:
        process = Process()
        process.flood(MANY_QUEUED + 1)
        process.clock.advance(GATHER_S)
        process.run()
        process.clock.advance(2)
        process.commits(following(MANY_QUEUED + 1))
        process.run()
        status = process.coalescer.status()
        assert (status.setting, status.mode, status.queued, status.rate) == ("auto", "aggressive", 0, 1.0)
        assert (status.received, status.applied, status.pulls, status.coalesced) == (18, 1, 1, 17)


class TestItsThread:
    def test_it_takes_news_until_it_is_stopped(self) -> None:
        came, pulled = threading.Event(), threading.Event()

        def apply(event: Event) -> bool:
            came.set()
            return event.rev == 1

        coalescer = Coalescer(apply, lambda name: pulled.set(), setting=lambda: "auto")
        coalescer.start()
        coalescer.put(following(0))
        assert came.wait(30)
        coalescer.put(following(5))
        assert pulled.wait(30)
        coalescer.stop()
        pulled.clear()
        coalescer.ask(["default"])
        assert not [thread for thread in threading.enumerate() if thread.name == "permission-events-in"]
        coalescer.start()
        assert pulled.wait(30), "what was asked meanwhile is done when it begins again"
        coalescer.stop()

    def test_it_wakes_by_itself_for_what_it_gathered(self) -> None:
        pulled = threading.Event()
        coalescer = Coalescer(lambda event: True, lambda name: pulled.set(), setting=lambda: "conservative")
        coalescer.start()
        coalescer.put(following(0))
        assert pulled.wait(30)
        coalescer.stop()

    def test_a_forked_child_has_nothing_of_its_parents_news(self) -> None:
        held, coalescer = threading.Event(), Coalescer(lambda event: True, lambda name: None, setting=lambda: "conservative")
        coalescer.put(following(0))
        reading, writing = os.pipe()

        def hold() -> None:
            coalescer._woken.acquire()
            held.set()

        locking = threading.Thread(target=hold)
        locking.start()
        locking.join()
        assert held.is_set()
        child = os.fork()
        if child == 0:
            try:
                coalescer.put(following(1))  # the lock that a thread of the parent held is not the child's
                os.write(writing, str(coalescer.status().queued).encode())
            finally:
                os._exit(0)
        os.close(writing)
        with os.fdopen(reading, "rb") as pipe:
            assert pipe.read() == b"1"
        os.waitpid(child, 0)


def test_the_figures_are_those_of_the_design() -> None:
    assert (MANY_QUEUED, MANY_A_SECOND, module.GATHER_S, module.GATHER_IDS) == (16, 50, 0.1, 512)
