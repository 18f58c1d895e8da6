"""The generic cell rate algorithm, as a debt that time pays back.

Exact in integers: a token is p units and a microsecond pays l units, with p / l = period / limit in lowest terms.
Source: ITU-T I.371, annex A (the virtual scheduling form), with the debt kept instead of the theoretical arrival time.
"""

from __future__ import annotations

from collections.abc import Sequence

from resilience.laws.keyspace import Keyspace, Reply


def law(db: Keyspace, keys: Sequence[str], args: Sequence[int | str], now: int) -> Reply:
    """Grants between `least` and `want` tokens, or none. Shape of the reply: see gcra.lua."""
    want, least, p, l, burst = (int(arg) for arg in args)  # noqa: E741 - the letter of the published table
    debt, rate, stamp = db.get(keys[0]) or (0, l, now)
    now = max(now, stamp)
    if rate != l:
        # Debt is time owed: at another rate the same time is another number of units, rounded against the caller.
        debt = debt // rate * l + -(-(debt % rate) * l // rate)
    debt = max(0, debt - l * (now - stamp))
    available = max(0, (burst * p - debt) // p)
    granted = min(want, available)
    if granted < least:
        return [0, available, -(-(debt + least * p - burst * p) // l), -(-debt // l)]
    debt += granted * p
    reset = -(-debt // l)
    db.set(keys[0], (debt, l, now), reset)
    return [granted, available - granted, 0, reset]
