"""A store in memory that fails on request, as Redis does: refusing, or executing without being heard."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from resilience.errors import StorageError, StorageTimeout, StorageUnavailable
from resilience.laws.keyspace import Reply
from resilience.storage.base import Args, Call, Storage
from resilience.storage.memory import MemoryStore


class FaultyStore:
    """`fail[op]`: what the next calls of `op` meet, first first; an empty or missing list means that they succeed.

    `down` (not executed), `unheard` (executed, the reply lost), `unsent` (as a time-out, but never executed), or an error to raise.
    An asynchronous call yields to the loop before and after it is executed, as a connection does.
    """

    name = "redis"
    prefix = ""

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

    def _fault(self, op: str) -> Any:
        if self.is_down:
            return "down"
        faults = self.fail.get(op)
        return faults.pop(0) if faults else None


async def settle(rounds: int = 30) -> None:
    """Lets everything that is ready on the loop run."""
    for _ in range(rounds):
        await asyncio.sleep(0)
