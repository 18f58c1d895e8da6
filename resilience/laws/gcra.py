"""The generic cell rate algorithm, as a debt that time pays back.

Exact in integers: a token is p units and a microsecond pays l units, with p / l = period / limit in lowest terms.
Source: ITU-T I.371, annex A (the virtual scheduling form), with the debt kept instead of the theoretical arrival time.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from resilience.laws.keyspace import Keyspace, Reply

# The largest integer a script counts exactly. Debt rescaled past it stays there: hours of debt at any rate that can reach it.
MOST: Final = 2**53 - 1


def law(db: Keyspace, keys: Sequence[str], args: Sequence[int | str], now: int) -> Reply:
    """Grants between `least` and `want` tokens or none, shows what it would grant, or takes tokens back. Shape: see gcra.lua."""
    want, least, p, l, burst = map(int, args[1:])  # noqa: E741 - the letter of the published table
    debt, rate, stamp = db.get(keys[0]) or (0, l, now)
    now = max(now, stamp)
    if rate != l:
        # Debt is time owed: at another rate the same time is another number of units, rounded against the caller.
        debt = min(-(-debt * l // rate), MOST)
    debt = max(0, debt - l * (now - stamp))
    if args[0] == "give":
        lifted = min(debt, want * p)
        debt -= lifted
        if lifted and debt:
            db.set(keys[0], (debt, l, now), -(-debt // l))
        elif lifted:
            db.delete(keys[0])
        return [1 if lifted else 0, max(0, (burst * p - debt) // p), 0, -(-debt // l)]
    available = max(0, (burst * p - debt) // p)
    granted = min(want, available)
    if granted < least:
        return [0, available, -(-(debt - (burst - least) * p) // l), -(-debt // l)]
    if args[0] == "take":
        debt += granted * p
        available -= granted
        db.set(keys[0], (debt, l, now), -(-debt // l))
    return [granted, available, 0, -(-debt // l)]
