"""A permit of a bulkhead: given while fewer than the limit are out. Each is a lease, so a killed holder's one returns."""

from __future__ import annotations

from collections.abc import Sequence

from resilience.laws.keyspace import Keyspace, Reply

DRAIN = "!"  # the id under which a drain lies among the permits; it ends like a lease


def law(db: Keyspace, keys: Sequence[str], args: Sequence[int | str], now: int) -> Reply:
    """Adds the permit, or says when the first comes back. Shape of the reply: see bulkhead_acquire.lua.

    A clock set back makes permits last longer; it never lets one more in, nor brings back one that was seen to end.
    """
    permit, limit, lease = str(args[0]), int(args[1]), int(args[2])
    ends = purged(db, keys[0], now)
    if DRAIN in ends:
        return [0, len(ends) - 1, ends[DRAIN] - now]
    if len(ends) >= limit:
        # After a lowered limit several must go before the next is let in.
        return [0, len(ends), sorted(ends.values())[len(ends) - limit] - now]
    ends[permit] = now + lease
    keep(db, keys[0], ends, now)
    return [1, len(ends), 0]


def purged(db: Keyspace, key: str, now: int) -> dict[str, int]:
    """Permit id to the end of its lease; those that are over are gone for good."""
    held: dict[str, int] = db.get(key) or {}
    ends = {permit: end for permit, end in held.items() if end > now}
    if len(ends) < len(held):
        keep(db, key, ends, now)
    return ends


def keep(db: Keyspace, key: str, ends: dict[str, int], now: int) -> None:
    if ends:
        db.set(key, ends, max(0, max(ends.values()) - now))
    else:
        db.delete(key)
