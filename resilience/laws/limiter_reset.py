"""Forgets one caller of one limiter, by whatever algorithm it was counted."""

from __future__ import annotations

from collections.abc import Sequence

from resilience.laws.keyspace import Keyspace, Reply


def law(db: Keyspace, keys: Sequence[str], args: Sequence[int | str], now: int) -> Reply:
    """How many keys there were."""
    held = [key for key in keys if db.get(key) is not None]
    for key in held:
        db.delete(key)
    return [len(held)]
