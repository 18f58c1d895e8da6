"""A bulkhead lets nobody in until a time; who is in finishes."""

from __future__ import annotations

from collections.abc import Sequence

from resilience.laws.bulkhead_acquire import DRAIN, drop, keep, purged
from resilience.laws.keyspace import Keyspace, Reply


def law(db: Keyspace, keys: Sequence[str], args: Sequence[int | str], now: int) -> Reply:
    """Drains for so many microseconds from now; 0 ends a drain. Answers how many permits are out."""
    ends = purged(db, keys[0], now)
    drop(db, keys[0], ends, DRAIN)
    running = len(ends)
    if int(args[0]) > 0:
        ends[DRAIN] = now + int(args[0])
        keep(db, keys[0], ends, now)
    return [running]
