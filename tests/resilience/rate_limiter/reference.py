"""The five algorithms written a second time, from the published table: exact fractions, slow, and nothing but `admits`.

What the laws compute by formulas is found here by search: the wait is the least number of microseconds after which the same call
is admitted, what is left is the largest cost still admitted, the reset is the least wait after which it is as if never used.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from math import ceil, floor


@dataclass(frozen=True)
class Rule:
    limit: int
    period: int  # microseconds
    burst: int
    aligned: bool = False

    @property
    def rate(self) -> Fraction:
        """Tokens a microsecond."""
        return Fraction(self.limit, self.period)

    @property
    def unit(self) -> Fraction:
        """The smallest part of a token that is counted."""
        return Fraction(1, Fraction(self.period, self.limit).numerator)


def least(holds: Callable[[int], bool]) -> int:
    """The least number from 0 on from which on `holds`."""
    high = 1
    if holds(0):
        return 0
    while not holds(high):
        high *= 2
    low = high // 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if holds(middle) else (middle, high)
    return high


class Reference:
    """`admits(at, n)` and `is_fresh(at)` look at the state of a rule at a time; `charge(at, n)` changes it."""

    stamp = 0

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        """As if never used."""
        raise NotImplementedError

    def answer(self, now: int, rule: Rule, n: int, *, take: bool) -> tuple[int, int, int, int]:
        now = max(now, self.stamp)
        admitted = self.admits(now, rule, n)
        wait = least(lambda us: self.admits(now + us, rule, n))
        if admitted and take:
            self.charge(now, rule, n)
        left = least(lambda m: not self.admits(now, rule, m + 1))
        reset = least(lambda us: self.is_fresh(now + us, rule))
        return int(admitted), left, wait, reset

    def admits(self, at: int, rule: Rule, n: int) -> bool:
        raise NotImplementedError

    def is_fresh(self, at: int, rule: Rule) -> bool:
        raise NotImplementedError

    def charge(self, at: int, rule: Rule, n: int) -> None:
        raise NotImplementedError

    def give(self, now: int, rule: Rule, n: int, *marks: int) -> None:
        """Takes n back. `marks`: what the reply to their grant ended with, and the period for those that count by it."""
        raise NotImplementedError


class Gcra(Reference):
    def clear(self) -> None:
        self.stamp = 0
        self.debt = Fraction(0)  # tokens
        self.rate: Fraction | None = None

    def owed(self, at: int, rule: Rule) -> Fraction:
        debt = self.debt
        if self.rate is not None and self.rate != rule.rate:
            # Debt is time: the same time at the new rate, in whole units, against the caller; as many as can be counted.
            debt = min(ceil(debt / self.rate * rule.rate / rule.unit), 2**53 - 1) * rule.unit
        return max(Fraction(0), debt - rule.rate * (at - self.stamp))

    def admits(self, at: int, rule: Rule, n: int) -> bool:
        return self.owed(at, rule) + n <= rule.burst

    def is_fresh(self, at: int, rule: Rule) -> bool:
        return self.owed(at, rule) == 0

    def charge(self, at: int, rule: Rule, n: int) -> None:
        self.debt, self.rate, self.stamp = self.owed(at, rule) + n, rule.rate, at

    def give(self, now: int, rule: Rule, n: int, *marks: int) -> None:
        now = max(now, self.stamp)
        if self.owed(now, rule):
            self.debt, self.rate, self.stamp = max(Fraction(0), self.owed(now, rule) - n), rule.rate, now
            if not self.debt:
                self.clear()


class TokenBucket(Reference):
    def clear(self) -> None:
        self.level: Fraction | None = None  # None: full
        self.full_at = 0
        self.stamp = 0

    def filled(self, at: int, rule: Rule) -> Fraction:
        if self.level is None or at >= self.full_at:
            return Fraction(rule.burst)
        kept = min(Fraction(rule.burst), floor(self.level / rule.unit) * rule.unit)
        return min(Fraction(rule.burst), kept + rule.rate * (at - self.stamp))

    def admits(self, at: int, rule: Rule, n: int) -> bool:
        return self.filled(at, rule) >= n

    def is_fresh(self, at: int, rule: Rule) -> bool:
        return self.filled(at, rule) == rule.burst

    def charge(self, at: int, rule: Rule, n: int) -> None:
        self.level, self.stamp = self.filled(at, rule) - n, at
        self.full_at = at + ceil((rule.burst - self.level) / rule.rate)

    def give(self, now: int, rule: Rule, n: int, *marks: int) -> None:
        now = max(now, self.stamp)
        level = self.filled(now, rule)
        if level == rule.burst:
            return
        self.level, self.stamp = min(Fraction(rule.burst), level + n), now
        self.full_at = now + ceil((rule.burst - self.level) / rule.rate)
        if self.level == rule.burst:
            self.clear()


class FixedWindow(Reference):
    def clear(self) -> None:
        self.start = self.stamp = 0
        self.count = 0
        self.ends = 0  # as it was told when the window began, or sooner

    def end(self, rule: Rule) -> int:
        begins = floor(Fraction(self.start, rule.period)) * rule.period if rule.aligned else self.start
        return min(self.ends, begins + rule.period)

    def counted(self, at: int, rule: Rule) -> int:
        return self.count if at < self.end(rule) else 0

    def admits(self, at: int, rule: Rule, n: int) -> bool:
        return self.counted(at, rule) + n <= rule.limit

    def is_fresh(self, at: int, rule: Rule) -> bool:
        return self.counted(at, rule) == 0

    def charge(self, at: int, rule: Rule, n: int) -> None:
        if at >= self.end(rule):
            self.start = self.stamp = at // rule.period * rule.period if rule.aligned else at
            self.count, self.ends = 0, self.start + rule.period
        self.count, self.ends = self.count + n, self.end(rule)

    def give(self, now: int, rule: Rule, n: int, *marks: int) -> None:
        now = max(now, self.stamp)
        if self.counted(now, rule) and marks == (self.start,):
            self.count, self.ends = max(0, self.count - n), self.end(rule)
            if not self.count:
                self.clear()


class SlidingLog(Reference):
    def clear(self) -> None:
        self.calls: list[tuple[int, int]] = []  # stamp, period when written

    @property
    def stamp(self) -> int:  # type: ignore[override]
        return self.calls[-1][0] if self.calls else 0

    def live(self, at: int, rule: Rule) -> list[int]:
        if not self.calls or at >= sum(self.calls[-1]):
            return []
        return [t for t, _ in self.calls if at - t < rule.period]

    def admits(self, at: int, rule: Rule, n: int) -> bool:
        return len(self.live(at, rule)) + n <= rule.limit

    def is_fresh(self, at: int, rule: Rule) -> bool:
        return not self.live(at, rule)

    def charge(self, at: int, rule: Rule, n: int) -> None:
        live = len(self.live(at, rule))
        self.calls = self.calls[len(self.calls) - live :] + [(at, rule.period)] * n

    def give(self, now: int, rule: Rule, n: int, *marks: int) -> None:
        stamp, _, of = marks
        now = max(now, self.stamp)
        if stamp not in self.live(now, rule):
            return
        for _ in range(n):
            if (stamp, of) in self.calls:
                self.calls.remove((stamp, of))
        if self.calls and now >= sum(self.calls[-1]):
            self.clear()


class SlidingWindow(Reference):
    def clear(self) -> None:
        self.calls: list[tuple[int, int]] = []  # period index, calls in it: this one and the one before
        self.period = 0
        self.stamp = 0

    def counts(self, at: int, rule: Rule) -> tuple[int, int]:
        """In the period of `at`, and in the one before."""
        if not self.calls or at >= (self.calls[-1][0] + 2) * self.period:
            return 0, 0
        placed = self.calls
        if rule.period != self.period:
            # As late as they can have been: this period's by the last call, the earlier ones just before this period began.
            last = self.calls[-1][0]
            latest = {last: self.stamp, last - 1: last * self.period - 1}
            placed = [(latest[index] // rule.period, calls) for index, calls in self.calls]
        now = at // rule.period
        return sum(c for i, c in placed if i == now), sum(c for i, c in placed if i == now - 1)

    def admits(self, at: int, rule: Rule, n: int) -> bool:
        count, before = self.counts(at, rule)
        part = Fraction(rule.period - at % rule.period, rule.period)
        return before * part + count + n <= rule.limit

    def is_fresh(self, at: int, rule: Rule) -> bool:
        return self.counts(at, rule) == (0, 0)

    def charge(self, at: int, rule: Rule, n: int) -> None:
        count, before = self.counts(at, rule)
        index = at // rule.period
        self.calls, self.period, self.stamp = [(index - 1, before), (index, count + n)], rule.period, at

    def give(self, now: int, rule: Rule, n: int, *marks: int) -> None:
        index, of = marks
        now = max(now, self.stamp)
        if not self.calls or now >= (self.calls[-1][0] + 2) * self.period or of != self.period:
            return
        self.calls = [(i, max(0, calls - n) if i == index else calls) for i, calls in self.calls]
        if not any(calls for _, calls in self.calls):
            self.clear()


REFERENCES = {
    "fixed_window": FixedWindow,
    "gcra": Gcra,
    "sliding_log": SlidingLog,
    "sliding_window": SlidingWindow,
    "token_bucket": TokenBucket,
}
