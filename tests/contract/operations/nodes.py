"""Vectors of the operations of the registry: who lives, and which keys are refused most."""

from __future__ import annotations

from hypothesis import strategies as st

LEASES = [0, 1, 1_000_000, 7_000_000]
# One, as in refusals.py: a key whose counts are all halved away may go, and a longer half-life would count them anew.
HALF_LIVES = [1_000_000]
KEYS = ["a", "b", "user:7", "t", "ключ", "with space", ""]


def refusals(size: int) -> st.SearchStrategy[tuple[int | str, ...]]:
    """How many to name and to keep, the half-life, then so many pairs."""
    head = st.tuples(st.sampled_from([0, 2, 10]), st.sampled_from([1, 3, 100]), st.sampled_from(HALF_LIVES), st.just(size))
    pairs = st.lists(st.tuples(st.sampled_from(KEYS), st.integers(1, 5)), min_size=size, max_size=size)
    return st.builds(lambda start, rest: (*start, *(part for pair in rest for part in pair)), head, pairs)


ARGS = {
    "node_beat": st.tuples(st.sampled_from(["", "n1", "n2", "n3"]), st.sampled_from(LEASES)),
    "hot_refused": st.integers(0, 3).flatmap(refusals),
}
STEPS = st.sampled_from([0, 1, 400_000, 1_000_000, 6_999_999, 7_000_000, 61_000_000, 7_200_000_000])
