"""Vectors of the configuration's operations: versions that race, epochs, forced writes."""

from __future__ import annotations

from hypothesis import strategies as st

NUMBERS = st.sampled_from([0, 1, 2, 3, 9_007_199_254_740_991])
TEXTS = st.sampled_from(["{}", '{"limiters":{}}', '{"名":"\\u540d"}', "two\nlines"])
MACS = st.sampled_from(["a" * 64, "b" * 64])
ARGS = {
    "config_put": st.tuples(NUMBERS, NUMBERS, TEXTS, MACS, st.just("resilience:config_updated"), st.sampled_from([0, 0, 0, 1])),
    "config_get": st.tuples(NUMBERS, NUMBERS),
}
