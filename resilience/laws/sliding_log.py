"""The sliding log: every admitted call counts for exactly one period."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence

from resilience.laws.keyspace import Keyspace, Reply

Entry = tuple[int, int, int]  # stamp, number within its microsecond, period when it was written


def law(db: Keyspace, keys: Sequence[str], args: Sequence[int | str], now: int) -> Reply:
    """Admits n calls or none, shows whether it would, or takes n back. Shape of the reply: see sliding_log.lua."""
    n, limit, period, *calls = map(int, args[1:])
    log: tuple[Entry, ...] = db.get(keys[0]) or ()
    number, ends, live = 0, now, 0
    if log:
        last, latest, of = log[-1]
        now = max(now, last)
        number = latest + 1 if now == last else 0
        # By the period at the last write the log is forgotten from here on, whether its key has gone yet or not.
        ends = last + min(period, of)
        if now < last + of:
            live = len(log) - bisect_right(log, (now - period + 1,))
    admitted, retry = 1, 0
    if args[0] == "give":
        left = log
        if live and calls[0] > now - period:
            left = _without(log, n, calls)
        admitted = 1 if len(left) < len(log) else 0
        live -= len(log) - len(left)
        if admitted and left and now < left[-1][0] + left[-1][2]:
            ends = left[-1][0] + min(period, left[-1][2])
            db.set(keys[0], left, left[-1][0] + left[-1][2] - now)
        elif admitted:
            live = 0
            db.delete(keys[0])
    elif live + n > limit:
        admitted, retry = 0, min(log[n - limit - 1][0] + period, ends) - now
    elif args[0] == "take":
        kept = log[-live:] if live else ()
        db.set(keys[0], (*kept, *((now, number + index, period) for index in range(n))), period)
        live, ends = live + n, now + period
    return [admitted, max(0, limit - live), retry, ends - now if live else 0, now, number]


def _without(log: tuple[Entry, ...], n: int, calls: Sequence[int]) -> tuple[Entry, ...]:
    """`calls`: stamp, first number and period of the n calls that were granted together."""
    stamp, first, of = calls
    back = {(stamp, first + index, of) for index in range(n)}
    return tuple(entry for entry in log if entry not in back)
