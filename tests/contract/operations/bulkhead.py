"""Vectors of the bulkhead's operations: few permits, limits that change, leases about as long as the steps."""

from __future__ import annotations

from hypothesis import strategies as st

PERMITS = st.sampled_from(["one", "two", "three", "four"])
LEASES_US = st.sampled_from([1, 1_000, 1_000_000, 2_000_000])

ARGS = {
    "bulkhead_acquire": st.tuples(PERMITS, st.integers(1, 4), LEASES_US),
    "bulkhead_renew": st.tuples(PERMITS, LEASES_US),
    "bulkhead_release": st.tuples(PERMITS),
    "bulkhead_drain": st.tuples(st.sampled_from([0, 0, 1, 1_000, 500_000])),
    "bulkhead_inspect": st.tuples(st.sampled_from([0, 2, 100])),
}
STEPS = st.sampled_from([0, 0, 1, 999, 1_000, 1_001, 500_000, 1_000_000, 2_000_000, 7_200_000_000])
ADMITS = {"bulkhead_acquire": lambda reply: reply[0] == 1}
