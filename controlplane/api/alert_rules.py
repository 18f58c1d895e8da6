"""/api/v1/system/alert-rules and alert-handlers: what is told of, to whom; tried before it is relied upon."""

from __future__ import annotations

from typing import Any, Final

from rest_framework.request import Request as HttpRequest
from rest_framework.response import Response

from controlplane.alerts import handling
from controlplane.api.alerts import TAG, AlertView
from controlplane.api.base import version_headers
from controlplane.api.config import EXPECTED
from controlplane.models import AlertDelivery
from controlplane.services import alert_rules as service
from controlplane.services import alerts
from controlplane.services.alert_input import RULE_FIELDS
from controlplane.services.alert_lines import delivery_line, rule_line
from permissions.api.base import REASON
from permissions.api.openapi import Operation, parameter, ref
from permissions.errors import Invalid, Problem

RULE: Final = parameter("name", "The rule's name.", {"type": "string"}, "path")
HANDLER: Final = parameter("name", "The handler's name.", {"type": "string"}, "path")


class RulesView(AlertView):
    def parameters_of(self, method: str) -> tuple[str, ...]:
        return () if method == "GET" else (REASON,)

    def get(self, request: HttpRequest) -> Response:
        last = alerts.last_round(actor=self.actor)
        return Response({"results": [rule_line(row, last) for row in service.rules(actor=self.actor)]})

    def post(self, request: HttpRequest) -> Response:
        data = self.fields(request.data, (*RULE_FIELDS, REASON), ("name", "expr"))
        row = service.rule_create(actor=self.actor, data=_rest(data), reason=self.why(data), request_id=self.request_id)
        return Response(rule_line(row, None), status=201, headers=version_headers(row.version))

    def operations(self) -> dict[str, Operation]:
        return {
            "GET": Operation("alert_rules", "Every rule, and what it answered last", TAG, ref("AlertRules"), realm=False),
            "POST": Operation(
                "alert_rule_create", "Add a rule", TAG, ref("AlertRule"), 201, body=ref("AlertRuleInput"), realm=False
            ),
        }


class RuleView(AlertView):
    def parameters_of(self, method: str) -> tuple[str, ...]:
        return () if method == "GET" else (REASON,)

    def get(self, request: HttpRequest, name: str) -> Response:
        row = service.rule_one(name, actor=self.actor)
        return Response(rule_line(row, alerts.last_round(actor=self.actor)), headers=version_headers(row.version))

    def put(self, request: HttpRequest, name: str) -> Response:
        expected = self.expected()
        data = self.fields(request.data, (*RULE_FIELDS, REASON), ("expr",))
        row = service.rule_change(
            name,
            actor=self.actor,
            data=_rest(data),
            reason=self.why(data),
            expected=expected,
            request_id=self.request_id,
        )
        return Response(rule_line(row, None), headers=version_headers(row.version))

    def delete(self, request: HttpRequest, name: str) -> Response:
        service.rule_delete(name, actor=self.actor, reason=self.reason, expected=self.expected(), request_id=self.request_id)
        return Response(status=204)

    def operations(self) -> dict[str, Operation]:
        return {
            "GET": Operation("alert_rule", "One rule", TAG, ref("AlertRule"), realm=False, problems=(404,), parameters=(RULE,)),
            "PUT": Operation(
                "alert_rule_replace",
                "Replace a rule",
                TAG,
                ref("AlertRule"),
                body=ref("AlertRuleInput"),
                about="What is left out is as by default. A rule that fires goes on firing if it still holds.",
                realm=False,
                problems=(404,),
                parameters=(RULE, EXPECTED),
            ),
            "DELETE": Operation(
                "alert_rule_delete",
                "Remove a rule",
                TAG,
                None,
                204,
                about="One that comes with permsite is switched off instead. `reason` stands in the query.",
                realm=False,
                problems=(404,),
                parameters=(RULE, EXPECTED, parameter(REASON, "Why; kept in the audit.", {"type": "string"})),
            ),
        }


class ValidateView(AlertView):
    """A POST that changes nothing; the rule need not exist yet."""

    def post(self, request: HttpRequest, name: str) -> Response:
        data = self.fields(request.data, ("expr", REASON), ("expr",))
        found = service.rule_try(actor=self.actor, expr=data["expr"])
        errors = [{"where": problem.where, "message": problem.message} for problem in found["errors"]]
        return Response({**found, "errors": errors})

    def operations(self) -> dict[str, Operation]:
        return {
            "POST": Operation(
                "alert_rule_validate",
                "Would this expression be taken, and what would it answer now?",
                TAG,
                ref("AlertTried"),
                body=ref("AlertExpression"),
                realm=False,
                parameters=(RULE,),
            )
        }


class TestFireView(AlertView):
    __test__ = False

    def post(self, request: HttpRequest, name: str) -> Response:
        why = self.why(self.fields(request.data, (REASON,)))
        told = handling.rule_test_fire(name, actor=self.actor, reason=why, request_id=self.request_id)
        rows = AlertDelivery.objects.filter(incident=told[0].incident).order_by("pk") if told else []
        return Response({"results": [delivery_line(row) for row in rows]})

    def operations(self) -> dict[str, Operation]:
        return {
            "POST": Operation(
                "alert_rule_test_fire",
                "Tell the rule's handlers that this is a test",
                TAG,
                ref("AlertTested"),
                body=ref("AlertReason"),
                about="One attempt each, answered with what became of it. It makes no incident.",
                realm=False,
                problems=(404,),
                parameters=(RULE,),
            )
        }


class HandlersView(AlertView):
    def parameters_of(self, method: str) -> tuple[str, ...]:
        return () if method == "GET" else (REASON,)

    def get(self, request: HttpRequest) -> Response:
        return Response({"results": [handling.shown(row) for row in handling.every(actor=self.actor)]})

    def post(self, request: HttpRequest) -> Response:
        data = self.fields(request.data, (*handling.FIELDS, REASON), ("name", "kind"))
        row, key = handling.handler_create(actor=self.actor, data=_rest(data), reason=self.why(data), request_id=self.request_id)
        return Response({**handling.shown(row), "key": key or None}, status=201, headers=version_headers(row.version))

    def operations(self) -> dict[str, Operation]:
        return {
            "GET": Operation("alert_handlers", "Who is told", TAG, ref("AlertHandlers"), realm=False),
            "POST": Operation(
                "alert_handler_create",
                "Add a handler",
                TAG,
                ref("AlertHandlerKeyed"),
                201,
                body=ref("AlertHandlerInput"),
                about="`key` signs what a webhook sends. It is answered here and never again.",
                realm=False,
            ),
        }


class HandlerView(AlertView):
    def parameters_of(self, method: str) -> tuple[str, ...]:
        return () if method == "GET" else (REASON,)

    def get(self, request: HttpRequest, name: str) -> Response:
        row = handling.one(name, actor=self.actor)
        return Response(handling.shown(row), headers=version_headers(row.version))

    def put(self, request: HttpRequest, name: str) -> Response:
        expected = self.expected()
        data = self.fields(request.data, (*handling.FIELDS, REASON))
        row = handling.handler_change(
            name,
            actor=self.actor,
            data=_rest(data),
            reason=self.why(data),
            expected=expected,
            request_id=self.request_id,
        )
        return Response(handling.shown(row), headers=version_headers(row.version))

    def delete(self, request: HttpRequest, name: str) -> Response:
        handling.handler_delete(name, actor=self.actor, reason=self.reason, expected=self.expected(), request_id=self.request_id)
        return Response(status=204)

    def operations(self) -> dict[str, Operation]:
        return {
            "GET": Operation(
                "alert_handler", "One handler", TAG, ref("AlertHandler"), realm=False, problems=(404,), parameters=(HANDLER,)
            ),
            "PUT": Operation(
                "alert_handler_replace",
                "Replace a handler's settings",
                TAG,
                ref("AlertHandler"),
                body=ref("AlertHandlerInput"),
                about="Name, kind and key stay. The address of a webhook stays, too, where it is left out.",
                realm=False,
                problems=(404,),
                parameters=(HANDLER, EXPECTED),
            ),
            "DELETE": Operation(
                "alert_handler_delete",
                "Remove a handler",
                TAG,
                None,
                204,
                about="Not one that rules name. `reason` stands in the query.",
                realm=False,
                problems=(404,),
                parameters=(HANDLER, EXPECTED, parameter(REASON, "Why; kept in the audit.", {"type": "string"})),
            ),
        }


class RekeyView(AlertView):
    def post(self, request: HttpRequest, name: str) -> Response:
        expected = self.expected()
        why = self.why(self.fields(request.data, (REASON,)))
        row, key = handling.handler_rekey(name, actor=self.actor, reason=why, expected=expected, request_id=self.request_id)
        return Response({**handling.shown(row), "key": key}, headers=version_headers(row.version))

    def operations(self) -> dict[str, Operation]:
        return {
            "POST": Operation(
                "alert_handler_rekey",
                "Sign with another key from now on",
                TAG,
                ref("AlertHandlerKeyed"),
                body=ref("AlertReason"),
                realm=False,
                problems=(404,),
                parameters=(HANDLER, EXPECTED),
            )
        }


def _rest(data: Any) -> dict[str, Any]:
    found = {name: value for name, value in data.items() if name != REASON}
    if any(not isinstance(name, str) for name in found):
        raise Invalid([Problem("", "names must be texts")])
    return found
