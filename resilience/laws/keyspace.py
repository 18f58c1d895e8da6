"""What a law may do: read, write with a time to live, delete, publish."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

Reply = list[int | str]


class Keyspace(Protocol):
    """The keys of one store, as a law sees them. The values are the law's own."""

    def get(self, key: str) -> Any:
        """The value, None when absent. A key past its time to live may still be there: the law goes by the stamps in it."""
        ...

    def set(self, key: str, value: Any, ttl_us: int) -> None:
        """`ttl_us`: microseconds until absent means the same as present."""
        ...

    def delete(self, key: str) -> None: ...

    def publish(self, channel: str, message: str) -> None: ...


class Law(Protocol):
    """One operation in Python. `now`: microseconds; `args`: as the script gets them after ARGV[1]."""

    def __call__(self, db: Keyspace, keys: Sequence[str], args: Sequence[int | str], now: int) -> Reply: ...
