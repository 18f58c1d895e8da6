"""A trace of checks in which few subjects ask often: zipf, probability of rank r proportional to r^-s."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator

EXPONENT = 0.9


def subjects(seed: int, count: int, exponent: float = EXPONENT) -> Iterator[int]:
    """Numbers of subjects without end. Rank and number are unrelated, as ids of the busy are scattered."""
    draw = random.Random(seed)
    # The ranks are the same in every process of a run: what is hot in one is hot in the others.
    order = random.Random(count).sample(range(count), count)
    weights = list(itertools.accumulate((rank + 1) ** -exponent for rank in range(count)))
    while True:
        yield from draw.choices(order, cum_weights=weights, k=4_096)
