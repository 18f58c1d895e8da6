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
    ends: dict[str, int] = db.get(key) or {}
    for permit in [permit for permit, end in ends.items() if end <= now]:
        drop(db, key, ends, permit)
    return ends


def keep(db: Keyspace, key: str, ends: dict[str, int], now: int) -> None:
    """Only what makes it longer changes the key's time to live."""
    db.set(key, ends, max(ends.values()) - now)


def drop(db: Keyspace, key: str, ends: dict[str, int], permit: str) -> int | None:
    """The end of its lease, None when it is unknown. In place: the time to live stays as it is."""
    end = ends.pop(permit, None)
    if not ends:
        db.delete(key)
    return end
