"""What the decision side counts and tells: the closed tables of its metrics and events, declared to the telemetry at start.

Counts of checks are plain integers of each thread (`Counts`), which a scrape reads: a labelled counter costs more than a check.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Final

from resilience import telemetry
from resilience.telemetry import Metric, Sample

EVENTS: Final[dict[str, str]] = {
    "permission.changed": "a realm has a new revision",
    "permission.expired": "a binding, membership, role or key has reached its end",
    "cache.reset": "everything known of a realm was dropped: another epoch, lost commits, or a gap in the changelog",
    "cache.stale": "the database is away and a realm's static grace lets older answers out",
    "cache.flushed": "an operator invalidated cached entries",
    "cache.warmed": "a warm-up has ended",
    "cache.l2_down": "the second cache layer is skipped",
    "cache.l2_up": "the second cache layer is used again",
    "decision_log.lost": "decisions are missing from the log: its buffer was full, or they could not be written",
    "decision_log.failing": "the decision log cannot be written where it is to go; it is tried again",
    "decision_log.recovered": "the decision log is written again",
}

METRICS: Final = (
    Metric("permission_checks_total", "counter", ("outcome",), "decisions by outcome"),
    Metric("permission_check_errors_total", "counter", ("reason",), "questions that got no decision: unavailable, maintenance"),
    Metric("permission_condition_errors_total", "counter", (), "decisions that a condition or policy which failed decided"),
    Metric("permission_cache_hits_total", "counter", ("layer",), "checks whose deepest layer was l1 or redis"),
    Metric("permission_cache_misses_total", "counter", (), "checks that reached the database"),
    Metric("permission_cache_penetration_total", "counter", (), "checks about an id no row names, stopped by the filter"),
    Metric("permission_cache_live_total", "counter", (), "checks evaluated in one database snapshot, past every cache"),
    Metric("permission_cache_stale_total", "counter", (), "checks answered under static grace"),
    Metric("permission_cache_resets_total", "counter", ("cause",), "times everything known of a realm was dropped"),
    Metric("permission_cache_entries", "gauge", ("kind",), "snapshots in memory"),
    Metric("permission_cache_age_seconds", "gauge", ("realm",), "since when the revision is not known to be the newest"),
    Metric("permission_cache_revision", "gauge", ("realm",), "revision this process has applied everything up to"),
    Metric("permission_cache_events_total", "counter", ("result",), "events by what became of them"),
    Metric("permission_cache_l2_rejected_total", "counter", ("cause",), "values of the second layer without proof"),
    Metric("permission_cache_l2_errors_total", "counter", (), "calls the second layer did not answer"),
    Metric("permission_cache_l2_writes_total", "counter", ("result",), "values for the second layer by what became of them"),
    Metric("permission_cache_prefetch_total", "counter", ("result",), "prefetched snapshots by whether a check used them"),
    Metric("permission_cache_warmup_ratio", "gauge", ("component",), "how far the warm-up of a component is, 0 to 1"),
    Metric("permission_decision_log_lines_total", "counter", ("result",), "decisions for the log by what became of them"),
    Metric("permission_cache_warmup_errors_total", "counter", ("component",), "faults of the warm-up by component"),
    Metric("permission_cache_fills_total", "counter", ("layer",), "snapshots brought into memory, by the layer they came from"),
    Metric("permission_cache_lock_waits_total", "counter", ("result",), "rebuild locks by what became of the wait for them"),
)


class Tally:
    """One thread's integers, which only it writes. By the deepest layer that had to answer, and by outcome.

    `filtered`: of those in memory, the ones about an id that is known to be unknown.
    """

    __slots__ = ("allowed", "db", "filtered", "l1", "live", "redis", "stale")

    def __init__(self) -> None:
        self.l1 = self.redis = self.db = self.live = self.filtered = self.stale = self.allowed = 0
        with _lock:
            _all.append(self)


_lock = threading.Lock()
# A tally outlives its thread, so that what the thread counted is never forgotten.
_all: list[Tally] = []


def totals() -> dict[str, int]:
    """Decisions of this process since its start, by the deepest layer reached and by outcome."""
    with _lock:
        held = list(_all)
    total = {name: sum(getattr(tally, name) for tally in held) for name in Tally.__slots__}
    total["denied"] = total["l1"] + total["redis"] + total["db"] + total["live"] - total["allowed"]
    return total


def _samples() -> Iterator[Sample]:
    total = totals()
    yield "permission_checks_total", ("allowed",), total["allowed"]
    yield "permission_checks_total", ("denied",), total["denied"]
    yield "permission_cache_hits_total", ("l1",), total["l1"]
    yield "permission_cache_hits_total", ("redis",), total["redis"]
    yield "permission_cache_misses_total", (), total["db"]
    yield "permission_cache_penetration_total", (), total["filtered"]
    yield "permission_cache_live_total", (), total["live"]
    yield "permission_cache_stale_total", (), total["stale"]


def declare() -> None:
    """Once, at the app's start."""
    telemetry.declare(EVENTS, METRICS)
    telemetry.add_source(_samples)
