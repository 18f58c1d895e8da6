"""The token bucket: a level that time fills, full at first.

Exact in integers: a token is p units and a microsecond fills l units, with p / l = period / limit in lowest terms.
"""

from __future__ import annotations

from collections.abc import Sequence

from resilience.laws.keyspace import Keyspace, Reply


def law(db: Keyspace, keys: Sequence[str], args: Sequence[int | str], now: int) -> Reply:
    """Admits n tokens or none, shows whether it would, or takes n back. Shape of the reply: see token_bucket.lua."""
    n, p, l, burst = map(int, args[1:])  # noqa: E741 - the letter of the published table
    full = burst * p
    level, fills = full, now
    state = db.get(keys[0])
    if state is not None:
        held, unit, stamp, fills = state
        now = max(now, stamp)
        # It was full by what was configured at the last write: from then on absent and present are one.
        if now < fills:
            # A level is tokens: in other units the same number of them, rounded against the caller.
            level = min(full, min(full, held * p // unit) + l * (now - stamp))
    if args[0] == "give":
        risen = min(full - level, n * p)
        level += risen
        if risen:
            fills = now + -(-(full - level) // l)
            if level == full:
                db.delete(keys[0])
            else:
                db.set(keys[0], (level, p, now, fills), fills - now)
        return [1 if risen else 0, level // p, 0, _reset(full - level, l, fills - now)]
    if level < n * p:
        return [0, level // p, min(-(-(n * p - level) // l), fills - now), _reset(full - level, l, fills - now)]
    if args[0] == "take":
        level -= n * p
        fills = now + -(-(full - level) // l)
        db.set(keys[0], (level, p, now, fills), fills - now)
    return [1, level // p, 0, _reset(full - level, l, fills - now)]


def _reset(missing: int, l: int, at_most: int) -> int:  # noqa: E741
    return max(0, min(-(-missing // l), at_most))
