"""Vectors of the lock's operations: three holders, leases about as long as the steps, fences forgotten after a day."""

from __future__ import annotations

from hypothesis import strategies as st

TOKENS = st.sampled_from(["alice", "bob", "charlie"])
TTLS_US = st.sampled_from([1, 1_000, 1_000_000, 10_000_000])

ARGS = {
    "lock_acquire": st.tuples(TOKENS, TTLS_US),
    "lock_renew": st.tuples(TOKENS, TTLS_US),
    "lock_release": st.tuples(TOKENS),
    "lock_break": st.just(()),
    "lock_inspect": st.just(()),
}
STEPS = st.sampled_from([0, 0, 1, 999, 1_000, 1_001, 500_000, 1_000_000, 10_000_000, 90_000_000_000])
ADMITS = {"lock_acquire": lambda reply: reply[0] == 1}
