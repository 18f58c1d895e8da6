"""What the control plane counts and tells: the closed tables of its metrics and events, declared to the telemetry at start."""

from __future__ import annotations

from typing import Final

from resilience import telemetry
from resilience.telemetry import Metric

EVENTS: Final[dict[str, str]] = {
    "loop.led": "this process leads the control loop",
    "loop.lost": "this process leads the control loop no longer",
}

METRICS: Final = (
    Metric("permsite_loop_leads", "gauge", (), "1 while this process leads the control loop"),
    Metric("permsite_loop_steps_total", "counter", ("task", "result"), "looks of the loop's tasks: ok, idle, failed, lost"),
    Metric("permsite_loop_pruned_total", "counter", (), "rows of the changelog and of the history of rows that were pruned"),
    Metric("permsite_loop_expired_total", "counter", ("kind",), "ends that were announced"),
)


def declare() -> None:
    """Once, at the app's start."""
    telemetry.declare(EVENTS, METRICS)
