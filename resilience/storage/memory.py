"""The laws under one lock: a store for one process, and the fallback of all others."""

from __future__ import annotations

import heapq
import os
import threading
import weakref
from collections.abc import Sequence
from typing import Any, Final, Literal

from resilience import telemetry
from resilience.bus import Bus, LocalBus
from resilience.clock import SYSTEM, Clock
from resilience.errors import StorageError, StorageProtocolError
from resilience.laws.keyspace import Reply
from resilience.operations import OPERATIONS
from resilience.storage.base import Args, Call, Storage, StorageHealth

_HOUR_US: Final = 3_600_000_000


class MemoryStore:
    """Runs each operation's law in this process.

    `max_keys`: past it the store drops what has run out, then what runs out next; the second kind is counted, since a limit so
    forgotten starts afresh. `clock`: what `now=0` means.
    """

    name: Final[Literal["memory"]] = "memory"
    prefix: Final = ""

    def __init__(self, max_keys: int = 100_000, *, clock: Clock = SYSTEM) -> None:
        if type(max_keys) is not int or max_keys < 1:
            raise ValueError(f"max_keys is {max_keys!r}; it takes an integer of at least 1")
        self.max_keys = max_keys
        self._clock = clock
        self._keyspace = _Keys(self)
        self._bus = LocalBus()
        self._lock = threading.Lock()
        _stores.add(self)

    @property
    def local(self) -> Storage:
        return self

    @property
    def bus(self) -> Bus:
        return self._bus

    def run(self, op: str, tag: str, args: Args = (), now: int = 0) -> Reply:
        operation = OPERATIONS[op]
        keys = operation.keys("", tag, args)
        with self._lock:
            space = self._keyspace
            space.begin(now or self._clock.now_us(), slack_us=_HOUR_US if now else 0)
            try:
                reply = operation.law(space, keys, args, space.now)
            except (TypeError, ValueError, KeyError, IndexError, ZeroDivisionError, AttributeError) as error:
                raise StorageProtocolError(op, f"{type(error).__name__}: {error}") from error
            finally:
                told = space.end()
        # Outside the lock: a listener may run an operation of its own.
        for channel, message in told:
            self._bus.publish(channel, message)
        return reply

    async def arun(self, op: str, tag: str, args: Args = (), now: int = 0) -> Reply:
        return self.run(op, tag, args, now)

    def run_many(self, calls: Sequence[Call], now: int = 0) -> list[Reply | StorageError]:
        replies: list[Reply | StorageError] = []
        for op, tag, args in calls:
            try:
                replies.append(self.run(op, tag, args, now))
            except StorageError as error:
                replies.append(error)
        return replies

    async def arun_many(self, calls: Sequence[Call], now: int = 0) -> list[Reply | StorageError]:
        return self.run_many(calls, now)

    attempt = run
    aattempt = arun
    attempt_many = run_many
    aattempt_many = arun_many

    def channel(self, name: str) -> str:
        return name

    def health(self) -> StorageHealth:
        return StorageHealth(ok=True, mode="memory", latency_ms=0.0)

    async def ahealth(self) -> StorageHealth:
        return self.health()

    def close(self) -> None:
        """Forgets everything."""
        with self._lock:
            self._keyspace = _Keys(self)

    async def aclose(self) -> None:
        self.close()

    def __len__(self) -> int:
        """Keys held, those that have run out among them."""
        return len(self._keyspace.values)

    def __bool__(self) -> bool:
        """An empty store is a store: `given or default` must not pass it over."""
        return True

    def forget_lock(self) -> None:
        """For a forked child: the thread that held the lock does not exist there."""
        self._lock = threading.Lock()


class _Keys:
    """The keyspace of the laws. Used under the store's lock alone."""

    __slots__ = ("_heap", "_store", "_told", "now", "slack_us", "values")

    def __init__(self, store: MemoryStore) -> None:
        self._store = store
        self.values: dict[str, tuple[Any, int]] = {}
        self._heap: list[tuple[int, str]] = []
        self._told: list[tuple[str, str]] = []
        self.now = 0
        self.slack_us = 0

    def begin(self, now: int, *, slack_us: int) -> None:
        self.now = now
        self.slack_us = slack_us

    def end(self) -> list[tuple[str, str]]:
        if len(self.values) > self._store.max_keys:
            self._evict()
        if not self._told:
            return []
        told, self._told = self._told, []
        return told

    def get(self, key: str) -> Any:
        held = self.values.get(key)
        return None if held is None else held[0]

    def set(self, key: str, value: Any, ttl_us: int) -> None:
        # The same slack as the scripts give under a test's clock, so that both stores keep the same keys.
        ends = self.now + max(0, ttl_us) + 1_000 + self.slack_us
        self.values[key] = (value, ends)
        heapq.heappush(self._heap, (ends, key))
        # A key written again leaves its old entry behind; a heap of mostly old entries is rebuilt.
        if len(self._heap) > 4 * len(self.values) + 1_000:
            self._heap = [(at, name) for name, (_, at) in self.values.items()]
            heapq.heapify(self._heap)

    def delete(self, key: str) -> None:
        self.values.pop(key, None)

    def publish(self, channel: str, message: str) -> None:
        self._told.append((channel, message))

    def _evict(self) -> None:
        """Down to nine tenths, so that a full store does not pay at every write."""
        lost = 0
        goal = max(1, self._store.max_keys * 9 // 10)
        while self._heap and len(self.values) > goal:
            at, key = heapq.heappop(self._heap)
            held = self.values.get(key)
            if held is None or held[1] != at:
                continue
            del self.values[key]
            lost += at > self.now
        if lost:
            telemetry.count("resilience_storage_evicted_total", by=lost)


# For forks alone; a store that nobody uses may go.
_stores: weakref.WeakSet[MemoryStore] = weakref.WeakSet()


def _after_fork() -> None:
    for store in list(_stores):
        store.forget_lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
