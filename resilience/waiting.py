"""Waiting for a turn: a jittered poll, pauses by a clock, and work that is seen through although its caller is cancelled."""

from __future__ import annotations

import asyncio
import random
import threading
import time
from collections.abc import Awaitable
from typing import Any, Final, TypeVar

from resilience.clock import Clock, SystemClock

# Its own, for a thread of ours must not move the sequence that a program has seeded for itself.
_draw = random.Random()  # noqa: S311 - it spreads a load, it guards nothing

# Chosen: the first looks come soon, since most calls are short; later ones cost a server at most ten looks a second a waiter.
FIRST_PAUSE_S: Final = 0.005
LONGEST_PAUSE_S: Final = 0.1

T = TypeVar("T")


class Poll:
    """How long to pause before looking again, until `wait_s` is over. The last look comes at the end of the wait."""

    __slots__ = ("_clock", "_step_s", "_until")

    def __init__(self, wait_s: float, clock: Clock) -> None:
        self._clock = clock
        self._until = clock.monotonic() + wait_s
        self._step_s = FIRST_PAUSE_S

    def pause_s(self, retry_after_s: float | None = None) -> float | None:
        """None when the time is up. `retry_after_s`: a moment at which looking pays off in any case."""
        left = self._until - self._clock.monotonic()
        if left <= 0:
            return None
        # Without jitter, those who were refused together would come back together, for ever.
        pause = self._step_s * _draw.uniform(0.5, 1.5)
        self._step_s = min(2 * self._step_s, LONGEST_PAUSE_S)
        if retry_after_s is not None and 0 < retry_after_s < pause:
            pause = retry_after_s
        return min(pause, left)


def pause(clock: Clock, seconds: float) -> None:
    """Sleeps. By a test's clock: until somebody moves it so far."""
    if isinstance(clock, SystemClock):
        time.sleep(seconds)
        return
    over = threading.Event()
    clock.call_later(seconds, over.set)
    over.wait()


async def apause(clock: Clock, seconds: float) -> None:
    if isinstance(clock, SystemClock):
        await asyncio.sleep(seconds)
        return
    loop = asyncio.get_running_loop()
    over = asyncio.Event()
    timer = clock.call_later(seconds, lambda: loop.is_closed() or loop.call_soon_threadsafe(over.set))
    try:
        await over.wait()
    finally:
        timer.cancel()


async def see_through(work: Awaitable[T]) -> tuple[asyncio.Future[T], asyncio.CancelledError | None]:
    """Waits until `work` is done, whatever happens to the caller; then the caller decides, and raises the cancellation it got.

    A call to a store that is given up in the middle may have been executed: only its end says what there is to give back.
    """
    task = asyncio.ensure_future(work)
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError as error:
            cancelled = error
        except Exception:  # noqa: BLE001, S110 - the work's own outcome, which the caller reads from the future
            pass
    return task, cancelled


def outcome(task: asyncio.Future[Any]) -> BaseException | None:
    """What the work ended with, None for a result. A cancelled one (a loop that shuts down cancels all) counts as an error."""
    return asyncio.CancelledError() if task.cancelled() else task.exception()
