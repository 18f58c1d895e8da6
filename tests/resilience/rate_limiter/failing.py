"""A store that does what a test says instead of its work."""

from __future__ import annotations

from typing import Any

from resilience.errors import StorageError
from resilience.storage.memory import MemoryStore


class FailingStore:
    """A memory that raises `error` while it has one; `asked` counts the questions; `local` is another memory."""

    name = "redis"
    prefix = ""

    def __init__(self, error: StorageError | None = None) -> None:
        self.error = error
        self.asked: list[str] = []
        self.behind = MemoryStore()
        self.local = MemoryStore()

    def attempt(self, op: str, tag: str, args: Any = (), now: int = 0) -> Any:
        self.asked.append(op)
        if self.error is not None:
            raise self.error
        return self.behind.run(op, tag, args, now)

    async def aattempt(self, op: str, tag: str, args: Any = (), now: int = 0) -> Any:
        return self.attempt(op, tag, args, now)

    def attempt_many(self, calls: Any, now: int = 0) -> list[Any]:
        replies: list[Any] = []
        for op, tag, args in calls:
            try:
                replies.append(self.attempt(op, tag, args, now))
            except StorageError as error:
                replies.append(error)
        return replies

    async def aattempt_many(self, calls: Any, now: int = 0) -> list[Any]:
        return self.attempt_many(calls, now)
