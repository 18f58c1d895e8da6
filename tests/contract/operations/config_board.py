"""Vectors of the board on which processes say which configuration they run."""

from __future__ import annotations

from hypothesis import strategies as st

NODES = st.sampled_from(["", "host:1:aa", "host:2:bb", "other:1:cc"])
NUMBERS = st.sampled_from([0, 1, 9_007_199_254_740_991])
DETAILS = st.sampled_from(["[]", '["host", 1, "redis", ""]', "with spaces and\nlines"])

ARGS = {"config_seen": st.tuples(NODES, st.sampled_from([1, 1_000_000, 7_000_000]), NUMBERS, NUMBERS, DETAILS)}
STEPS = st.sampled_from([0, 1, 999_999, 1_000_000, 1_000_001, 6_999_999, 7_000_000, 3_600_000_000])
