"""What the directions of search share: parts of candidates, a budget, and the page that comes of them.

A candidate is whatever might be allowed; the engine decides on each. Candidates come in parts, in the database's order, so that
memory is bounded by a part and not by the realm.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Final, NamedTuple

from permissions.engine.reasons import Unavailable

# Rows that a page may look at, and seconds it may take: a page that has used them up comes back short, with a place to go on.
PAGE_ROWS: Final = 100_000
PAGE_S: Final = 2.0
# Rows that a page looks at whatever the time, so that in a small realm no page is short, however busy the machine.
LEAST_ROWS: Final = 1_000
# Seconds that a whole list may take: less than its thread is given (`database.SEARCH_LIMIT_S`), so that it ends by itself.
LIST_S: Final = 14.0
# Candidates that are decided at once: enough for few statements, few enough for little memory.
LARGEST_PART: Final = 1_000


class Part(NamedTuple):
    """Candidates in order. `upto`: the last entity looked at, a candidate or not; `rows`: how many were looked at."""

    refs: list[str]
    upto: str
    rows: int


@dataclass(slots=True)
class Budget:
    """`least`: rows that are looked at whatever the time. `is_whole`: a list that must not be cut; it raises where a page would
    come back short."""

    rows: int
    until_s: float
    least: int = 0
    is_whole: bool = False

    def spend(self, rows: int) -> bool:
        """Whether it is used up. Raises Unavailable for a list that takes too long."""
        self.rows -= rows
        self.least -= rows
        is_late = time.monotonic() >= self.until_s
        if self.is_whole:
            if is_late:
                raise Unavailable("the list is too long to be made at once: ask for pages", retry_after_s=60.0)
            return False
        return (is_late and self.least <= 0) or self.rows <= 0


def for_page(least: int = LEAST_ROWS) -> Budget:
    return Budget(PAGE_ROWS, time.monotonic() + PAGE_S, least)


def for_list() -> Budget:
    return Budget(0, time.monotonic() + LIST_S, is_whole=True)


def sizes(limit: int | None) -> Iterator[int]:
    """How many candidates the next part is to hold: first what the page needs, then more and more."""
    size = LARGEST_PART if limit is None else min(LARGEST_PART, limit + 1)
    while True:
        yield size
        size = min(LARGEST_PART, max(64, size * 2))


def parts_of(refs: list[str], limit: int | None) -> Iterator[Part]:
    """A list of candidates that is complete."""
    start = 0
    for size in sizes(limit):
        part = refs[start : start + size]
        if not part:
            return
        yield Part(part, part[-1], len(part))
        start += size


def collect(
    parts: Iterable[Part], allowed: Callable[[list[str]], Iterable[str]], limit: int | None, budget: Budget
) -> tuple[list[str], str | None]:
    """What is allowed, at most `limit`, and where to go on; None where nothing is left.

    One more than the limit is looked for, so that a page says that it is the last whenever the budget lets it know.
    """
    results: list[str] = []
    for part in parts:
        for ref in allowed(part.refs) if part.refs else ():
            if len(results) == limit:
                return results, results[-1]
            results.append(ref)
        if budget.spend(part.rows):
            return results, part.upto
    return results, None
