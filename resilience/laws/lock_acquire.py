"""A lock: one holder by its token, for a while, with a fence that rises from holder to holder."""

from __future__ import annotations

from collections.abc import Sequence

from resilience.laws.keyspace import Keyspace, Reply

DAY_US = 86_400_000_000  # how long a fence is remembered: a clock set back less than that finds it


def law(db: Keyspace, keys: Sequence[str], args: Sequence[int | str], now: int) -> Reply:
    """Gives the lock and its fence, or says when it ends. Shape of the reply: see lock_acquire.lua.

    Invariants: 1. a fence is higher than every fence before it, also after the loss of all data, since it is at least the time;
    2. an end never moves back while it is held, so a clock set back keeps others out for longer, never lets two in.
    """
    token, ttl = str(args[0]), int(args[1])
    holder, end, fence = db.get(keys[0]) or ("", 0, 0)
    if holder and end > now:
        if holder != token:
            return [0, 0, end - now]
        end = max(end, now + ttl)
    else:
        end = now + ttl
        fence = max(fence + 1, now)
    db.set(keys[0], (token, end, fence), end - now + DAY_US)
    return [1, fence, end - now]
