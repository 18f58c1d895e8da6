"""How late the event loop is: a callback that should come every tenth of a second, and how long after that it came.

Read from any thread, also while the loop stands still: what is overdue right now counts as lag.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from typing import Final

from controlplane.insight.verdict import LAG_S
from resilience import telemetry

EVERY_S: Final = 0.1
METRIC: Final = "permsite_event_loop_lag_seconds"
# Turns in a row that must come late before the loop counts as standing: one long garbage collection is no reason to restart.
LATE: Final = 3


class LoopLag:
    """Begun on a running loop, ended from it."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._due_s: float | None = None
        self._recent: deque[float] = deque(maxlen=10)  # of one second
        self._handle: asyncio.TimerHandle | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def start(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._recent.clear()
        self._plan()

    def stop(self) -> None:
        if self._handle is not None:
            self._handle.cancel()
        self._handle = self._loop = self._due_s = None

    def _plan(self) -> None:
        if self._loop is not None:
            self._due_s = self._clock() + EVERY_S
            self._handle = self._loop.call_later(EVERY_S, self.turn)

    def turn(self) -> None:
        """One turn of the loop, as the loop calls it."""
        if self._due_s is not None:
            self._recent.append(max(0.0, self._clock() - self._due_s))
            telemetry.gauge(METRIC, self.seconds or 0.0)
        self._plan()

    @property
    def overdue_s(self) -> float:
        due_s = self._due_s
        return 0.0 if due_s is None else max(0.0, self._clock() - due_s)

    @property
    def seconds(self) -> float | None:
        """The worst of the last second; None where nothing is measured."""
        recent = list(self._recent)
        if self._due_s is None and not recent:
            return None
        return max([*recent, self.overdue_s])

    @property
    def turns(self) -> bool:
        """False when the loop stands still, or has come LAG_S too late several times in a row."""
        if self.overdue_s >= LAG_S:
            return False
        last = list(self._recent)[-LATE:]
        return len(last) < LATE or min(last) < LAG_S


LAG: Final = LoopLag()
