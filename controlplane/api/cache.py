"""/api/v1/system/cache: what memories hold, and making them forget it."""

from __future__ import annotations

from typing import Any, Final

from rest_framework.request import Request as HttpRequest
from rest_framework.response import Response

from controlplane.api.base import ControlView
from controlplane.services import cache as service
from controlplane.services.rights import control_realm
from permissions.api.base import REASON
from permissions.api.openapi import Operation, parameter, ref
from permissions.api.problems import BadRequest
from permissions.errors import Invalid, Problem
from permissions.revisions import HEADER

TAG: Final = "cache"
KEYS: Final = ("tag", "value", "realm", REASON)
COUNT: Final = "count"


class FlushView(ControlView):
    def parameters_of(self, method: str) -> tuple[str, ...]:
        return COUNT, REASON

    def post(self, request: HttpRequest) -> Response:
        only_count = self._only_count()
        data = self.fields(request.data, KEYS, ("tag",))
        reason = self.why(data)
        realm = data.get("realm", control_realm())
        if not isinstance(realm, str):
            raise Invalid([Problem("realm", f"must be a text, not {type(realm).__name__}")])
        asked: dict[str, Any] = {"actor": self.actor, "realm": realm, "tag": data["tag"], "value": data.get("value")}
        if only_count:
            return Response({"counted": service.flush_count(**asked).as_values()})
        done = service.flush_write(**asked, reason=reason, request_id=self.request_id)
        body = {"revision": done.revision, "token": done.token, "counted": done.counted.as_values()}
        return Response(body, status=202, headers={HEADER: done.token})

    def _only_count(self) -> bool:
        found = self.query.get(COUNT, "0")
        if found not in ("0", "1"):
            raise BadRequest("must be 0 or 1", COUNT)
        return found == "1"

    def operations(self) -> dict[str, Operation]:
        return {
            "POST": Operation(
                "cache_flush",
                "Make every process forget some of what it holds",
                TAG,
                ref("CacheFlushed"),
                status=202,
                body=ref("CacheFlush"),
                about="No answer is ever wrong for want of it. It is a revision of the realm: each process follows within half a "
                "second, at once with the token, and the audit keeps it.",
                writes=True,
                realm=False,
                problems=(404,),
                also=(200,),
                parameters=(parameter(COUNT, "1: count only, and answer 200.", {"type": "string", "enum": ["0", "1"]}),),
            )
        }
