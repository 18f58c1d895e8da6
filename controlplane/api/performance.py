"""/api/v1/system/performance: rates, percentiles and hit rates over a window, and the processes that are slowest."""

from __future__ import annotations

from typing import Any, Final

from rest_framework.request import Request as HttpRequest
from rest_framework.response import Response

from controlplane.api.base import ControlView
from controlplane.live import history
from controlplane.live.hub import HUB
from controlplane.live.port import LiveError
from controlplane.services.events import EventsAway
from controlplane.services.rights import VIEW, on_page, require
from permissions.api import components
from permissions.api.openapi import Operation, parameter, ref
from permissions.api.problems import BadRequest

TAG: Final = "control"
WINDOW: Final = "window"
SLOWEST: Final = 10
FIGURES: Final = (
    *("checks_per_s", "allowed_per_s", "denied_per_s", "errors_per_s", "deny_share", "requests_per_s"),
    *("p50_ms", "p95_ms", "p99_ms", "hit_rate", "hit_l1", "hit_redis", "misses_per_s", "penetration_per_s", "live_per_s"),
    *("invalidations_per_s", "l2_errors_per_s", "refused_per_s", "bulkhead_refused_per_s", "condition_errors_per_s"),
    *("internal_errors_per_s", "age_s", "loop_lag_ms", "rss_mb", "cpu_percent", "database_ms", "redis_ms"),
)
SHOWN: Final = (
    "id",
    "host",
    "pid",
    "kind",
    "checks_per_s",
    "age_s",
    "revision_lag",
    "loop_lag_ms",
    "rss_mb",
    "cpu_percent",
    "late",
)


class PerformanceView(ControlView):
    def parameters_of(self, method: str) -> tuple[str, ...]:
        return (WINDOW,)

    def get(self, request: HttpRequest) -> Response:
        require(self.actor, VIEW, on_page("overview"))
        name = self.query.get(WINDOW, "15m")
        if name not in history.WINDOWS:
            raise BadRequest(f"must be one of {', '.join(history.WINDOWS)}", WINDOW)
        try:
            found = history.window(name, FIGURES)
        except LiveError as error:
            raise EventsAway(f"the figures cannot be read: their store does not answer ({error})") from error
        return Response(
            {
                "window": name,
                "step_s": found["step_s"],
                "at": found["at"],
                "figures": {figure: found[figure] for figure in FIGURES},
                "means": {figure: _mean(found[figure]) for figure in FIGURES},
                "slowest": slowest(),
            }
        )

    def operations(self) -> dict[str, Operation]:
        words = ", ".join(history.WINDOWS)
        return {
            "GET": Operation(
                "system_performance",
                "Rates, percentiles and hit rates over a window",
                TAG,
                ref("SystemPerformance"),
                about="Frames of a second for `live` and `15m`, means of a minute, an hour or a day beyond. `at` and each figure "
                "have the same length; null is what nobody knew. `slowest`: the processes whose event loop or answers lag most.",
                realm=False,
                parameters=(parameter(WINDOW, f"One of {words}; 15m if none.", {"type": "string", "enum": [*history.WINDOWS]}),),
            )
        }


def slowest() -> list[dict[str, Any]]:
    """Those whose event loop comes latest, then those furthest behind."""
    found = sorted(HUB.nodes(), key=lambda node: (-(node.get("loop_lag_ms") or 0.0), -(node.get("age_s") or 0.0)))
    return [{name: node.get(name) for name in SHOWN} for node in found[:SLOWEST]]


def _mean(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return history.shortened(sum(known) / len(known)) if known else None


def publish() -> None:
    number = {"type": ["number", "null"]}
    column = {"type": "array", "items": number}
    components.add(
        {
            "SystemPerformance": {
                "type": "object",
                "required": ["window", "step_s", "at", "figures", "means", "slowest"],
                "properties": {
                    "window": {"type": "string"},
                    "step_s": {"type": "integer"},
                    "at": {"type": "array", "items": {"type": "number"}},
                    "figures": {"type": "object", "properties": dict.fromkeys(FIGURES, column)},
                    "means": {"type": "object", "properties": dict.fromkeys(FIGURES, number)},
                    "slowest": {"type": "array", "items": {"type": "object", "additionalProperties": True}},
                },
            }
        },
        {},
    )
