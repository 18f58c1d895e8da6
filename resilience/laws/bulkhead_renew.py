"""A permit's lease goes on, if it has not ended yet."""

from __future__ import annotations

from collections.abc import Sequence

from resilience.laws.bulkhead_acquire import keep
from resilience.laws.keyspace import Keyspace, Reply


def law(db: Keyspace, keys: Sequence[str], args: Sequence[int | str], now: int) -> Reply:
    """Never shortens a lease, never brings one back: the place may be another's. Shape of the reply: see bulkhead_renew.lua."""
    permit, lease = str(args[0]), int(args[1])
    ends: dict[str, int] = db.get(keys[0]) or {}
    if ends.get(permit, 0) <= now:
        return [0, 0]
    ends[permit] = max(ends[permit], now + lease)
    keep(db, keys[0], ends, now)
    return [1, ends[permit] - now]
