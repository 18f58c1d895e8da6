"""What many look at is read at most once a second, an action makes it read anew, and nobody waits behind a slow reader."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable
from typing import Any

from controlplane.services.fresh import Fresh
from resilience.clock import FakeClock


def counting() -> Callable[[], int]:
    """1, then 2, …"""
    numbers = itertools.count(1)
    return lambda: next(numbers)


def test_it_is_read_once_a_second_however_many_look() -> None:
    clock = FakeClock()
    fresh = Fresh(counting(), clock)
    assert [fresh.get() for _ in range(5)] == [1] * 5
    clock.advance(0.999)
    assert fresh.get() == 1
    clock.advance(0.001)
    assert fresh.get() == 2


def test_an_action_makes_the_next_look_read_anew() -> None:
    fresh = Fresh(counting(), FakeClock())
    fresh.get()
    fresh.begin_anew()
    assert fresh.get() == 2


def test_who_comes_while_one_reads_gets_what_was_read_before() -> None:
    clock, enter, go = FakeClock(), threading.Event(), threading.Event()
    reads: list[int] = []

    def read() -> int:
        reads.append(1)
        if len(reads) == 2:
            enter.set()
            assert go.wait(30)
        return len(reads)

    fresh = Fresh(read, clock)
    fresh.get()
    clock.advance(5)
    slow: list[Any] = []
    thread = threading.Thread(target=lambda: slow.append(fresh.get()))
    thread.start()
    assert enter.wait(30)
    assert fresh.get() == 1
    go.set()
    thread.join(30)
    assert slow == [2]
    assert fresh.get() == 2


def test_what_was_read_before_an_action_is_not_shown_after_it() -> None:
    clock, enter, go = FakeClock(), threading.Event(), threading.Event()
    reads: list[int] = []

    def read() -> int:
        reads.append(1)
        number = len(reads)
        if number == 1:
            enter.set()
            assert go.wait(30)
        return number

    fresh = Fresh(read, clock)
    thread = threading.Thread(target=fresh.get)
    thread.start()
    assert enter.wait(30)
    fresh.begin_anew()
    go.set()
    thread.join(30)
    assert fresh.get() == 2


def test_a_reading_that_fails_leaves_the_next_one_free() -> None:
    reads: list[int] = []

    def read() -> int:
        reads.append(1)
        if len(reads) == 1:
            raise RuntimeError("torn")
        return 7

    fresh = Fresh(read, FakeClock())
    try:
        fresh.get()
    except RuntimeError:
        assert fresh.get() == 7
    assert len(reads) == 2
