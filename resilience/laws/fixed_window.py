"""The fixed window: so many calls from the first admitted one until the window ends, then anew."""

from __future__ import annotations

from collections.abc import Sequence

from resilience.laws.keyspace import Keyspace, Reply


def law(db: Keyspace, keys: Sequence[str], args: Sequence[int | str], now: int) -> Reply:
    """Admits n calls or none, shows whether it would, or takes n back. Shape of the reply: see fixed_window.lua."""
    n, limit, period, aligned, *window = map(int, args[1:])
    start = count = ends = 0
    state = db.get(keys[0])
    if state is not None:
        start, count, ends = state
        now = max(now, start)
        # A new period may end the window sooner, never later: it has been told when it ends, and its key goes then.
        ends = min(ends, (start - start % period if aligned else start) + period)
    if state is None or now >= ends:
        start, count = (now - now % period if aligned else now), 0
        ends = start + period
    admitted, retry = 1, 0
    if args[0] == "give":
        admitted = 1 if window[0] == start and count else 0
        if admitted:
            count = max(0, count - n)
            if count:
                db.set(keys[0], (start, count, ends), ends - now)
            else:
                db.delete(keys[0])
    elif count + n > limit:
        admitted, retry = 0, ends - now
    elif args[0] == "take":
        count += n
        db.set(keys[0], (start, count, ends), ends - now)
    return [admitted, max(0, limit - count), retry, ends - now if count else 0, start]
