"""Refusals told: one event a second and limiter, however many there are."""

from __future__ import annotations

import os
import threading
import weakref
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Final

from resilience import telemetry
from resilience.clock import Clock
from resilience.storage.keys import caller_key

MAX_TOLD_KEYS: Final = 1_000  # counted apart in one second; a flood of distinct keys is told as a sum
MAX_TOLD_LENGTH: Final = 200
TOP: Final = 10


class Told:
    """Refusals of one limiter, told as one event a second: an attack must not become a flood of events."""

    def __init__(self, rule: str, clock: Clock) -> None:
        self._rule = rule
        self._clock = clock
        self._lock = threading.Lock()
        self._sum = 0
        self._keys: Counter[str] = Counter()
        self._is_due = False
        # Refusals that a tier answered by itself, by key, since last asked.
        self.elsewhere: Callable[[], Iterable[tuple[str, int]]] = tuple
        _told.add(self)

    def refused(self, key: str | None, by: int) -> None:
        with self._lock:
            self._sum += by
            self._add(key, by)
            if self._is_due:
                return
            self._is_due = True
        self._clock.call_later(1.0, self._tell)

    def _add(self, key: str | None, by: int) -> None:
        """The caller holds the lock."""
        if key is not None and len(key) > MAX_TOLD_LENGTH:
            key = caller_key(key)
        if key is not None and (key in self._keys or len(self._keys) < MAX_TOLD_KEYS):
            self._keys[key] += by

    def _tell(self) -> None:
        elsewhere = list(self.elsewhere())
        with self._lock:
            for key, by in elsewhere:
                self._sum += by
                self._add(key, by)
            total, top = self._sum, self._keys.most_common(TOP)
            self._sum, self._keys = 0, Counter()
            # As long as it goes on, tiers may answer without coming here: look again in a second.
            self._is_due = total > 0
        if total:
            self._clock.call_later(1.0, self._tell)
            telemetry.emit("rate_limiter.refused", rule=self._rule, refused=total, top=top)

    def after_fork(self) -> None:
        """In a child: the thread that held the lock and the timer do not exist there."""
        self._lock = threading.Lock()
        self._is_due = False


# For forks alone; a limiter that nobody uses may go.
_told: weakref.WeakSet[Told] = weakref.WeakSet()


def _after_fork() -> None:
    for told in list(_told):
        told.after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
