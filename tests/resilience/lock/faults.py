"""A store in memory that fails on request, as Redis does: refusing, or executing without being heard."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, Final, Literal

from resilience.bus import Bus
from resilience.errors import StorageError, StorageTimeout, StorageUnavailable
from resilience.laws.keyspace import Reply
from resilience.storage.base import Args, Call, Storage, StorageHealth
from resilience.storage.memory import MemoryStore


class FaultyStore:
    """`fail[op]`: what the next calls of `op` meet, first first; an empty or missing list means that they succeed.

    `down` (not executed), `unheard` (executed, the reply lost), `unsent` (a time-out, but never executed), or an error to raise.
    An asynchronous call yields to the loop before and after it is executed, as a connection does.
    """

    name: Final[Literal["redis"]] = "redis"
    prefix: Final = ""

    def __init__(self) -> None:
        self.inner = MemoryStore()
        self.fallback = MemoryStore()
        self.fail: dict[str, list[str | BaseException]] = {}
        self.is_down = False
        self.calls: list[str] = []

    @property
    def local(self) -> Storage:
        return self.fallback

    def attempt(self, op: str, tag: str, args: Args = (), now: int = 0) -> Reply:
        self.calls.append(op)
        fault = self._fault(op)
        if fault == "unsent":
            raise StorageTimeout(op, "no reply in time")
        if isinstance(fault, BaseException):
            raise fault
        if fault == "down":
            raise StorageUnavailable(op, "connection refused")
        reply = self.inner.run(op, tag, args, now)
        if fault == "unheard":
            raise StorageTimeout(op, "no reply in time")
        return reply

    async def aattempt(self, op: str, tag: str, args: Args = (), now: int = 0) -> Reply:
        await asyncio.sleep(0)
        try:
            return self.attempt(op, tag, args, now)
        finally:
            await asyncio.sleep(0)

    def attempt_many(self, calls: Sequence[Call], now: int = 0) -> list[Reply | StorageError]:
        replies: list[Reply | StorageError] = []
        for call in calls:
            try:
                replies.append(self.attempt(*call, now))
            except StorageError as error:
                replies.append(error)
        return replies

    async def aattempt_many(self, calls: Sequence[Call], now: int = 0) -> list[Reply | StorageError]:
        await asyncio.sleep(0)
        return self.attempt_many(calls, now)

    run = attempt
    arun = aattempt
    run_many = attempt_many
    arun_many = aattempt_many

    @property
    def bus(self) -> Bus:
        return self.inner.bus

    def channel(self, name: str) -> str:
        return name

    def health(self) -> StorageHealth:
        return StorageHealth(ok=not self.is_down, mode="standalone")

    async def ahealth(self) -> StorageHealth:
        return self.health()

    def close(self) -> None:
        self.inner.close()

    async def aclose(self) -> None:
        self.close()

    def _fault(self, op: str) -> Any:
        if self.is_down:
            return "down"
        faults = self.fail.get(op)
        return faults.pop(0) if faults else None


async def until(holds: Callable[[], object]) -> None:
    """Looks at every millisecond of the loop; the test's own time limit ends it."""
    while not holds():  # noqa: ASYNC110 - what it waits for happens in a store, which sets no event
        await asyncio.sleep(0.001)


async def settle(rounds: int = 30) -> None:
    """Lets everything that is ready on the loop run."""
    for _ in range(rounds):
        await asyncio.sleep(0)
