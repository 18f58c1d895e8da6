"""/api/v1/system/status: how the site is, in one word and some counts."""

from __future__ import annotations

from typing import Any, Final

from django.conf import settings
from rest_framework.request import Request as HttpRequest
from rest_framework.response import Response

from controlplane.api.base import ControlView
from controlplane.live.hub import HUB
from controlplane.services.rights import VIEW, on_page, require
from permissions.api import components
from permissions.api.openapi import Operation, ref

TAG: Final = "control"
# Without a frame for so long nobody knows how the site is: old figures are told as old.
STALE_S: Final = 3.0
COUNTS: Final = (
    *("nodes", "checks_per_s", "errors_per_s", "deny_share", "p95_ms", "hit_rate", "open_breakers", "forced_breakers"),
    *("refused_per_s", "firing", "pending", "config_version", "config_behind", "revision_lag", "age_s", "sockets"),
    *("storage_up", "database_up", "maintenance", "leader"),
)


class StatusView(ControlView):
    def get(self, request: HttpRequest) -> Response:
        require(self.actor, VIEW, on_page("overview"))
        frame, age_s = HUB.frame(), HUB.frame_age_s()
        is_live = frame is not None and age_s is not None and age_s <= STALE_S
        body: dict[str, Any] = {
            "status": frame["state"] if frame is not None and is_live else "unknown",
            "live": is_live,
            "at": None if frame is None else frame["at"],
            "frame_age_s": None if age_s is None else round(age_s, 3),
            "version": settings.VERSION,
        }
        # What was is not what is: whoever wants the last that was known asks for the snapshot of a page.
        counts = {name: frame.get(name) if frame is not None and is_live else None for name in COUNTS}
        return Response({**body, **counts})

    def operations(self) -> dict[str, Operation]:
        return {
            "GET": Operation(
                "system_status",
                "How the site is, in one word",
                TAG,
                ref("SystemStatus"),
                about="`ok`, `degraded` (decisions are given, with less to lean on), `down`, or `unknown`: no frame came for "
                "three seconds, and no figure is shown then. A figure that nobody knows is null, never 0.",
                realm=False,
            )
        }


def publish() -> None:
    number = {"type": ["number", "null"]}
    words = {"maintenance": {"type": ["string", "null"]}, "leader": {"type": ["string", "null"]}}
    components.add(
        {
            "SystemStatus": {
                "type": "object",
                "required": ["status", "live"],
                "properties": {
                    "status": {"type": "string", "enum": ["ok", "degraded", "down", "unknown"]},
                    "live": {"type": "boolean"},
                    "at": number,
                    "frame_age_s": number,
                    "version": {"type": "string"},
                    **{name: words.get(name, number) for name in COUNTS},
                },
            }
        },
        {},
    )
