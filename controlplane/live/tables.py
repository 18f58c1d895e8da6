"""What a beat carries for the boards besides its sums: counters by all their labels, and the locks this process holds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from resilience import telemetry
from resilience.lock_base import Held
from resilience.renewal import live

# Counters whose names a board lists. A name has no mark of `MARK`, and where it had, the other labels stand behind the last ones.
TABLES: Final = (
    "resilience_rate_limiter_decisions_total",
    "resilience_circuit_breaker_calls_total",
    "resilience_bulkhead_refused_total",
    "resilience_fallback_total",
    "resilience_retry_total",
    "resilience_timeout_total",
    "resilience_storage_errors_total",
    "permission_cache_l2_writes_total",
    "permission_cache_l2_rejected_total",
    "permission_cache_resets_total",
)
MARK: Final = "|"
# Rows of one counter in a beat, the largest first; names are a closed set, and still somebody's hundred.
ROWS: Final = 300
LOCKS: Final = 50


def tables(collected: Mapping[str, Mapping[telemetry.Labels, float]]) -> dict[str, dict[str, float]]:
    found = {}
    for name in TABLES:
        rows = sorted(collected.get(name, {}).items(), key=lambda row: -row[1])[:ROWS]
        if rows:
            found[name] = {MARK.join(labels): value for labels, value in rows}
    return found


def labels_of(name: str, text: str) -> telemetry.Labels:
    """The labels of one row, as `tables` has joined them."""
    metric = telemetry.METRICS.get(name)
    return tuple(text.rsplit(MARK, len(metric.labels) - 1)) if metric is not None and metric.labels else ()


def locks() -> list[str]:
    """Names of the locks this process holds."""
    return sorted({held.name for held in held_locks()})[:LOCKS]


def held_locks() -> list[Held]:
    return [hold for hold in live() if isinstance(hold, Held) and not hold.over and not hold.lost]


def figures(collected: Mapping[str, Any]) -> dict[str, Any]:
    """For the beat."""
    return {"tables": tables(collected), "locks": locks()}
