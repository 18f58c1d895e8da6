"""/api/v1/system/limits: what each rule admits and refuses, one key's allowance, overrides, resets, shadow."""

from __future__ import annotations

from typing import Any, Final

from rest_framework.request import Request as HttpRequest
from rest_framework.response import Response

from controlplane.api.base import version_headers
from controlplane.api.boards import ANSWERED, BoardView
from controlplane.api.config import EXPECTED
from controlplane.services import boards
from controlplane.services import limits as service
from permissions.api.base import REASON
from permissions.api.openapi import Operation, parameter, ref
from permissions.api.problems import BadRequest

TAG: Final = "limits"
RULE: Final = parameter("rule", "A rule's name.", {"type": "string"}, where="path")
INSPECTED: Final = ("key", "cost")


class LimitsView(BoardView):
    def get(self, request: HttpRequest) -> Response:
        lines, version = service.limits(actor=self.actor), service.version()
        body = {"store": boards.store_line(), "process": boards.this_process(), "version": version, "results": lines}
        return Response(body, headers=version_headers(version))

    def operations(self) -> dict[str, Operation]:
        about = (
            f"Keys are in clear for those who may operate, hashed for others. Counts are since the processes started. {ANSWERED}"
        )
        return {"GET": Operation("limits", "Every rate limit", TAG, ref("Limits"), about=about, realm=False)}


class LimitView(BoardView):
    def get(self, request: HttpRequest, rule: str) -> Response:
        return Response(service.limit_one(rule, actor=self.actor), headers=version_headers(service.version()))

    def operations(self) -> dict[str, Operation]:
        return {
            "GET": Operation("limit", "One rate limit", TAG, ref("Limit"), realm=False, problems=(404,), parameters=(RULE,)),
        }


class InspectView(BoardView):
    def parameters_of(self, method: str) -> tuple[str, ...]:
        return INSPECTED

    def get(self, request: HttpRequest, rule: str) -> Response:
        found = service.limit_inspect(rule, actor=self.actor, key=self.query.get("key"), cost=self._cost())
        return Response(found)

    def _cost(self) -> int:
        text = self.query.get("cost", "1")
        if not (text.isascii() and text.isdecimal() and len(text) < 19):
            raise BadRequest("must be a whole number, at least 1", "cost")
        return int(text)

    def operations(self) -> dict[str, Operation]:
        return {
            "GET": Operation(
                "limit_inspect",
                "What the next call of one key would be answered; changes nothing",
                TAG,
                ref("LimitVerdict"),
                realm=False,
                problems=(404,),
                parameters=(
                    RULE,
                    parameter("key", "As callers name it.", {"type": "string", "minLength": 1, "maxLength": 200}),
                    parameter("cost", "Of that call; 1 where it is left out.", {"type": "integer", "minimum": 1}),
                ),
            )
        }


class OverrideView(BoardView):
    def post(self, request: HttpRequest, rule: str) -> Response:
        data = self.fields(request.data, ("key", "limit", "until", "for_s", REASON), ("key", "limit"))
        asked: dict[str, Any] = {name: data.get(name) for name in ("key", "limit", "until", "for_s")}
        end = self.doing(
            lambda: service.limit_override(
                rule,
                actor=self.actor,
                reason=self.why(data),
                expected=self.expected(),
                request_id=self.request_id,
                **asked,
            )
        )
        version = service.version()
        body = {"rule": rule, "key": data["key"], "limit": data["limit"], "until": end, "version": version}
        return Response(body, headers=version_headers(version))

    def operations(self) -> dict[str, Operation]:
        return {
            "POST": Operation(
                "limit_override",
                "Give one key a limit of its own until a time",
                TAG,
                ref("Overridden"),
                body=ref("Override"),
                about="In all processes. Without an end: for an hour; never longer than 30 days. `limit` null ends it.",
                realm=False,
                problems=(404,),
                parameters=(RULE, EXPECTED),
            )
        }


class ResetView(BoardView):
    def post(self, request: HttpRequest, rule: str) -> Response:
        data = self.fields(request.data, ("key", REASON), ("key",))
        self.doing(
            lambda: service.limit_reset(
                rule, actor=self.actor, key=data["key"], reason=self.why(data), request_id=self.request_id
            )
        )
        return Response(service.limit_inspect(rule, actor=self.actor, key=data["key"]))

    def operations(self) -> dict[str, Operation]:
        return {
            "POST": Operation(
                "limit_reset",
                "Make a key as if it had never been used",
                TAG,
                ref("LimitVerdict"),
                body=ref("KeyBecause"),
                realm=False,
                problems=(404,),
                parameters=(RULE,),
            )
        }


class ShadowView(BoardView):
    def post(self, request: HttpRequest, rule: str) -> Response:
        data = self.fields(request.data, ("on", REASON), ("on",))
        self.doing(
            lambda: service.limit_shadow(
                rule,
                actor=self.actor,
                on=data["on"],
                reason=self.why(data),
                expected=self.expected(),
                request_id=self.request_id,
            )
        )
        return Response(service.limit_one(rule, actor=self.actor), headers=version_headers(service.version()))

    def operations(self) -> dict[str, Operation]:
        return {
            "POST": Operation(
                "limit_shadow",
                "Let a rule only watch, or refuse in earnest again",
                TAG,
                ref("Limit"),
                body=ref("Shadow"),
                realm=False,
                problems=(404,),
                parameters=(RULE, EXPECTED),
            )
        }
