"""/api/v1/system/breakers: what each breaker measures, who holds it, and holding it."""

from __future__ import annotations

from typing import Any, ClassVar, Final

from rest_framework.request import Request as HttpRequest
from rest_framework.response import Response

from controlplane.api.boards import ANSWERED, NAME, BoardView
from controlplane.services import boards
from controlplane.services import breakers as service
from permissions.api.base import REASON
from permissions.api.openapi import Operation, ref

TAG: Final = "resilience"
FORCE_KEYS: Final = (REASON, "until", "for_s")


class BreakersView(BoardView):
    def get(self, request: HttpRequest) -> Response:
        lines = service.breakers(actor=self.actor)
        return Response({"store": boards.store_line(), "process": boards.this_process(), "results": lines})

    def operations(self) -> dict[str, Operation]:
        about = f"What is measured and what a person forces stand apart. {ANSWERED}"
        return {"GET": Operation("breakers", "Every circuit breaker", TAG, ref("Breakers"), about=about, realm=False)}


class BreakerView(BoardView):
    def get(self, request: HttpRequest, name: str) -> Response:
        return Response(service.breaker_one(name, actor=self.actor))

    def operations(self) -> dict[str, Operation]:
        return {
            "GET": Operation(
                "breaker", "One circuit breaker", TAG, ref("Breaker"), realm=False, problems=(404,), parameters=(NAME,)
            )
        }


class ForceView(BoardView):
    to: ClassVar[str] = "open"

    def post(self, request: HttpRequest, name: str) -> Response:
        data = self.fields(request.data, FORCE_KEYS)
        asked: dict[str, Any] = {"until": data.get("until"), "for_s": data.get("for_s")}
        line = self.doing(
            lambda: service.breaker_force(
                name, actor=self.actor, to=self.to, reason=self.why(data), request_id=self.request_id, **asked
            )
        )
        return Response(line)

    def operations(self) -> dict[str, Operation]:
        what = "Refuse every call" if self.to == "open" else "Admit every call"
        return {
            "POST": Operation(
                f"breaker_force_{self.to}",
                f"{what} of a breaker, in all processes, for a time",
                TAG,
                ref("Breaker"),
                body=ref("Force"),
                about="Without an end: for an hour; never longer than 30 days. What is measured goes on being measured. One that "
                "each process keeps for itself is held by way of the configuration, in every process within seconds.",
                realm=False,
                problems=(404,),
                parameters=(NAME,),
            )
        }


class ForceOpenView(ForceView):
    to = "open"


class ForceClosedView(ForceView):
    to = "closed"


class AutoView(BoardView):
    def post(self, request: HttpRequest, name: str) -> Response:
        data = self.fields(request.data, (REASON,))
        line = self.doing(lambda: service.breaker_auto(name, actor=self.actor, reason=self.why(data), request_id=self.request_id))
        return Response(line)

    def operations(self) -> dict[str, Operation]:
        return {
            "POST": Operation(
                "breaker_auto",
                "Let a breaker follow what it measures again",
                TAG,
                ref("Breaker"),
                body=ref("Because"),
                realm=False,
                problems=(404,),
                parameters=(NAME,),
            )
        }
