"""Histograms of the telemetry: cells of hot paths that sample and still count every request."""

from __future__ import annotations

import pytest

from controlplane.metrics import REQUEST_BUCKETS
from resilience import telemetry
from resilience.telemetry import EACH, EIGHT, Cell


def counted(number: int, cell: Cell) -> int:
    """So many requests, as a connection tells of them; how often the clock was read."""
    timed = 0
    for _ in range(number):
        if cell.wait:
            cell.wait -= 1
        else:
            timed += 1
            cell.sample(0.003)
    return timed


@pytest.mark.parametrize("number", [0, 1, EACH, EACH + 1, EACH + EIGHT * 10, 10_000])
def test_every_request_counts_though_few_are_timed(number: int) -> None:
    cell = Cell(REQUEST_BUCKETS)
    timed = counted(number, cell)
    assert 0 <= number - sum(cell.counts) < EIGHT
    assert timed <= EACH + 1 + number // EIGHT
    assert cell.total == pytest.approx(0.003 * sum(cell.counts))


def test_after_a_refill_each_is_timed_again_and_none_counts_twice() -> None:
    cell = Cell(REQUEST_BUCKETS)
    counted(EACH + 21, cell)
    cell.left = EACH
    counted(EACH + 3, cell)
    assert 0 <= 2 * EACH + 24 - sum(cell.counts) < EIGHT


def test_a_value_on_a_bound_is_within_it_and_beyond_the_last_is_beyond() -> None:
    cell = Cell((1.0, 2.0))
    for value in (0.5, 1.0, 1.5, 2.0, 2.1, float("inf")):
        cell.add(value)
    assert cell.counts == [2, 2, 2]


def test_cells_and_observations_of_one_name_add_up() -> None:
    before = sum(one.counts[-1] for one in telemetry.distributions()["permission_request_seconds"].values())
    telemetry.cell("permission_request_seconds", "api").add(99.0)
    telemetry.observe("permission_request_seconds", 99.0, "api")
    telemetry.observe("permission_request_seconds", 99.0, "page")
    found = telemetry.distributions()["permission_request_seconds"]
    assert sum(one.counts[-1] for one in found.values()) == before + 3
    assert found["api",].bounds == REQUEST_BUCKETS and found["api",].total >= 198.0
    assert "permission_request_seconds" not in telemetry.collect()
