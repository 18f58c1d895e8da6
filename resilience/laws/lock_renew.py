"""A lock goes on, if it is still this token's."""

from __future__ import annotations

from collections.abc import Sequence

from resilience.laws.keyspace import Keyspace, Reply
from resilience.laws.lock_acquire import DAY_US


def law(db: Keyspace, keys: Sequence[str], args: Sequence[int | str], now: int) -> Reply:
    """Never brings back what has ended, even if nobody took it. Shape of the reply: see lock_renew.lua."""
    token, ttl = str(args[0]), int(args[1])
    holder, end, fence = db.get(keys[0]) or ("", 0, 0)
    if holder != token or end <= now:
        return [0, 0]
    end = max(end, now + ttl)
    db.set(keys[0], (token, end, fence), end - now + DAY_US)
    return [1, end - now]
