"""Who holds a lock, under which fence, for how long still."""

from __future__ import annotations

from collections.abc import Sequence

from resilience.laws.keyspace import Keyspace, Reply


def law(db: Keyspace, keys: Sequence[str], args: Sequence[int | str], now: int) -> Reply:
    """Reads only. Shape of the reply: see lock_inspect.lua."""
    holder, end, fence = db.get(keys[0]) or ("", 0, 0)
    return [1, fence, end - now, holder] if holder and end > now else [0, 0, 0, ""]
