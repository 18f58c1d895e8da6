"""Figures before a script runs: the words of format.js, and a dash for what nobody knows."""

from __future__ import annotations

from typing import Any

import pytest

from controlplane.pages.figures import UNKNOWN, clock, show


@pytest.mark.parametrize(
    ("value", "form", "words"),
    [
        (0, "rate", "0/s"),
        (0.123, "rate", "0.12/s"),
        (12.34, "rate", "12.3/s"),
        (1234.5, "rate", "1,234/s"),
        (0.5, "percent", "50%"),
        (0.0123, "percent", "1.2%"),
        (0.9987, "percent", "99.9%"),
        (4.31, "ms", "4.3 ms"),
        (0.25, "seconds", "250 ms"),
        (3, "seconds", "3 s"),
        (600, "seconds", "10 min"),
        (7200 * 3, "seconds", "6 h"),
        (86_400 * 5, "seconds", "5 d"),
        (1536, "bytes", "1.5 KiB"),
        (170, "mb", "170 MiB"),
        (12_345, "count", "12,345"),
        (True, "count", "1"),
        ("abc", "rate", "abc"),
    ],
)
def test_a_figure_reads_as_its_format_says(value: Any, form: str, words: str) -> None:
    assert show(value, form) == words


@pytest.mark.parametrize("value", [None, "", float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("form", ["rate", "percent", "ms", "seconds", "count", "bytes", "mb"])
def test_what_is_unknown_is_a_dash_and_never_a_zero(value: Any, form: str) -> None:
    assert show(value, form) == UNKNOWN


@pytest.mark.parametrize("at", [None, True, "now", float("nan"), float("inf"), 1e300, -1e300])
def test_a_moment_that_is_none_is_a_dash(at: Any) -> None:
    assert clock(at) == UNKNOWN


def test_a_moment_is_told_in_utc() -> None:
    assert clock(1_700_000_000) == "22:13:20"
