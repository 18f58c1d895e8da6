"""Who holds the permits of a bulkhead, and for how long still."""

from __future__ import annotations

from collections.abc import Sequence

from resilience.laws.bulkhead_acquire import DRAIN
from resilience.laws.keyspace import Keyspace, Reply


def law(db: Keyspace, keys: Sequence[str], args: Sequence[int | str], now: int) -> Reply:
    """Reads only. At most so many holders are named, the first to end first. Shape of the reply: see bulkhead_inspect.lua."""
    held: dict[str, int] = db.get(keys[0]) or {}
    ends = {permit: end for permit, end in held.items() if end > now}
    drained = ends.pop(DRAIN, now) - now
    reply: Reply = [len(ends), drained]
    for end, permit in sorted((end, permit) for permit, end in ends.items())[: int(args[0])]:
        reply += [permit, end - now]
    return reply
