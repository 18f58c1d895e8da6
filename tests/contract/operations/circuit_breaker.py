"""Vectors of the breaker: few probes and reporters, epochs of now and of before, figures that change from call to call."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hypothesis import strategies as st

from tests.contract.sequences import START_US, Past

PROBES = st.sampled_from(["p1", "p2", "p3"])
REPORTERS = st.sampled_from(["r1", "r2", "r3"])
CHANNELS = st.sampled_from(["", "circuit-breaker-vectors"])
LEASES_US = st.sampled_from([1, 1_000, 1_000_000, 30_000_000])
PERMITS = st.integers(1, 3)
WINDOWS_US = st.sampled_from([10_000, 1_000_000, 10_000_000, 7_200_000_000])
OPEN_US = [0, 1_000, 1_000_000, 30_000_000]


def newest(history: Sequence[Past]) -> int:
    return int(history[-1].reply[4]) if history else 0


def stale(history: Sequence[Past]) -> int:
    return int(history[0].reply[4]) if history else 1


EPOCHS: st.SearchStrategy[Any] = st.sampled_from([newest, newest, newest, stale])
# Good, failed, slow, failed since the last good one.
BATCHES = st.sampled_from(
    [(0, 0, 0, 0), (1, 0, 0, 0), (0, 1, 0, 1), (0, 1, 1, 1), (1, 0, 1, 0), (5, 3, 1, 2), (0, 10, 0, 10), (100_000, 2, 0, 0)]
)
OPENINGS = st.tuples(
    st.sampled_from(OPEN_US),
    st.sampled_from([1_000, 1_001, 1_500, 100_000]),
    st.sampled_from([30_000_000, 60_000_000, 2_592_000_000_000]),
    st.integers(-200, 200),
)
FIGURES = st.tuples(
    PERMITS,
    st.integers(1, 2),
    WINDOWS_US,
    st.sampled_from([1, 3, 10]),
    st.sampled_from([1, 333_333, 500_000, 1_000_000]),
    st.sampled_from([500_000, 1_000_000]),
    st.sampled_from([0, 0, 3]),
    st.integers(1, 3),
)


def report(
    head: tuple[Any, ...], epoch: Any, batch: tuple[int, ...], figures: tuple[int, ...], opening: tuple[int, ...]
) -> tuple[Any, ...]:
    return (*head, epoch, *batch, *figures, *opening)


NAME = st.just("billing")
ARGS = {
    "breaker_allow": st.tuples(PROBES, LEASES_US, PERMITS, CHANNELS, NAME),
    "breaker_report": st.builds(report, st.tuples(PROBES, REPORTERS, CHANNELS, NAME), EPOCHS, BATCHES, FIGURES, OPENINGS),
    "breaker_force": st.tuples(
        st.sampled_from(["open", "closed", "auto"]),
        st.sampled_from([0, 1, START_US + 1_000, START_US + 1_000_000, START_US + 86_400_000_000]),
        st.sampled_from(["", "überlastet", "two\nlines"]),
        st.sampled_from(["", "alice"]),
        CHANNELS,
        NAME,
    ),
    "breaker_set": st.builds(
        lambda head, opening: (*head, *opening), st.tuples(st.sampled_from(["open", "closed"]), CHANNELS, NAME), OPENINGS
    ),
    "breaker_peek": st.tuples(WINDOWS_US),
}
STEPS = st.one_of(
    st.sampled_from([0, 0, 1, 1_000, 100_000, 999_999, 1_000_000, 29_999_999, 30_000_000, 3_600_000_000, 3_600_000_001]),
    st.integers(0, 2_000_000),
)
ADMITS = {"breaker_allow": lambda reply: reply[0] != "refuse"}
