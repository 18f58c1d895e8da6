"""Vectors of the fixed window, aligned and not: rules that change, refunds, and the reset."""

from __future__ import annotations

from hypothesis import strategies as st

from tests.contract.limiter_vectors import RATES, STEPS, admits, vectors

__all__ = ["ADMITS", "ARGS", "STEPS"]

ARGS = {
    "fixed_window": vectors(
        "fixed_window", st.tuples(st.sampled_from(RATES), st.sampled_from([0, 1])).map(lambda rule: (*rule[0], rule[1]))
    ),
    "limiter_reset": st.just(()),
}
ADMITS = {"fixed_window": admits}
