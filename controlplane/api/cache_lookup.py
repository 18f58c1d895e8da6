"""/api/v1/system/cache, /cache/subject: what the layers answer and hold, and what they hold of one id."""

from __future__ import annotations

from typing import Final

from rest_framework.request import Request as HttpRequest
from rest_framework.response import Response

from controlplane.api.boards import ANSWERED, BoardView
from controlplane.services import cache_board as service
from permissions.api.openapi import Operation, parameter, ref
from permissions.api.problems import BadRequest

TAG: Final = "cache"
REALM: Final = "realm"


class CacheView(BoardView):
    def get(self, request: HttpRequest) -> Response:
        return Response(service.cache_state(actor=self.actor))

    def operations(self) -> dict[str, Operation]:
        about = f"Counts are since the processes started. Filters and habits are those of the process that answers. {ANSWERED}"
        return {
            "GET": Operation("cache_state", "What the caches hold and answer", TAG, ref("CacheState"), about=about, realm=False)
        }


class HoldingsView(BoardView):
    def parameters_of(self, method: str) -> tuple[str, ...]:
        return (*service.KINDS, REALM)

    def get(self, request: HttpRequest) -> Response:
        named = [kind for kind in service.KINDS if kind in self.query]
        if len(named) != 1:
            raise BadRequest(f"name one: {' or '.join(service.KINDS)}")
        realm = self.query.get(REALM) if REALM in self.query else None
        found = service.cache_subject(actor=self.actor, ref=self.query.get(named[0]), kind=named[0], realm=realm)
        return Response(found)

    def operations(self) -> dict[str, Operation]:
        text = {"type": "string", "maxLength": 512}
        return {
            "GET": Operation(
                "cache_subject",
                "What memory and Redis hold of one subject or resource",
                TAG,
                ref("CacheHoldings"),
                about="Of the memory of the process that answers, and of the second layer that all share. Changes nothing, and "
                "counts as no use. Another realm needs the right there, too.",
                realm=False,
                problems=(404,),
                parameters=(
                    parameter("subject", "Its id; or a resource's.", text),
                    parameter("resource", "Its id; or a subject's.", text),
                    parameter(REALM, "The control plane's own where it is left out.", {"type": "string"}),
                ),
            )
        }
