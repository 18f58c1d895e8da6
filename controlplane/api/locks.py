"""/api/v1/system/locks: who holds which lock, and taking it from them."""

from __future__ import annotations

from typing import Final

from rest_framework.request import Request as HttpRequest
from rest_framework.response import Response

from controlplane.api.boards import ANSWERED, NAME, BoardView
from controlplane.services import boards
from controlplane.services import holds as service
from permissions.api.base import REASON
from permissions.api.openapi import Operation, parameter, ref

TAG: Final = "resilience"
ASKED: Final = "name"


class LocksView(BoardView):
    def parameters_of(self, method: str) -> tuple[str, ...]:
        return (ASKED,)

    def get(self, request: HttpRequest) -> Response:
        name = self.query.get(ASKED) if ASKED in self.query else None
        lines = service.locks(actor=self.actor) if name is None else [service.lock_one(name, actor=self.actor)]
        return Response({"store": boards.store_line(), "process": boards.this_process(), "results": lines})

    def operations(self) -> dict[str, Operation]:
        about = (
            "Those that any process says it holds, and those of the caches. A store keeps no list of its locks: any other is "
            f"asked for by its name. {ANSWERED}"
        )
        named = parameter(ASKED, "Only this lock, whether it is listed or not.", {"type": "string", "maxLength": 100})
        return {"GET": Operation("locks", "Locks", TAG, ref("Locks"), about=about, realm=False, parameters=(named,))}


class BreakView(BoardView):
    def post(self, request: HttpRequest, name: str) -> Response:
        data = self.fields(request.data, (REASON,))
        line = self.doing(lambda: service.lock_break(name, actor=self.actor, reason=self.why(data), request_id=self.request_id))
        return Response(line)

    def operations(self) -> dict[str, Operation]:
        return {
            "POST": Operation(
                "lock_break",
                "Take a lock from whoever holds it",
                TAG,
                ref("Lock"),
                body=ref("Because"),
                about="They find out at their next renewal; what they still write is refused once another holds it, for its "
                "fence is higher. 404 where nobody holds it.",
                realm=False,
                problems=(404,),
                parameters=(NAME,),
            )
        }
