"""Vectors of the set of limits: one to three rules of all algorithms, some on trial, all or nothing."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from tests.contract.limiter_vectors import RATES, STEPS, units

__all__ = ["ARGS", "STEPS"]

# The end of its key, the algorithm, how often it wants the cost named, and the rule.
RULES = [
    ("user:u:gcra", "gcra", 2, units(*RATES[0], 3)),
    ("ip:i:tb", "token_bucket", 1, units(*RATES[1], 4)),
    ("app:a:fw", "fixed_window", 1, (*RATES[0], 0)),
    ("app:b:fw", "fixed_window", 1, (*RATES[1], 1)),
    ("org:o:sc", "sliding_window", 1, RATES[0]),
    ("day:d:sl", "sliding_log", 1, RATES[1]),
]


def _arguments(drawn: tuple[str, int, list[tuple[tuple[Any, ...], int]]]) -> tuple[int | str, ...]:
    verb, cost, rules = drawn
    args: list[int | str] = [verb, len(rules)]
    for (end, algorithm, costs, rule), binding in rules:
        own = [*[cost] * costs, *rule]
        args += [end, algorithm, binding, len(own), *own]
    return tuple(args)


ARGS = {
    "limiter_set": st.tuples(
        st.sampled_from(["take", "take", "take", "take", "peek", "reset"]),
        st.sampled_from([1, 1, 2]),
        st.lists(
            st.tuples(st.sampled_from(RULES), st.sampled_from([1, 1, 0])), min_size=1, max_size=3, unique_by=lambda r: r[0][0]
        ),
    ).map(_arguments),
}
