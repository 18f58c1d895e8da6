"""Vectors of the sliding window: rules that change, refunds, and the reset."""

from __future__ import annotations

from hypothesis import strategies as st

from tests.contract.limiter_vectors import RATES, STEPS, admits, vectors

__all__ = ["ADMITS", "ARGS", "STEPS"]

ARGS = {
    "sliding_window": vectors("sliding_window", st.sampled_from(RATES)),
    "limiter_reset": st.just(()),
}
ADMITS = {"sliding_window": admits}
