"""Vectors of the generic cell rate algorithm: rules that change, refunds, and the reset."""

from __future__ import annotations

from hypothesis import strategies as st

from tests.contract.limiter_vectors import BURSTS, RATES, STEPS, admits, units, vectors

__all__ = ["ADMITS", "ARGS", "STEPS"]

ARGS = {
    "gcra": vectors(
        "gcra", st.tuples(st.sampled_from(RATES), st.sampled_from(BURSTS)).map(lambda rule: units(*rule[0], rule[1])), costs=2
    ),
    "limiter_reset": st.just(()),
}
ADMITS = {"gcra": admits}
