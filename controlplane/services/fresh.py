"""What many look at is read at most once a second: of a store, of all processes."""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Callable
from typing import Any, Final, Generic, TypeVar

from resilience.clock import SYSTEM, Clock

T = TypeVar("T")

EVERY_S: Final = 1.0


class Fresh(Generic[T]):
    """What `read` gives, asked at most once `EVERY_S`, however many people look.

    While one thread reads, others get what was read before: a store that hangs must not gather all threads behind it.
    """

    def __init__(self, read: Callable[[], T], clock: Clock = SYSTEM) -> None:
        self._read = read
        self._clock = clock
        self.begin_anew()
        _all.add(self)

    def begin_anew(self) -> None:
        """At first, after an action, and in a forked child, where nobody holds the lock any more."""
        self._reading = threading.Lock()
        self._found: tuple[float, T] | None = None

    def get(self) -> T:
        found = self._found
        if found is not None and self._clock.monotonic() - found[0] < EVERY_S:
            return found[1]
        lock = self._reading
        if found is not None and not lock.acquire(blocking=False):
            return found[1]
        if found is None:
            lock.acquire()
        try:
            found = self._found
            asked = self._clock.monotonic()
            if found is not None and asked - found[0] < EVERY_S:
                return found[1]
            value = self._read()
            # An action meanwhile has put another lock here: what was read before it is not to be shown after it.
            if self._reading is lock:
                self._found = (asked, value)
            return value
        finally:
            lock.release()


_all: weakref.WeakSet[Fresh[Any]] = weakref.WeakSet()


def forget() -> None:
    """After an action the next look asks."""
    for fresh in list(_all):
        fresh.begin_anew()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=forget)
