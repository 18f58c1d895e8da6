"""How many processes share the work: each beats in the store, and shares of a limit follow the count."""

from __future__ import annotations

import contextlib
import os
import threading
import uuid
import weakref
from collections.abc import Callable
from typing import Final

from resilience.errors import StorageError
from resilience.storage.base import Storage, set_live_processes
from resilience.telemetry import internal_error

TAG: Final = "nodes"
BEAT_S: Final = 2.0
# Three beats and a bit: one lost beat takes nobody off the list (chosen).
LEASE_S: Final = 7.0


class NodeBeat:
    """One daemon thread a process, started by start(): says "alive" for a lease, learns how many are, then does `chores`.

    While the store is away the last count holds: who shared the work a minute ago most likely still does.
    """

    def __init__(self, store: Storage, *, beat_s: float = BEAT_S, lease_s: float = LEASE_S) -> None:
        self._store = store
        self.beat_s, self._lease_us = beat_s, round(lease_s * 1_000_000)
        self._chores: tuple[Callable[[], object], ...] = ()
        self._thread: threading.Thread | None = None
        self._fresh()
        _beats.add(self)

    def _fresh(self) -> None:
        """A name no other process has: of two containers, both may run as pid 1."""
        self.node = f"{os.getpid()}:{uuid.uuid4().hex[:12]}"
        self._stopping = threading.Event()

    def also(self, chore: Callable[[], object]) -> None:
        """`chore()` is called after each beat; what it raises is counted."""
        self._chores = (*self._chores, chore)

    def beat(self) -> int:
        """Says so once; how many are alive. Raises StorageError."""
        alive = int(self._store.attempt("node_beat", TAG, (self.node, self._lease_us))[0])
        set_live_processes(alive)
        return alive

    def leave(self) -> None:
        """What an ordinary end does; a killed process leaves when its lease ends."""
        with contextlib.suppress(StorageError):
            self._store.attempt("node_beat", TAG, (self.node, 0))

    def start(self) -> None:
        if self._thread is None:
            self._go(wait=False)

    def _go(self, *, wait: bool) -> None:
        self._thread = threading.Thread(target=self._run, args=(self._stopping, wait), name="resilience-nodes", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        thread, self._thread = self._thread, None
        self._stopping.set()
        if thread is not None and thread is not threading.current_thread():
            thread.join(timeout=5)
            self.leave()
        self._fresh()

    def _run(self, stopping: threading.Event, wait: bool) -> None:
        if wait:  # a forked child: whatever else is dropped after a fork must be dropped first
            stopping.wait(self.beat_s)
        while not stopping.is_set():
            for work in (self.beat, *self._chores):
                self._guarded(work)
            stopping.wait(self.beat_s)

    def _guarded(self, work: Callable[[], object]) -> None:
        try:
            work()
        except StorageError:
            return  # the next beat tries again; the store's own events say that it is down
        except Exception as error:  # noqa: BLE001 - the thread outlives every fault: without it shares of a limit are wrong for ever
            internal_error("nodes", "beat", error)

    def after_fork(self) -> None:
        """The child is a process of its own: it has no thread of ours, and beats under its own name."""
        running = self._thread is not None
        self._thread = None
        self._fresh()
        if running:
            self._go(wait=True)


# For forks alone; one that nobody holds may go.
_beats: weakref.WeakSet[NodeBeat] = weakref.WeakSet()


def _after_fork() -> None:
    for beat in list(_beats):
        beat.after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
