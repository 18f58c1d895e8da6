"""Single flight: one fill per id at a time in a process, what waits meanwhile gathered into one batch, done by the callers.

A caller whose key nobody fills begins at once, while fewer than `max_running` fills run. Otherwise its keys join the batch at
the end of the queue; when a fill ends, one caller of the first batch in the queue is woken to do it for all who wait for it.

Invariants, under the book's lock, which nobody holds while filling:
S1  a key is in at most one running batch and in at most one that has not begun;
S2  a batch that has not begun has somebody waiting for it, and holds no key that is running (but for a successor, which waits
    for exactly the batch that runs its keys);
S3  who ends a fill, or leaves without one, wakes as many as may begin, so no queued batch is left to nobody.
"""

from __future__ import annotations

import os
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Collection, Hashable
from types import TracebackType
from typing import Any, Final, Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

MAX_BATCH: Final = 50
MAX_RUNNING: Final = 4
LIMIT_S: Final = 1.0  # consistency, section 5: the hard limit of a check's wait
MOST: Final = 10_000


class _Batch(Generic[K, V]):
    """Keys that one fill answers. `successor`: the keys asked for afresh while this one runs; it begins when this one ends.

    `is_done` with neither values nor an error: whoever ran it was killed, and its callers go on without it.
    """

    __slots__ = ("error", "is_done", "is_queued", "keys", "successor", "traceback", "values", "visits")

    def __init__(self) -> None:
        self.keys: list[K] = []
        self.visits: list[_Visit[K, V]] = []
        self.successor: _Batch[K, V] | None = None
        self.values: dict[K, V] | None = None
        self.error: Exception | None = None
        self.traceback: TracebackType | None = None
        self.is_done = False
        self.is_queued = False


class _Visit(Generic[K, V]):
    """One call of get(): which of its keys it expects from which batch. `gate` is a lock, held but for a signal.

    `batches` is its own thread's alone; the rest is under the book's lock.
    """

    __slots__ = ("batches", "gate", "is_signalled", "running")

    def __init__(self) -> None:
        self.batches: dict[_Batch[K, V], list[K]] = {}
        self.running: _Batch[K, V] | None = None
        self.gate: Any = None
        self.is_signalled = False

    def close_gate_locked(self) -> None:
        """Before waiting, and after a look that would have seen whatever a signal was about."""
        if self.gate is None:
            self.gate = threading.Lock()
        self.gate.acquire(blocking=False)
        self.is_signalled = False


class _Book(Generic[K, V]):
    """Who fills and who waits. Thrown away as a whole in a forked child, whose threads these are not."""

    __slots__ = ("free", "lock", "max_batch", "pending", "queue", "running")

    def __init__(self, max_batch: int, max_running: int) -> None:
        self.lock = threading.Lock()
        self.max_batch = max_batch
        self.free = max_running
        self.running: dict[K, _Batch[K, V]] = {}
        self.pending: dict[K, _Batch[K, V]] = {}
        self.queue: deque[_Batch[K, V]] = deque()

    def enlist_locked(self, visit: _Visit[K, V], keys: Collection[K], fresh: bool) -> None:
        for key in keys:
            batch = self.running.get(key)
            if batch is None or fresh:
                waiting = self.pending.get(key)
                batch = self._new_place_locked(key, batch) if waiting is None else waiting
            own = visit.batches.get(batch)
            if own is None:
                visit.batches[batch] = [key]
                batch.visits.append(visit)
            else:
                own.append(key)

    def _new_place_locked(self, key: K, runs_it: _Batch[K, V] | None) -> _Batch[K, V]:
        if runs_it is not None:
            # As many keys at most as the batch before it, so it needs no bound of its own.
            if runs_it.successor is None:
                runs_it.successor = _Batch()
            batch = runs_it.successor
        elif self.queue and len(self.queue[-1].keys) < self.max_batch:
            batch = self.queue[-1]
        else:
            batch = _Batch()
            self._queue_locked(batch)
        batch.keys.append(key)
        self.pending[key] = batch
        return batch

    def _queue_locked(self, batch: _Batch[K, V]) -> None:
        batch.is_queued = True
        self.queue.append(batch)

    def begin_locked(self, visit: _Visit[K, V]) -> _Batch[K, V] | None:
        """The first batch of the visit's whose turn it is, begun. In order of the queue, so that none starves."""
        free = self.free
        for batch in self.queue:
            if free <= 0:
                return None
            if batch in visit.batches:
                self.queue.remove(batch)
                batch.is_queued = False
                for key in batch.keys:
                    del self.pending[key]
                    self.running[key] = batch
                self.free -= 1
                visit.running = batch
                return batch
            # A batch whose callers are all busy with another one is no reason to leave a place empty.
            if not all(other.running for other in batch.visits):
                free -= 1
        return None

    def end_locked(self, visit: _Visit[K, V], batch: _Batch[K, V]) -> None:
        self.free += 1
        for key in batch.keys:
            del self.running[key]
        batch.is_done = True
        visit.running = None
        for other in batch.visits:
            if other is not visit:
                _signal_locked(other)
        if batch.successor is not None and batch.successor.visits:
            self._queue_locked(batch.successor)
            batch.successor = None
        if self.queue:
            self.wake_locked()

    def wake_locked(self) -> None:
        """Calls one caller of each queued batch that may begin. One too many costs that caller a look and nothing else."""
        free = self.free
        for batch in self.queue:
            if free <= 0:
                return
            idle = next((visit for visit in batch.visits if not visit.running), None)
            if idle is not None:
                _signal_locked(idle)
                free -= 1

    def leave_locked(self, visit: _Visit[K, V]) -> None:
        if visit.running is not None:
            self.end_locked(visit, visit.running)
        for batch in visit.batches:
            if batch.is_done:
                continue
            batch.visits.remove(visit)
            if batch.visits or self.running.get(batch.keys[0]) is batch:
                continue
            for key in batch.keys:
                del self.pending[key]
            # A successor stays with the batch before it and may be asked for anew.
            batch.keys.clear()
            if batch.is_queued:
                self.queue.remove(batch)
        visit.batches.clear()
        self.wake_locked()


class Batcher(Generic[K, V]):
    """Asks `fill` for keys, never for one key twice at a time, and for at most `max_batch` keys at once.

    `fill(keys)` answers a dict; a key it leaves out is left out of the callers' answers. What it raises reaches every caller
    that waits for that batch, as the same object, and no other. It must not ask the same batcher again, and should have a time
    limit of its own: a caller waits `limit_s` for others at most, but nobody can stop a fill that it does itself.
    """

    def __init__(
        self,
        fill: Callable[[list[K]], dict[K, V]],
        *,
        max_batch: int = MAX_BATCH,
        max_running: int = MAX_RUNNING,
        limit_s: float = LIMIT_S,
    ) -> None:
        self._fill = fill
        self._max_batch = _count("max_batch", max_batch)
        self._max_running = _count("max_running", max_running)
        self._limit_s = _seconds("limit_s", limit_s)
        self._begin()
        _batchers.add(self)

    def _begin(self) -> None:
        self._book: _Book[K, V] = _Book(self._max_batch, self._max_running)

    @property
    def running(self) -> int:
        """How many fills run now."""
        return self._max_running - self._book.free

    @property
    def waiting(self) -> int:
        """How many keys wait for a fill that has not begun."""
        return len(self._book.pending)

    def get(self, keys: Collection[K], *, fresh: bool = False) -> dict[K, V]:
        """The values of `keys`, filled by this caller or by one that is at it already.

        `fresh`: only by a fill that begins after this call. Raises what the fill raised; TimeoutError after `limit_s` of waiting
        for others, which takes back what nobody else waits for.
        """
        if isinstance(keys, str | bytes):
            raise TypeError(f"keys must be a collection of keys, not {type(keys).__name__}")
        if len(keys) <= 1:
            return self._collect(keys, fresh)
        found: dict[K, V] = {}
        wanted = list(dict.fromkeys(keys))
        # A part at a time: whoever asks for thousands must not hold back those who come for one.
        for start in range(0, len(wanted), self._max_batch):
            found.update(self._collect(wanted[start : start + self._max_batch], fresh))
        return found

    def _collect(self, keys: Collection[K], fresh: bool) -> dict[K, V]:
        book = self._book
        visit: _Visit[K, V] = _Visit()
        found: dict[K, V] = {}
        left_s = self._limit_s
        try:
            while keys or visit.batches:
                with book.lock:
                    if keys:
                        book.enlist_locked(visit, keys, fresh)
                        keys = ()
                    ended = [batch for batch in visit.batches if batch.is_done]
                    begun = None if ended else book.begin_locked(visit)
                    if not ended and begun is None:
                        if left_s <= 0:
                            raise TimeoutError(f"waited {self._limit_s:g} s for a fill that others are at")
                        visit.close_gate_locked()
                if begun is not None:
                    self._run(book, visit, begun)
                    ended = [begun]
                elif not ended:
                    began_s = time.monotonic()
                    visit.gate.acquire(timeout=left_s)
                    left_s -= time.monotonic() - began_s
                while ended:
                    keys = [*keys, *_take(ended[-1], visit.batches.pop(ended.pop()), found)]
            return found
        finally:
            if visit.batches:
                with book.lock:
                    book.leave_locked(visit)
            ended, begun = [], None  # for the same reason as in _run

    def _run(self, book: _Book[K, V], visit: _Visit[K, V], batch: _Batch[K, V]) -> None:
        try:
            values = self._fill(list(batch.keys))
            if not isinstance(values, dict):
                raise TypeError(f"a fill must answer a dict, not {type(values).__name__}")
            batch.values = values
        except Exception as error:  # noqa: BLE001 - it is raised again, by everyone who waits for this batch
            batch.error, batch.traceback = error, error.__traceback__ and error.__traceback__.tb_next
        finally:
            # Also where this thread is being ended (SystemExit, a cancelled task): the others then fill it among themselves.
            with book.lock:
                book.end_locked(visit, batch)
            # The traceback of an error reaches this frame, and a batch holds the error: they would keep each other alive.
            del batch


def _take(batch: _Batch[K, V], keys: list[K], found: dict[K, V]) -> list[K]:
    """Adds what came. Answers the keys again if the batch was given up. Raises what the fill raised."""
    if batch.error is not None:
        try:
            # Everyone raises the same object, so each begins again at the fill: else it grows by a frame for every caller.
            raise batch.error.with_traceback(batch.traceback)
        finally:
            del batch
    if batch.values is None:
        return keys
    for key in keys:
        if key in batch.values:
            found[key] = batch.values[key]
    return []


def _signal_locked(visit: _Visit[Any, Any]) -> None:
    if visit.gate is not None and not visit.is_signalled:
        visit.is_signalled = True
        visit.gate.release()


def _count(name: str, value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= MOST:
        raise ValueError(f"{name} is {value!r}; it takes a whole number from 1 to {MOST}")
    return value


def _seconds(name: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= MOST:
        raise ValueError(f"{name} is {value!r}; it takes seconds, above 0 and at most {MOST}")
    return float(value)


_batchers: weakref.WeakSet[Batcher[Any, Any]] = weakref.WeakSet()


def _after_fork() -> None:
    for batcher in list(_batchers):
        # A fill that forks goes on here with the old book, whose lock a thread that is not here may have held.
        batcher._book.lock = threading.Lock()
        batcher._begin()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
