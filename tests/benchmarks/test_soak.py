"""The soak says what memory did: flat is told as flat, growth and errors end it with 1."""

from __future__ import annotations

import argparse

import pytest

from benchmarks import soak

MIB = soak.MIB


def run_of(sizes: list[float], errors: int = 0) -> soak.Run:
    samples = [(10.0 * (number + 1), int(size * MIB)) for number, size in enumerate(sizes)]
    return soak.Run(samples={7: samples}, requests=100, errors=errors, changes=8)


def test_a_slope_is_bytes_a_second() -> None:
    assert soak.slope([(0.0, 100), (10.0, 120), (20.0, 140)]) == pytest.approx(2.0)


def test_one_sample_has_no_slope() -> None:
    assert soak.slope([(5.0, 100)]) == 0.0


def test_memory_that_fills_first_and_then_stays_is_flat(capsys: pytest.CaptureFixture[str]) -> None:
    assert soak.verdict(run_of([80, 90, 100, 110, 110, 110.2, 110.1, 110])) == 0
    assert "flat" in capsys.readouterr().out


def test_memory_that_goes_on_growing_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert soak.verdict(run_of([100, 102, 104, 106, 108, 110, 112, 114])) == 1
    assert "GROWS" in capsys.readouterr().out


def test_one_failed_request_ends_it_with_1() -> None:
    assert soak.verdict(run_of([100] * 8, errors=1)) == 1


def test_a_run_without_a_sample_is_no_proof() -> None:
    assert soak.verdict(soak.Run()) == 1


def test_a_worker_that_ended_is_told_and_the_one_in_its_place_is_judged_too(capsys: pytest.CaptureFixture[str]) -> None:
    found = run_of([100] * 5)
    found.samples[8] = [(60.0, 100 * MIB), (70.0, 100 * MIB)]
    assert soak.verdict(found) == 1
    told = capsys.readouterr().out
    assert "(7)" in told.splitlines()[1]
    assert "ENDED" in told.splitlines()[1]
    assert "flat" in told.splitlines()[2]


@pytest.mark.parametrize("text", ["0", "-1", "601", "nan", "inf", "ten", ""])
def test_a_time_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="no number of minutes"):
        soak._minutes(text)
