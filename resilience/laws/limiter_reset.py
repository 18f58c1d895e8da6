"""Forgets one caller of one limiter, by whatever algorithm it was counted."""

from __future__ import annotations

from collections.abc import Sequence

from resilience.laws.keyspace import Keyspace, Reply


def law(db: Keyspace, keys: Sequence[str], args: Sequence[int | str], now: int) -> Reply:
    """Shape of the reply: see limiter_reset.lua."""
    for key in keys:
        db.delete(key)
    return [1]
