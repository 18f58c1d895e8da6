"""A lock is given back by the token that holds it."""

from __future__ import annotations

from collections.abc import Sequence

from resilience.laws.keyspace import Keyspace, Reply
from resilience.laws.lock_acquire import DAY_US


def law(db: Keyspace, keys: Sequence[str], args: Sequence[int | str], now: int) -> Reply:
    """1 when it was still held, 0 when it had ended or is another's, which is left alone."""
    holder, end, fence = db.get(keys[0]) or ("", 0, 0)
    if holder != str(args[0]):
        return [0]
    db.set(keys[0], ("", 0, fence), DAY_US)
    return [int(end > now)]
