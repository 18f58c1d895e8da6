"""Vectors of the sliding log: rules that change, refunds, and the reset."""

from __future__ import annotations

from hypothesis import strategies as st

from tests.contract.limiter_vectors import RATES, STEPS, admits, vectors

__all__ = ["ADMITS", "ARGS", "STEPS"]

ARGS = {
    "sliding_log": vectors("sliding_log", st.sampled_from(RATES[:4])),
    "limiter_reset": st.just(()),
}
ADMITS = {"sliding_log": admits}
