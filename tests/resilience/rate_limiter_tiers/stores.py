"""Stores that a test can watch, stop and slow down, in front of the laws in memory or of a real server."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from resilience import FakeClock, MemoryStore
from resilience.errors import StorageError
from resilience.laws.keyspace import Reply
from resilience.storage.base import Call


class Watched:
    """Passes everything on and remembers what was asked. Calls itself redis, so that the deny cache is on."""

    name = "redis"
    prefix = ""

    def __init__(self, store: Any = None) -> None:
        self.store = MemoryStore() if store is None else store
        self.calls: list[tuple[str, str, tuple[int | str, ...]]] = []
        self.before: Callable[[], None] = lambda: None
        self.after: Callable[[], None] = lambda: None
        self.fails: StorageError | None = None

    @property
    def local(self) -> Any:
        return self.store.local

    @property
    def trips(self) -> int:
        return len(self.calls)

    def takes(self) -> list[tuple[int, int]]:
        """(want, least) of each question put to gcra."""
        return [(int(args[1]), int(args[2])) for op, _, args in self.calls if op == "gcra" and args[0] == "take"]

    def gives(self) -> list[int]:
        return [int(args[1]) for op, _, args in self.calls if op == "gcra" and args[0] == "give"]

    def attempt(self, op: str, tag: str, args: Sequence[int | str] = (), now: int = 0) -> Reply:
        self.calls.append((op, tag, tuple(args)))
        self.before()
        if self.fails is not None:
            raise self.fails
        reply: Reply = self.store.attempt(op, tag, args, now)
        self.after()
        return reply

    async def aattempt(self, op: str, tag: str, args: Sequence[int | str] = (), now: int = 0) -> Reply:
        return self.attempt(op, tag, args, now)

    run = attempt
    arun = aattempt

    def attempt_many(self, calls: Sequence[Call], now: int = 0) -> list[Reply | StorageError]:
        return [self.attempt(op, tag, args, now) for op, tag, args in calls]


class Gated(Watched):
    """Questions stop at a gate until the test opens it."""

    def __init__(self, store: Any = None) -> None:
        super().__init__(store)
        self.entered = threading.Semaphore(0)
        self.gate = threading.Semaphore(0)
        self.arrived = 0

    def attempt(self, op: str, tag: str, args: Sequence[int | str] = (), now: int = 0) -> Reply:
        self.entered.release()
        assert self.gate.acquire(timeout=30)
        return super().attempt(op, tag, args, now)

    async def aattempt(self, op: str, tag: str, args: Sequence[int | str] = (), now: int = 0) -> Reply:
        self.arrived += 1
        while not self.gate.acquire(blocking=False):  # noqa: ASYNC110 - the gate is opened by the same loop, step by step
            await asyncio.sleep(0)
        return Watched.attempt(self, op, tag, args, now)

    run = attempt
    arun = aattempt

    def open(self, times: int = 1) -> None:
        self.gate.release(times)


class Slow(Watched):
    """Each reply arrives `delay_s` after the store decided."""

    def __init__(self, clock: FakeClock, delay_s: float) -> None:
        super().__init__()
        self.after = lambda: clock.advance(delay_s)


def until(reached: Callable[[], bool]) -> None:
    """Waits for other threads; only a test that would fail anyway takes long."""
    end = time.monotonic() + 30
    while not reached():
        assert time.monotonic() < end
        time.sleep(0.001)
