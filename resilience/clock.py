"""Time as a port: the system's clock, and one that tests move."""

from __future__ import annotations

import heapq
import itertools
import threading
import time
from collections.abc import Callable
from typing import Final, Protocol


class Timer(Protocol):
    """A call that is due later."""

    def cancel(self) -> None: ...


class Clock(Protocol):
    """Where time comes from."""

    def now_us(self) -> int:
        """Wall time, integer microseconds since 1970."""
        ...

    def monotonic(self) -> float:
        """Seconds that never run back, from an arbitrary start."""
        ...

    def stamp_us(self) -> int:
        """What a storage operation takes as `now`: 0 lets the store's own clock say it, which all processes share."""
        ...

    def call_later(self, delay_s: float, call: Callable[[], object]) -> Timer:
        """Calls once, after `delay_s` seconds, in a thread of the clock's choice."""
        ...


class SystemClock:
    """The machine's clock."""

    def now_us(self) -> int:
        return time.time_ns() // 1000

    def monotonic(self) -> float:
        return time.monotonic()

    def stamp_us(self) -> int:
        return 0

    def call_later(self, delay_s: float, call: Callable[[], object]) -> Timer:
        timer = threading.Timer(max(0.0, delay_s), call)
        timer.daemon = True
        timer.start()
        return timer


class _Due:
    __slots__ = ("at", "call", "cancelled")

    def __init__(self, at: float, call: Callable[[], object]) -> None:
        self.at = at
        self.call = call
        self.cancelled = False

    def cancel(self) -> None:
        self.cancelled = True


class FakeClock:
    """A clock that stands still until a test moves it; what falls due runs in the thread that moves it.

    `start`: seconds since 1970. Redis takes its stamps too, so that memory and Redis can be compared to the microsecond.
    """

    def __init__(self, start: float = 1_700_000_000.0) -> None:
        self._lock = threading.RLock()
        self._now_us = round(start * 1_000_000)
        self._elapsed_us = 0
        self._order = itertools.count()
        self._due: list[tuple[int, int, _Due]] = []

    def now_us(self) -> int:
        return self._now_us

    def monotonic(self) -> float:
        return self._elapsed_us / 1_000_000

    def stamp_us(self) -> int:
        return self._now_us

    def call_later(self, delay_s: float, call: Callable[[], object]) -> Timer:
        with self._lock:
            due = _Due(self.monotonic() + delay_s, call)
            heapq.heappush(self._due, (self._elapsed_us + max(0, round(delay_s * 1_000_000)), next(self._order), due))
            return due

    def advance(self, seconds: float) -> None:
        """Both clocks go on; calls that fall due see the time they are due at."""
        self.advance_us(round(seconds * 1_000_000))

    def advance_us(self, microseconds: int) -> None:
        if microseconds < 0:
            raise ValueError(f"time does not run back by itself ({microseconds} us); set() steps the wall clock")
        with self._lock:
            end = self._elapsed_us + microseconds
        while True:
            with self._lock:
                if not self._due or self._due[0][0] > end:
                    self._move_to(end)
                    return
                at, _, due = heapq.heappop(self._due)
                self._move_to(max(at, self._elapsed_us))
            # Outside the lock: the call may ask for the time, or for another call later.
            if not due.cancelled:
                due.call()

    def set(self, seconds: float) -> None:
        """The wall clock jumps to `seconds` since 1970. Forward both clocks go on, back only the wall clock."""
        step = round(seconds * 1_000_000) - self._now_us
        if step >= 0:
            self.advance_us(step)
        else:
            with self._lock:
                self._now_us += step

    def _move_to(self, elapsed_us: int) -> None:
        """The caller holds the lock."""
        self._now_us += elapsed_us - self._elapsed_us
        self._elapsed_us = elapsed_us


SYSTEM: Final = SystemClock()
