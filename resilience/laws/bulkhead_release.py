"""A permit comes back."""

from __future__ import annotations

from collections.abc import Sequence

from resilience.laws.bulkhead_acquire import drop
from resilience.laws.keyspace import Keyspace, Reply


def law(db: Keyspace, keys: Sequence[str], args: Sequence[int | str], now: int) -> Reply:
    """1 when it was still live, 0 when its lease had ended: then others may have run beside it."""
    ends: dict[str, int] = db.get(keys[0]) or {}
    end = drop(db, keys[0], ends, str(args[0]))
    return [int(end is not None and end > now)]
