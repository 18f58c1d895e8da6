"""The shapes of alerts in the OpenAPI document."""

from __future__ import annotations

from typing import Any, Final

from controlplane.models.alerts import NOTICES, OUTCOMES, SEVERITIES, STATES
from permissions.api import components
from permissions.api.components import Schema, ref

_TEXT: Final[Schema] = {"type": "string"}
_FLAG: Final[Schema] = {"type": "boolean"}
_COUNT: Final[Schema] = {"type": "integer", "minimum": 0}
_AT: Final[Schema] = {"type": ["string", "null"], "format": "date-time"}
_SECONDS: Final[Schema] = {"type": ["number", "null"]}
_LABELS: Final[Schema] = {"type": "object", "additionalProperties": _TEXT}
_VALUES: Final[Schema] = {
    "type": "object",
    "additionalProperties": {"type": ["number", "boolean", "string", "null"]},
    "description": "The figures the expression names; null: unknown.",
}
_NEXT: Final[Schema] = {"type": ["integer", "null"], "description": "For the next page; null on the last one."}
_REASON: Final[Schema] = {**_TEXT, "minLength": 1, "maxLength": 1000, "description": "Why; kept in the audit."}


def _object(properties: Schema, required: tuple[str, ...] | None = None, **more: Any) -> Schema:
    return {"type": "object", "properties": properties, "required": list(properties if required is None else required), **more}


def _list(item: Schema) -> Schema:
    return {"type": "array", "items": item}


def _input(properties: Schema, *required: str) -> Schema:
    return _object({**properties, "reason": _REASON}, required, additionalProperties=False)


def shapes() -> dict[str, Schema]:
    severity = {**_TEXT, "enum": list(SEVERITIES)}
    rule: Schema = {
        "name": {**_TEXT, "maxLength": 60},
        "expr": {**_TEXT, "maxLength": 1024, "description": "CEL over f, f1m, f5m and f15m."},
        "for_s": {"type": "number", "minimum": 0, "maximum": 86_400},
        "severity": severity,
        "labels": _LABELS,
        "handlers": {**_list(_TEXT), "description": "None: every handler that is on by default."},
        "text_en": {**_TEXT, "maxLength": 500},
        "text_zh": {**_TEXT, "maxLength": 500},
        "repeat_s": {**_SECONDS, "minimum": 60, "maximum": 604_800, "description": "null: as the section alerts says."},
        "enabled": _FLAG,
    }
    versioned: Schema = {"version": _COUNT, "updated_at": _AT, "updated_by": _TEXT}
    handler: Schema = {
        "name": {**_TEXT, "maxLength": 60},
        "kind": {**_TEXT, "description": "log, event, webhook, email, or one of the site's own."},
        "options": {"type": "object", "additionalProperties": True, "description": "webhook: url; email: to."},
        "enabled": _FLAG,
        "default": {**_FLAG, "description": "Told by every rule that names no handler."},
    }
    handler_line: Schema = {**handler, **versioned, "failing_since": _AT, "last_error": _TEXT, "last_sent_at": _AT}
    acknowledged: Schema = {"oneOf": [_object({"at": _AT, "by": _TEXT, "reason": _TEXT}), {"type": "null"}]}
    incident: Schema = {
        **dict.fromkeys(("key", "rule", "expr", "detail"), _TEXT),
        "labels": _LABELS,
        "severity": severity,
        "state": {**_TEXT, "enum": list(STATES)},
        "silenced": _FLAG,
        "values": _VALUES,
        **dict.fromkeys(("pending_at", "fired_at", "resolved_at", "told_at"), _AT),
        "notices": _COUNT,
        "acknowledged": acknowledged,
    }
    delivery = _object(
        {
            **dict.fromkeys(("incident", "rule", "handler", "error"), _TEXT),
            "notice": {**_TEXT, "enum": list(NOTICES)},
            "number": _COUNT,
            "outcome": {**_TEXT, "enum": list(OUTCOMES)},
            "attempts": _COUNT,
            "at": _AT,
            "ended_at": _AT,
        }
    )
    silence = _object({"rule": _TEXT, "labels": _LABELS, "author": _TEXT, "reason": _TEXT, "created_at": _AT, "until": _AT})
    problem = _object({"where": _TEXT, "message": _TEXT})
    result: Schema = {"type": ["string", "null"], "enum": ["true", "false", "no_data", "error", None]}
    evaluated = _object({"at": _AT, "late": {**_FLAG, "description": "Nobody has evaluated for 30 s."}})
    return {
        "Alert": _object(incident),
        "AlertWhole": _object({**incident, "deliveries": _list(ref("AlertDelivery"))}),
        "Alerts": _object({"evaluated": evaluated, "results": _list(ref("Alert")), "before": _NEXT}),
        "AlertDelivery": delivery,
        "AlertDeliveries": _object({"results": _list(ref("AlertDelivery")), "before": _NEXT}),
        "AlertSilence": silence,
        "AlertSilences": _object({"results": _list(ref("AlertSilence"))}),
        "AlertSilenceInput": _input({"until": {**_TEXT, "format": "date-time"}, "for_s": {"type": "number", "maximum": 604_800}}),
        "AlertLifted": _object({"lifted": _COUNT}),
        "AlertReason": _input({}),
        "AlertRule": _object(
            {
                **rule,
                "shipped": _FLAG,
                **versioned,
                "result": result,
                "result_since": _AT,
                "values": _VALUES,
                "error": _TEXT,
            }
        ),
        "AlertRules": _object({"results": _list(ref("AlertRule"))}),
        "AlertRuleInput": _input(rule, "expr"),
        "AlertExpression": _input({"expr": rule["expr"]}, "expr"),
        "AlertTried": _object({"valid": _FLAG, "errors": _list(problem), "result": result, "values": _VALUES}),
        "AlertTested": _object({"results": _list(ref("AlertDelivery"))}),
        "AlertHandler": _object(handler_line),
        "AlertHandlers": _object({"results": _list(ref("AlertHandler"))}),
        "AlertHandlerKeyed": _object({**handler_line, "key": {"type": ["string", "null"], "description": "Never shown again."}}),
        "AlertHandlerInput": _input(handler),
    }


EXAMPLES: Final[dict[str, Schema]] = {
    "AlertReason": {"reason": "the provider knows, ticket 4711"},
    "AlertSilenceInput": {"for_s": 3600, "reason": "the store is being moved"},
    "AlertExpression": {"expr": "f5m.deny_share > 0.4 && f5m.checks_per_s > 1"},
    "AlertRuleInput": {
        "name": "many_denials",
        "expr": "f5m.deny_share > 0.4 && f5m.checks_per_s > 1",
        "for_s": 60,
        "severity": "warning",
        "text_en": "More than 40 % of the checks are denied.",
        "reason": "asked for by the help desk",
    },
    "AlertHandlerInput": {
        "name": "pager",
        "kind": "webhook",
        "options": {"url": "https://hooks.example.org/permsite"},
        "reason": "the team on call",
    },
}


def publish() -> None:
    """Into the document. permissions may not know this app, so this app tells it."""
    components.add(shapes(), EXAMPLES)
