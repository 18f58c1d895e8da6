"""A permit comes back."""

from __future__ import annotations

from collections.abc import Sequence

from resilience.laws.bulkhead_acquire import keep, live
from resilience.laws.keyspace import Keyspace, Reply


def law(db: Keyspace, keys: Sequence[str], args: Sequence[int | str], now: int) -> Reply:
    """1 when it was still live, 0 when its lease had ended: then others may have run beside it."""
    ends = live(db, keys[0], now)
    was_live = ends.pop(str(args[0]), None) is not None
    if was_live:
        keep(db, keys[0], ends, now)
    return [int(was_live)]
