"""How each algorithm is asked: from options to the arguments of its operation, once, and from a grant to what takes it back."""

from __future__ import annotations

from typing import Final, Literal

from resilience.laws.keyspace import Reply
from resilience.operations import LIMITERS
from resilience.rate_limiter.options import WITH_BURST, Options, lowest_terms

Verb = Literal["take", "peek", "give"]
Arguments = tuple[int | str, ...]

# Of a grant, what its refund must name besides the period: the window, the stamp and number, or the index it was counted in.
MARKED_WITH_PERIOD: Final = ("sliding_log", "sliding_window")


class Plan:
    """One limiter's options, as its operation takes them. Immutable: a change is another plan."""

    __slots__ = ("_once", "_rule", "algorithm", "burst", "capacity", "end", "l", "limit", "options", "p", "period_us")

    def __init__(self, options: Options) -> None:
        self.options = options
        self.algorithm = options.algorithm
        self.end = LIMITERS[options.algorithm]
        self.limit = options.limit
        self.capacity = self.burst = options.capacity
        self.period_us = options.period_us
        self.p, self.l = lowest_terms(options)
        self._rule: Arguments
        if options.algorithm in WITH_BURST:
            self._rule = (self.p, self.l, options.capacity)
        elif options.algorithm == "fixed_window":
            self._rule = (options.limit, options.period_us, int(options.aligned))
        else:
            self._rule = (options.limit, options.period_us)
        self._once = self._arguments("take", 1)

    def arguments(self, verb: Verb, cost: int) -> Arguments:
        return self._once if cost == 1 and verb == "take" else self._arguments(verb, cost)

    def grant(self, want: int, least: int) -> Arguments:
        """For gcra alone: as many tokens as there are, `want` at most, `least` or none."""
        return ("take", want, least, *self._rule)

    def give(self, cost: int, marks: Reply) -> Arguments:
        """What takes a grant back. `marks`: the end of the reply that granted it, after the four figures."""
        if self.algorithm in MARKED_WITH_PERIOD:
            return (*self._arguments("give", cost), *marks, self.period_us)
        return (*self._arguments("give", cost), *marks)

    def _arguments(self, verb: Verb, cost: int) -> Arguments:
        if self.algorithm == "gcra":
            return (verb, cost, cost, *self._rule)
        return (verb, cost, *self._rule)
