"""A permit comes back."""

from __future__ import annotations

from collections.abc import Sequence

from resilience.laws.bulkhead_acquire import keep
from resilience.laws.keyspace import Keyspace, Reply


def law(db: Keyspace, keys: Sequence[str], args: Sequence[int | str], now: int) -> Reply:
    """1 when it was still live, 0 when its lease had ended: then others may have run beside it."""
    ends: dict[str, int] = db.get(keys[0]) or {}
    end = ends.pop(str(args[0]), None)
    if end is None:
        return [0]
    keep(db, keys[0], ends, now)
    return [int(end > now)]
