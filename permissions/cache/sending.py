"""Sending without waiting: a bounded queue and one daemon thread between a commit and a bus that may be slow, silent or away."""

from __future__ import annotations

import atexit
import os
import threading
import weakref
from collections import deque
from collections.abc import Callable
from typing import Final

from resilience import telemetry
from resilience.bus import Bus
from resilience.clock import SYSTEM, Clock
from resilience.errors import StorageError

MAX_WAITING: Final = 1_000
# Seconds. Whoever listens has found an older change by polling: telling it late would only keep newer news waiting.
LATE_S: Final = 0.5
LAST_WORD_S: Final = 0.25  # what a command waits at its end, for its news to leave


class Sender:
    """`bus()` gives the bus, or None while there is none to tell. A message that cannot be sent is dropped and counted."""

    def __init__(self, channel: str, bus: Callable[[], Bus | None], *, clock: Clock = SYSTEM, size: int = MAX_WAITING) -> None:
        self._channel = channel
        self._bus = bus
        self._clock = clock
        self._size = size
        self._start_anew()
        _senders.add(self)

    def _start_anew(self) -> None:
        """New, or in a forked child: the parent's messages are the parent's to send, and its lock may be held for ever."""
        self._changed = threading.Condition(threading.Lock())
        self._waiting: deque[tuple[float, bytes]] = deque()
        self._is_busy = False
        self._thread: threading.Thread | None = None

    def put(self, message: bytes) -> None:
        """From any thread; full, it drops the oldest message."""
        with self._changed:
            if len(self._waiting) >= self._size:
                self._waiting.popleft()
                telemetry.count("permission_cache_events_total", "unsent")
            self._waiting.append((self._clock.monotonic(), message))
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="permission-events-out", daemon=True)
                self._thread.start()
            self._changed.notify_all()

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    def drain(self, timeout_s: float) -> bool:
        """Waits until everything has left, at most so long. False: something has not."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._waiting and not self._is_busy, timeout_s)

    def stop(self) -> None:
        """Sends what is waiting, for a moment, then ends the thread. The next put() begins one anew."""
        thread = self._thread
        if thread is None:
            return
        self.drain(LAST_WORD_S)
        with self._changed:
            self._thread = None
            self._changed.notify_all()
        thread.join(LAST_WORD_S)

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._thread is not threading.current_thread())
                if self._thread is not threading.current_thread():
                    return
                since, message = self._waiting.popleft()
                self._is_busy = True
            self._send(since, message)
            with self._changed:
                self._is_busy = False
                self._changed.notify_all()

    def _send(self, since: float, message: bytes) -> None:
        result = "unsent"
        try:
            bus = self._bus()
            if bus is not None and self._clock.monotonic() - since <= LATE_S:
                bus.publish(self._channel, message)
                result = "sent"
        except StorageError:
            pass  # nobody could be told: the others poll
        except Exception as error:  # noqa: BLE001 - the thread outlives every fault: nobody would notice its end
            telemetry.internal_error("permission_events", "send", error)
        telemetry.count("permission_cache_events_total", result)


_senders: Final[weakref.WeakSet[Sender]] = weakref.WeakSet()


def _after_fork() -> None:
    for sender in list(_senders):
        sender._start_anew()


def _at_exit() -> None:
    """A command ends right after its write, and its thread with it."""
    for sender in list(_senders):
        sender.drain(LAST_WORD_S)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
atexit.register(_at_exit)
