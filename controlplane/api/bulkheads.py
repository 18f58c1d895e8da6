"""/api/v1/system/bulkheads: who is inside of how many, and letting nobody in for a while."""

from __future__ import annotations

from typing import Final

from rest_framework.request import Request as HttpRequest
from rest_framework.response import Response

from controlplane.api.boards import ANSWERED, NAME, BoardView
from controlplane.services import boards
from controlplane.services import holds as service
from permissions.api.base import REASON
from permissions.api.openapi import Operation, ref

TAG: Final = "resilience"


class BulkheadsView(BoardView):
    def get(self, request: HttpRequest) -> Response:
        lines = service.bulkheads(actor=self.actor)
        return Response({"store": boards.store_line(), "process": boards.this_process(), "results": lines})

    def operations(self) -> dict[str, Operation]:
        return {"GET": Operation("bulkheads", "Every bulkhead", TAG, ref("Bulkheads"), about=ANSWERED, realm=False)}


class DrainView(BoardView):
    def post(self, request: HttpRequest, name: str) -> Response:
        data = self.fields(request.data, (REASON, "for_s"))
        inside, line = self.doing(
            lambda: service.bulkhead_drain(
                name, actor=self.actor, reason=self.why(data), for_s=data.get("for_s"), request_id=self.request_id
            )
        )
        return Response({"inside": inside, "bulkhead": line})

    def operations(self) -> dict[str, Operation]:
        return {
            "POST": Operation(
                "bulkhead_drain",
                "Let nobody into a bulkhead for a while; who is inside finishes",
                TAG,
                ref("Drained"),
                body=ref("Drain"),
                about="For a minute where no time is given, a day at most; 0 ends a drain.",
                realm=False,
                problems=(404,),
                parameters=(NAME,),
            )
        }
