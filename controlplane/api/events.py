"""/api/v1/system/events: what happened lately, page by page behind an id; emptied by an operator, which the audit keeps."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from rest_framework.request import Request as HttpRequest
from rest_framework.response import Response

from controlplane.api.base import ControlView
from controlplane.live import store as stores
from controlplane.live.outbox import SEVERITIES
from controlplane.live.port import Event, LiveError, split_id
from controlplane.services import events as service
from controlplane.services import realms
from controlplane.services.rights import VIEW, control_realm, require
from permissions import pdp
from permissions.api import components
from permissions.api.base import REASON
from permissions.api.openapi import Operation, parameter, ref
from permissions.api.problems import BadRequest

TAG: Final = "control"
MAX_LIMIT: Final = 2_000
LIMIT: Final = 200
EXACT: Final = ("severity", "kind", "realm", "actor", "subject", "permission", "decision", "request_id")
KINDS: Final = ("event", "decision", "audit")
WORDS: Final = {"severity": SEVERITIES, "kind": KINDS, "decision": ("allow", "deny", "error")}
ABOUTS: Final = {
    "severity": "How grave.",
    "kind": "Events of the platform, decisions (a sample of them), or changes.",
    "realm": "The realm.",
    "actor": "Who did it.",
    "subject": "Whom it is about.",
    "permission": "The permission that was asked for.",
    "decision": "What the answer was.",
    "request_id": "The request in which it happened.",
}


class EventsView(ControlView):
    def parameters_of(self, method: str) -> tuple[str, ...]:
        return ("after", "type", "limit", *EXACT) if method == "GET" else (REASON,)

    def get(self, request: HttpRequest) -> Response:
        require(self.actor, VIEW, service.EVENTS_PAGE)
        after, limit, filters = self._after(), self._limit(), self._filters()
        try:
            found = stores.current().events(after, MAX_LIMIT)
            oldest = stores.current().events(_BEGINNING, 1) if after else []
        except LiveError as error:
            raise service.EventsAway(f"the events cannot be read: their store does not answer ({error})") from error
        may = self._may_see(found)
        shown = [event for event in found if may(event) and _fits(event, filters)]
        shown = shown[:limit] if after else shown[-limit:]
        is_whole = len(found) < MAX_LIMIT and len(shown) < limit
        # Behind the last that was looked at, so that a filter which fits nothing gets on too.
        last = (found[-1]["id"] if found else after) if is_whole or not shown else shown[-1]["id"]
        is_gap = bool(after) and (not oldest or oldest[0]["id"] > after)
        return Response({"events": shown, "last": last, "gap": is_gap})

    def delete(self, request: HttpRequest) -> Response:
        cleared = service.events_clear(actor=self.actor, reason=self.reason, request_id=self.request_id)
        return Response({"last": cleared})

    def _after(self) -> str:
        found = self.query.get("after", "")
        if found:
            try:
                split_id(found)
            except ValueError as error:
                raise BadRequest(str(error), "after") from None
        return found

    def _limit(self) -> int:
        found = self.query.get("limit", str(LIMIT))
        if not (found.isascii() and found.isdecimal()) or len(found) > 4 or not 1 <= int(found) <= MAX_LIMIT:
            raise BadRequest(f"must be a whole number from 1 to {MAX_LIMIT}", "limit")
        return int(found)

    def _filters(self) -> dict[str, str]:
        found = {name: self.query.get(name, "") for name in ("type", *EXACT)}
        for name, words in WORDS.items():
            if found[name] and found[name] not in words:
                raise BadRequest(f"must be one of {', '.join(words)}", name)
        return {name: value for name, value in found.items() if value}

    def _may_see(self, events: list[Event]) -> Callable[[Event], bool]:
        """What happened in another realm is for those who may view there."""
        told = {event.get("realm") for event in events} - {None, "", control_realm()}
        may = {realm for realm in told if isinstance(realm, str) and self._may_look_into(realm)}
        return lambda event: event.get("realm") in (None, "", control_realm()) or event["realm"] in may

    def _may_look_into(self, realm: str) -> bool:
        try:
            return realms.may_in(self.actor, VIEW, realm, service.EVENTS_PAGE)
        except (pdp.Unavailable, pdp.InvalidRequestError):  # it is gone, or nobody can say
            return False

    def operations(self) -> dict[str, Operation]:
        filters = tuple(
            parameter(
                name,
                about,
                {"type": "string", "enum": [*WORDS[name]]} if name in WORDS else {"type": "string", "maxLength": 1000},
            )
            for name, about in ABOUTS.items()
        )
        return {
            "GET": Operation(
                "system_events",
                "What happened lately",
                TAG,
                ref("SystemEvents"),
                about="Oldest first: those behind `after`, else the newest. Ask again with `last`. `gap`: something "
                "behind `after` is not there any more. Ten thousand are kept; decisions are a sample, save those that failed.",
                realm=False,
                problems=(503,),
                parameters=(
                    parameter("after", "The id of the last event that is known.", {"type": "string"}),
                    parameter("type", "How the event's name begins, such as circuit_breaker.", {"type": "string"}),
                    parameter(
                        "limit", f"At most so many; {LIMIT} if none.", {"type": "integer", "minimum": 1, "maximum": MAX_LIMIT}
                    ),
                    *filters,
                ),
            ),
            "DELETE": Operation(
                "system_events_clear",
                "Empty the list of events",
                TAG,
                ref("SystemEventsCleared"),
                about="The audit keeps that it was done, and everything it held before.",
                realm=False,
                writes=True,
                problems=(503,),
            ),
        }


# Before every event there is.
_BEGINNING: Final = "0000000000000-000000"


def _fits(event: Event, filters: dict[str, str]) -> bool:
    return all(
        str(event.get("name", "")).startswith(wanted) if name == "type" else event.get(name) == wanted
        for name, wanted in filters.items()
    )


def publish() -> None:
    text = {"type": "string"}
    line: dict[str, Any] = {
        **dict.fromkeys(("id", "name", "node", *EXACT), text),
        "at": {"type": "number", "description": "Seconds since 1970."},
        "data": {"type": "object", "additionalProperties": True},
    }
    components.add(
        {
            "SystemEvents": {
                "type": "object",
                "required": ["events", "last", "gap"],
                "properties": {
                    "events": {"type": "array", "items": {"type": "object", "properties": line}},
                    "last": text,
                    "gap": {"type": "boolean"},
                },
            },
            "SystemEventsCleared": {"type": "object", "required": ["last"], "properties": {"last": text}},
        },
        {},
    )
