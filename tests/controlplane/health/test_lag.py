"""How late the event loop is: measured on a real loop, read from another thread while the loop stands still."""

from __future__ import annotations

import asyncio
import threading

import pytest

from controlplane.insight.lag import EVERY_S, LATE, METRIC, LoopLag
from controlplane.insight.verdict import LAG_S
from resilience import telemetry


@pytest.fixture
def now():
    return [100.0]


def moved(lag: LoopLag, now: list[float], late_s: float) -> None:
    """One turn that comes `late_s` after it should."""
    now[0] += EVERY_S + late_s
    lag.turn()


def on_a_loop(lag: LoopLag, work) -> None:
    async def run() -> None:
        lag.start()
        work()
        lag.stop()

    asyncio.run(run())


def test_nothing_is_known_before_it_begins_and_the_process_counts_as_alive():
    lag = LoopLag()
    assert lag.seconds is None and lag.turns


def test_the_worst_of_the_last_second_is_told_and_forgotten(now):
    lag = LoopLag(lambda: now[0])

    def work() -> None:
        moved(lag, now, 0.3)
        assert lag.seconds == pytest.approx(0.3)
        assert telemetry.collect()[METRIC][()] == pytest.approx(0.3)
        for _ in range(10):
            moved(lag, now, 0.0)
        assert lag.seconds == pytest.approx(0.0)

    on_a_loop(lag, work)


def test_one_long_pause_does_not_make_it_stand_still_and_several_in_a_row_do(now):
    lag = LoopLag(lambda: now[0])

    def work() -> None:
        for _ in range(LATE - 1):
            moved(lag, now, LAG_S)
            assert lag.turns
        moved(lag, now, LAG_S)
        assert not lag.turns
        moved(lag, now, 0.0)
        assert lag.turns, "a loop that turns again is alive again at once"

    on_a_loop(lag, work)


def test_a_loop_that_stands_still_is_told_by_another_thread_while_it_does():
    """A real loop, blocked until a second thread has looked."""
    lag, blocked, looked = LoopLag(), threading.Event(), threading.Event()
    seen: list[tuple[bool, float]] = []

    def look() -> None:
        assert blocked.wait(30)
        while lag.overdue_s < LAG_S:
            looked.wait(0.05)
        seen.append((lag.turns, lag.seconds or 0.0))
        looked.set()

    async def run() -> None:
        lag.start()
        await asyncio.sleep(EVERY_S * 2)
        blocked.set()
        looked.wait(30)  # what a blocking call does to the loop
        lag.stop()

    thread = threading.Thread(target=look)
    thread.start()
    asyncio.run(run())
    thread.join()
    ((turns, seconds),) = seen
    assert not turns and seconds >= LAG_S


def test_an_ended_loop_is_not_overdue_for_ever(now):
    lag = LoopLag(lambda: now[0])
    on_a_loop(lag, lambda: moved(lag, now, 0.0))
    now[0] += 3600
    assert lag.overdue_s == 0 and lag.turns
