"""What the whole site has in common, from the leader's last frame: the same in every instance, so dashboards take the maximum."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from controlplane.collector.slots import Series
from controlplane.live.hub import HUB

# Figure of the frame, metric, labels, factor. A figure nobody knows is left out: never zero for unknown.
ROWS: Final[tuple[tuple[str, str, tuple[str, ...], float], ...]] = (
    ("nodes", "permsite_nodes", (), 1),
    ("open_breakers", "permsite_breakers_open", (), 1),
    ("forced_breakers", "permsite_breakers_forced", (), 1),
    ("firing", "permsite_alerts_firing", (), 1),
    ("pending", "permsite_alerts_pending", (), 1),
    ("age_s", "permsite_age_seconds", (), 1),
    ("revision_lag", "permsite_revision_lag", (), 1),
    ("config_behind", "permsite_config_behind", (), 1),
    ("maintenance_open_ended", "permsite_maintenance_open_ended", (), 1),
    ("checks_per_s", "permsite_checks_per_second", (), 1),
    ("deny_share", "permsite_denied_ratio", (), 1),
    ("hit_rate", "permsite_cache_hit_ratio", (), 1),
    ("p50_ms", "permsite_latency_seconds", ("0.5",), 0.001),
    ("p95_ms", "permsite_latency_seconds", ("0.95",), 0.001),
    ("p99_ms", "permsite_latency_seconds", ("0.99",), 0.001),
)
STATES: Final = {"ok": 0.0, "degraded": 1.0, "down": 2.0}
# Seconds after which a frame is no longer news of now; a page greys its numbers then.
STALE_S: Final = 3.0


def figures() -> dict[Series, float]:
    """Of the newest frame. Raises LookupError where there has been none yet."""
    frame, age_s = HUB.frame(), HUB.frame_age_s()
    if frame is None or age_s is None:
        raise LookupError("no frame yet")
    return of_frame(frame, age_s)


def of_frame(frame: Mapping[str, Any], age_s: float) -> dict[Series, float]:
    """An old frame tells its age, and that nobody leads; the rest of it would be taken for now."""
    is_fresh = age_s <= STALE_S
    found: dict[Series, float] = {("permsite_frame_age_seconds", ()): age_s, ("permsite_led", ()): float(is_fresh)}
    if not is_fresh:
        return found
    if frame.get("state") in STATES:
        found["permsite_state", ()] = STATES[frame["state"]]
    for name, metric, labels, factor in ROWS:
        value = frame.get(name)
        if isinstance(value, int | float):
            found[metric, labels] = float(value) * factor
    return found
