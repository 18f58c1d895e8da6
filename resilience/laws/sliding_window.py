"""The sliding window: the count of this period, and of the one before in proportion to what of it is less than a period ago."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from resilience.laws.keyspace import Keyspace, Reply

MOST: Final = 2**53 - 1  # the largest integer a script counts exactly

State = tuple[int, int, int, int, int]  # index, calls in it, calls in the one before, length of a period, stamp of the last call


def law(db: Keyspace, keys: Sequence[str], args: Sequence[int | str], now: int) -> Reply:
    """Admits n calls or none, shows whether it would, or takes n back. Shape of the reply: see sliding_window.lua."""
    n, limit, period, *counted = map(int, args[1:])
    state: State | None = db.get(keys[0])
    if state is not None:
        now = max(now, state[4])
        if now >= _forgotten(state):
            state = None
    back = 0
    if state is not None and args[0] == "give":
        left = _without(state, n, counted)
        back = sum(state) - sum(left)
        if back and left[1] + left[2]:
            db.set(keys[0], left, _forgotten(left) - now)
        elif back:
            db.delete(keys[0])
        state = left if left[1] + left[2] else None
    count, before = _counts(state, now, period) if state is not None else (0, 0)
    index = now // period
    rest = (index + 1) * period - now
    admitted, retry, free = 1, 0, limit - count - n
    if args[0] == "give":
        admitted = 1 if back else 0
    elif free < 0:
        admitted, retry = 0, rest + -(free * period // count)
    elif before * rest > free * period:
        admitted, retry = 0, rest - free * period // before
    elif args[0] == "take":
        count += n
        state = (index, count, before, period, now)
        db.set(keys[0], state, _forgotten(state) - now)
    reset = rest + period if count else rest if before else 0
    if state is not None:
        retry, reset = min(retry, _forgotten(state) - now), min(reset, _forgotten(state) - now)
    return [admitted, max(0, limit - count - -(-before * rest // period)), retry, reset, index]


def _forgotten(state: State) -> int:
    """By the period at the last write nothing counts from this stamp on, whether the key has gone yet or not."""
    return (state[0] + 2) * state[3]


def _without(state: State, n: int, counted: list[int]) -> State:
    """`counted`: index and length of the period that the n calls were counted in."""
    index, count, before, of, stamp = state
    if counted == [index, of]:
        count = max(0, count - n)
    elif counted == [index - 1, of]:
        before = max(0, before - n)
    return (index, count, before, of, stamp)


def _counts(state: State, now: int, period: int) -> tuple[int, int]:
    """The calls in the current period and in the one before."""
    index, count, before, of, stamp = state
    if of != period:
        # Of counts by periods of another length only this is known: `count` were admitted by `stamp`, `before` before their
        # period began. Each is placed as late as it can have been.
        early = (index * of - 1) // period
        index = stamp // period
        if early == index:
            count, before = count + before, 0
        elif early < index - 1:
            before = 0
    periods = now // period - index
    # More than this many would take a script's products past 2^53; no limit over this period can be so high.
    most = MOST // period
    if periods == 0:
        return min(count, most), min(before, most)
    return 0, min(count, most) if periods == 1 else 0
