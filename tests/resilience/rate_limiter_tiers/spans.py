"""The published bound, checked on what was admitted: every span, not a sample of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple


class Admit(NamedTuple):
    """One admitted call: it happened somewhere between these two moments. Microseconds."""

    begun_us: int
    ended_us: int


class Excess(NamedTuple):
    """The span in which most was admitted beyond what the bound allows; `by` is at most 0 where the bound holds."""

    begun_us: int
    ended_us: int
    admitted: int
    by: float


def worst(admits: Sequence[Admit], *, rate: float, allowance: float) -> Excess:
    """`rate`: tokens a second; `allowance`: what any span may admit besides rate * span.

    A call counts for a span only if the whole of it lies inside: so whatever is found did happen.
    """
    found = Excess(0, 0, 0, float("-inf"))
    by_end = sorted(admits, key=lambda admit: admit.ended_us)
    for begun_us in sorted({admit.begun_us for admit in admits}):
        admitted = 0
        for admit in by_end:
            if admit.begun_us < begun_us:
                continue
            admitted += 1
            by = admitted - rate * (admit.ended_us - begun_us) / 1_000_000 - allowance
            if by > found.by:
                found = Excess(begun_us, admit.ended_us, admitted, by)
    return found
