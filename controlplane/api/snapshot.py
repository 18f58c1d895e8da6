"""GET /api/v1/system/snapshot/<page>: what a control page shows, as data, for its script while no socket is to be had."""

from __future__ import annotations

import time
from typing import Final

from rest_framework.request import Request as HttpRequest
from rest_framework.response import Response

from controlplane.api.base import ControlView
from controlplane.live.hub import HUB
from controlplane.pages import every, find
from controlplane.pages.base import Look
from controlplane.pages.overview import instances
from controlplane.services import rights
from permissions.api import components
from permissions.api.openapi import Operation, parameter, ref
from permissions.errors import NotFound

TAG: Final = "control"


class SnapshotView(ControlView):
    """Takes the filters of the page's own link, so any parameter: a page reads those it knows."""

    def parameters_of(self, method: str) -> tuple[str, ...]:
        return tuple(self.request._request.GET)

    def get(self, request: HttpRequest, name: str) -> Response:
        page = find(name)
        if page is None:
            raise NotFound(f"there is no page {name[:60]!r}")
        look = Look(self.actor, page.name, request._request.GET)
        if not page.opens(look):
            rights.require(self.actor, page.view_code, rights.on_page(page.name))
        return Response(
            {
                "page": page.name,
                "at": time.time(),
                "frame": HUB.frame(),
                "frame_age_s": HUB.frame_age_s(),
                "nodes": instances(),
                "data": page.snapshot(look),
            }
        )

    def operations(self) -> dict[str, Operation]:
        return {
            "GET": Operation(
                "system_snapshot",
                "What a page of the control plane shows",
                TAG,
                ref("Snapshot"),
                about="The page's first paint as data, with the newest frame and how old it is. It needs what the page needs, "
                "and takes the filters of the page's link.",
                realm=False,
                problems=(404,),
                parameters=(parameter("name", "The page.", {"type": "string", "enum": [p.name for p in every()]}, "path"),),
            )
        }


def publish() -> None:
    """Into the document."""
    some = {"type": "object", "additionalProperties": True}
    maybe = {"type": ["object", "null"], "additionalProperties": True}
    components.add(
        {
            "Snapshot": {
                "type": "object",
                "properties": {
                    "page": {"type": "string"},
                    "at": {"type": "number", "description": "Seconds since the epoch."},
                    "frame": {**maybe, "description": "The newest frame; null: none has come yet."},
                    "frame_age_s": {"type": ["number", "null"]},
                    "nodes": {"type": "array", "items": some, "description": "The processes that tell of themselves."},
                    "data": {**some, "description": "What the page shows, in its own shape."},
                },
                "required": ["page", "at", "frame", "frame_age_s", "nodes", "data"],
            }
        },
        {},
    )
