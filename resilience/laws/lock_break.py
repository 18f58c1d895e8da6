"""An operator takes a lock from whoever holds it; the holder finds it lost at the next renewal."""

from __future__ import annotations

from collections.abc import Sequence

from resilience.laws.keyspace import Keyspace, Reply
from resilience.laws.lock_acquire import DAY_US


def law(db: Keyspace, keys: Sequence[str], args: Sequence[int | str], now: int) -> Reply:
    """Answers what lock_inspect would have. The fence stays, so the broken holder's writes are refused after the next one's."""
    holder, end, fence = db.get(keys[0]) or ("", 0, 0)
    if not holder:
        return [0, 0, 0, ""]
    db.set(keys[0], ("", 0, fence), DAY_US)
    return [1, fence, end - now, holder] if end > now else [0, 0, 0, ""]
