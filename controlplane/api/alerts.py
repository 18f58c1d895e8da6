"""/api/v1/system/alerts: incidents, acknowledging and silencing them, and what became of their notices."""

from __future__ import annotations

import datetime as dt
from typing import Any, ClassVar, Final

from django.db.models import Model, QuerySet
from django.utils import timezone
from rest_framework.request import Request as HttpRequest
from rest_framework.response import Response

from controlplane.api.base import ControlView
from controlplane.models.alerts import SEVERITIES
from controlplane.services import alerts as service
from controlplane.services.alert_lines import delivery_line, incident_line, round_line, silence_line
from permissions.api.base import REASON
from permissions.api.openapi import Operation, parameter, ref
from permissions.api.problems import BadRequest
from permissions.api.queries import MAX_PAGE, whole
from permissions.errors import Invalid, Problem

TAG: Final = "alerts"
PAGE: Final = 50
LONGEST_S: Final = 604_800
KEY: Final = parameter("key", "The incident's key, as its notices carry it.", {"type": "string"}, "path")
PAGING: Final = (
    parameter("limit", f"At most so many, {PAGE} where it is left out.", {"type": "integer"}),
    parameter("before", "Older than this one: the `before` of an answer.", {"type": "integer"}),
)


class AlertView(ControlView):
    def paged(self, rows: QuerySet[Any]) -> tuple[list[Any], int | None]:
        """A page by number, newest first, and the `before` of the next one."""
        limit, before = self._number("limit", PAGE), self._number("before", None)
        if limit is None or not 1 <= limit <= MAX_PAGE:
            raise BadRequest(f"must lie between 1 and {MAX_PAGE}", "limit")
        if before is not None:
            rows = rows.filter(pk__lt=before)
        found: list[Model] = list(rows[: limit + 1])
        return found[:limit], found[limit - 1].pk if len(found) > limit else None

    def _number(self, name: str, default: int | None) -> int | None:
        if name not in self.query:
            return default
        try:
            return whole(self.query.get(name))
        except ValueError as error:
            raise BadRequest(str(error), name) from error


class AlertsView(AlertView):
    def parameters_of(self, method: str) -> tuple[str, ...]:
        return "state", "rule", "severity", "limit", "before"

    def get(self, request: HttpRequest) -> Response:
        asked = {name: self.query.get(name) for name in ("state", "rule", "severity")}
        if asked["severity"] and asked["severity"] not in SEVERITIES:
            raise BadRequest(f"must be one of {', '.join(SEVERITIES)}", "severity")
        rows, before = self.paged(service.incidents(actor=self.actor, **asked))
        last = service.last_round(actor=self.actor)
        return Response({"evaluated": round_line(last), "results": [incident_line(row) for row in rows], "before": before})

    def operations(self) -> dict[str, Operation]:
        return {
            "GET": Operation(
                "alerts",
                "Incidents: firing, pending, silenced, resolved",
                TAG,
                ref("Alerts"),
                realm=False,
                parameters=(
                    parameter("state", "Only those; `open`: firing or pending.", {"enum": [*service.STATES, "open"]}),
                    parameter("rule", "Only of this rule.", {"type": "string"}),
                    parameter("severity", "Only these.", {"enum": list(SEVERITIES)}),
                    *PAGING,
                ),
            )
        }


class AlertOneView(AlertView):
    def get(self, request: HttpRequest, key: str) -> Response:
        row = service.incident_one(key, actor=self.actor)
        sent = service.deliveries(actor=self.actor, incident=key)[:MAX_PAGE]
        return Response({**incident_line(row), "deliveries": [delivery_line(each) for each in sent]})

    def operations(self) -> dict[str, Operation]:
        about = "With every notice of it, and what became of each."
        return {
            "GET": Operation(
                "alert", "One incident", TAG, ref("AlertWhole"), about=about, realm=False, problems=(404,), parameters=(KEY,)
            )
        }


class AcknowledgeView(AlertView):
    def post(self, request: HttpRequest, key: str) -> Response:
        why = self.why(self.fields(request.data, (REASON,)))
        row = service.incident_acknowledge(key, actor=self.actor, reason=why, request_id=self.request_id)
        return Response(incident_line(row))

    def operations(self) -> dict[str, Operation]:
        about = "It stays visible and is repeated no more; its end is told."
        return {"POST": _act("alert_acknowledge", "Say that one knows of it", ref("Alert"), ref("AlertReason"), about)}


class SilenceView(AlertView):
    """Of an incident, or of a rule: the same act. `until`, or `for_s` from now."""

    of: ClassVar[str] = "alert"

    def post(self, request: HttpRequest, key: str = "", name: str = "") -> Response:
        data = self.fields(request.data, ("until", "for_s", REASON))
        asked: dict[str, Any] = {
            "actor": self.actor,
            "until": until_of(data),
            "reason": self.why(data),
            "request_id": self.request_id,
        }
        row = service.incident_silence(key, **asked) if self.of == "alert" else service.rule_silence(name, **asked)
        return Response(silence_line(row))

    def operations(self) -> dict[str, Operation]:
        about = "Its rule with its labels is told of no more until then, at most 7 days. It goes on being evaluated and shown."
        return {
            "POST": _act(
                f"{self.of}_silence", "Silence it until a time", ref("AlertSilence"), ref("AlertSilenceInput"), about, of=self.of
            )
        }


class UnsilenceView(AlertView):
    of: ClassVar[str] = "alert"

    def post(self, request: HttpRequest, key: str = "", name: str = "") -> Response:
        why = self.why(self.fields(request.data, (REASON,)))
        asked: dict[str, Any] = {"actor": self.actor, "reason": why, "request_id": self.request_id}
        lifted = service.incident_unsilence(key, **asked) if self.of == "alert" else service.rule_unsilence(name, **asked)
        return Response({"lifted": lifted})

    def operations(self) -> dict[str, Operation]:
        about = "What fires still is told with the next round."
        return {
            "POST": _act(f"{self.of}_unsilence", "End its silence", ref("AlertLifted"), ref("AlertReason"), about, of=self.of)
        }


class SilencesView(AlertView):
    def parameters_of(self, method: str) -> tuple[str, ...]:
        return ()

    def get(self, request: HttpRequest) -> Response:
        return Response({"results": [silence_line(row) for row in service.silences(actor=self.actor)[:MAX_PAGE]]})

    def operations(self) -> dict[str, Operation]:
        return {"GET": Operation("alert_silences", "Silences in force", TAG, ref("AlertSilences"), realm=False)}


class DeliveriesView(AlertView):
    def parameters_of(self, method: str) -> tuple[str, ...]:
        return "handler", "limit", "before"

    def get(self, request: HttpRequest) -> Response:
        rows, before = self.paged(service.deliveries(actor=self.actor, handler=self.query.get("handler")))
        return Response({"results": [delivery_line(row) for row in rows], "before": before})

    def operations(self) -> dict[str, Operation]:
        return {
            "GET": Operation(
                "alert_deliveries",
                "Notices, and what became of each",
                TAG,
                ref("AlertDeliveries"),
                realm=False,
                parameters=(parameter("handler", "Only by this handler.", {"type": "string"}), *PAGING),
            )
        }


def _act(name: str, summary: str, answer: Any, body: Any, about: str, *, of: str = "alert") -> Operation:
    where = KEY if of == "alert" else parameter("name", "The rule's name.", {"type": "string"}, "path")
    return Operation(
        name, summary, TAG, answer, body=body, about=about, writes=False, realm=False, problems=(404,), parameters=(where,)
    )


def until_of(data: Any) -> object:
    """One of the two. Raises Invalid; the service judges the time."""
    for_s = data.get("for_s")
    if ("until" in data) == (for_s is not None):
        raise Invalid([Problem("until", "give either until or for_s: a silence needs an end")])
    if for_s is None:
        return data["until"]
    if isinstance(for_s, bool) or not isinstance(for_s, int | float) or not 0 < for_s <= LONGEST_S:
        raise Invalid([Problem("for_s", f"must be a number of seconds, at most {LONGEST_S}")])
    return timezone.now() + dt.timedelta(seconds=for_s)
