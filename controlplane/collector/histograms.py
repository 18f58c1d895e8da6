"""The histograms of this process, in the shape that slots keep."""

from __future__ import annotations

from controlplane.collector.slots import Series
from resilience import telemetry


def histograms() -> dict[Series, tuple[list[float], float]]:
    """By series: observations in each bucket alone, the last one above every bound, and their sum."""
    return {
        (name, labels): (list(told.counts), told.total)
        for name, by_labels in telemetry.distributions().items()
        for labels, told in by_labels.items()
    }
