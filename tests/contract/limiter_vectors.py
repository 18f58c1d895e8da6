"""What the vectors of the limiters share: rules, costs, and refunds of what the same sequence was granted."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import gcd
from typing import Any

from hypothesis import strategies as st

from resilience.laws.keyspace import Reply
from tests.contract.sequences import Past

Arguments = tuple[int | str, ...]

# Limit and period: that divide and that do not, a single call, and as many as may be.
RATES = ((3, 1_000_000), (7, 1_000_003), (1, 10), (100, 60_000_000), (99_991, 86_400_000_000))
BURSTS = (1, 3, 20, 99_991)
# Nothing, next to nothing, a token or so, around the periods above, and longer than any state lives.
STEPS = st.one_of(
    st.sampled_from([0, 0, 0, 1, 10, 333_333, 600_000, 1_000_000, 2_000_001, 60_000_000, 200_000_000_000]),
    st.integers(0, 2_000_000),
)
COSTS = st.sampled_from([1, 1, 2, 3])
MARKED_WITH_PERIOD = ("sliding_log", "sliding_window")


def units(limit: int, period: int, burst: int) -> Arguments:
    divisor = gcd(limit, period)
    return (period // divisor, limit // divisor, burst)


def vectors(algorithm: str, rules: st.SearchStrategy[Arguments], *, costs: int = 1) -> st.SearchStrategy[tuple[Any, ...]]:
    """Takes, peeks and refunds under one of the rules; `costs`: how often the operation wants the cost named."""
    asked = st.tuples(st.sampled_from(["take", "take", "take", "peek"]), COSTS, rules)
    given = st.tuples(st.just("give"), st.integers(0, 5), rules)
    return st.one_of(asked, asked, asked, given).map(
        lambda drawn: _arguments(algorithm, costs, drawn[0], drawn[1], drawn[2]),
    )


def _arguments(algorithm: str, costs: int, verb: str, number: int, rule: Arguments) -> tuple[Any, ...]:
    """A refund names the cost and the marks of an earlier grant: `number` says which, and they are only known in the sequence."""
    if verb != "give":
        # A cost above the capacity is refused before it reaches a store.
        capacity = rule[2] if algorithm in ("gcra", "token_bucket") else rule[0]
        return (verb, *[min(number, int(capacity))] * costs, *rule)
    marks = {"fixed_window": 1, "sliding_log": 3, "sliding_window": 2}.get(algorithm, 0)
    cost = [_of_grant(algorithm, number, 0)] * costs
    return (verb, *cost, *rule, *(_of_grant(algorithm, number, place) for place in range(1, marks + 1)))


def _of_grant(algorithm: str, number: int, place: int) -> Callable[[Sequence[Past]], int | str]:
    def find(history: Sequence[Past]) -> int | str:
        grants = [past for past in history if past.op == algorithm and past.args[0] == "take" and past.reply[0]]
        if not grants:
            return 1  # a refund of what was never granted
        past = grants[-1 - number % len(grants)]
        period = [past.args[3]] if algorithm in MARKED_WITH_PERIOD else []
        return [past.args[1], *past.reply[4:], *period][place]

    return find


def admits(reply: Reply) -> bool:
    return bool(reply[0])
