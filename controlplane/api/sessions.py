"""/api/v1/sessions/: browser sessions, seen and ended; /api/v1/sessions/lockouts: whom the login keeps out, and letting in."""

from __future__ import annotations

from typing import Any, Final

from rest_framework.request import Request as HttpRequest
from rest_framework.response import Response

from controlplane.api.base import ControlView
from controlplane.services import sessions as service
from permissions.api import components
from permissions.api.base import REASON
from permissions.api.components import ref
from permissions.api.openapi import Operation, parameter
from permissions.api.problems import BadRequest
from permissions.api.queries import MAX_PAGE, whole
from permissions.engine.reasons import Unavailable
from permissions.errors import Invalid, NotFound, Problem
from resilience.errors import StorageError

TAG: Final = "sessions"
PAGE: Final = 100
SUBJECT: Final = "subject"
NAME: Final = parameter("session_id", "The number of the session.", {"type": "integer"}, "path")
_SUBJECT: Final = parameter("subject", "Of this subject; without it: of all who may be seen.", {"type": "string"})
_REASON: Final = parameter(REASON, "Why; kept in the audit entry.", {"type": "string", "maxLength": 1000})
RETRY_S: Final = 1.0


class SessionsView(ControlView):
    """One's own need no right; others' need view, and operate to be ended, on the page `sessions`."""

    def parameters_of(self, method: str) -> tuple[str, ...]:
        return (SUBJECT, "limit", "after") if method == "GET" else (SUBJECT, REASON)

    def get(self, request: HttpRequest) -> Response:
        rows = service.sessions_seen(self.actor, self.query.get(SUBJECT))
        limit = self._number("limit", PAGE)
        if not 1 <= limit <= MAX_PAGE:
            raise BadRequest(f"must lie between 1 and {MAX_PAGE}", "limit")
        rows = rows.order_by("-pk")
        if "after" in self.query:
            rows = rows.filter(pk__lt=self._number("after", 0))
        found = list(rows[: limit + 1])
        following = found[limit - 1].pk if len(found) > limit else None
        current = str(request._request.session.session_key or "")
        lines = [service.session_line(row, current) for row in found[:limit]]
        return Response({"results": lines, "after": following})

    def delete(self, request: HttpRequest) -> Response:
        subject = self.query.get(SUBJECT)
        if not subject:
            raise BadRequest("is missing: all sessions of one subject are ended", SUBJECT)
        number = service.sessions_revoke(actor=self.actor, subject=subject, reason=self.why({}), request_id=self.request_id)
        return Response({"ended": number})

    def _number(self, name: str, default: int) -> int:
        if name not in self.query:
            return default
        try:
            return whole(self.query.get(name))
        except ValueError as error:
            raise BadRequest(str(error), name) from error

    def operations(self) -> dict[str, Operation]:
        about = "The one that began last comes first. One's own need no right; others' need `permsite.control:view` on the page."
        return {
            "GET": Operation(
                "sessions_list",
                "List browser sessions",
                TAG,
                ref("SessionPage"),
                about=about,
                realm=False,
                parameters=(
                    _SUBJECT,
                    parameter("limit", f"At most so many, {PAGE} where it is left out.", {"type": "integer"}),
                    parameter("after", "Those that began before this one: the `after` of an answer.", {"type": "integer"}),
                ),
            ),
            "DELETE": Operation(
                "sessions_revoke_all",
                "End all browser sessions of a subject",
                TAG,
                ref("SessionsEnded"),
                about="Each ends with its next request; open pages lose their stream.",
                realm=False,
                problems=(404,),
                parameters=({**_SUBJECT, "required": True}, _REASON),
            ),
        }


class SessionView(ControlView):
    def delete(self, request: HttpRequest, session_id: str) -> Response:
        if not session_id.isascii() or not session_id.isdigit() or len(session_id) > 18:
            raise NotFound(f"there is no session {session_id[:60]!r}")
        service.session_revoke(actor=self.actor, session_id=int(session_id), reason=self.why({}), request_id=self.request_id)
        return Response(status=204)

    def operations(self) -> dict[str, Operation]:
        return {
            "DELETE": Operation(
                "sessions_revoke",
                "End a browser session",
                TAG,
                None,
                204,
                realm=False,
                problems=(404,),
                parameters=(NAME, _REASON),
            )
        }


class LockoutsView(ControlView):
    def parameters_of(self, method: str) -> tuple[str, ...]:
        return (SUBJECT,) if method == "GET" else ()

    def get(self, request: HttpRequest) -> Response:
        subject = self.query.get(SUBJECT)
        try:
            found = service.lockouts(self.actor, subject)
        except StorageError as error:
            raise Unavailable("the store of the limits does not answer", retry_after_s=RETRY_S) from error
        return Response({"results": [lockout.to_dict() for lockout in found]})

    def post(self, request: HttpRequest) -> Response:
        data = self.fields(request.data, ("rule", "key", REASON), ("rule", "key", REASON))
        wrong = [Problem(name, "must be a text") for name in ("rule", "key") if not isinstance(data[name], str)]
        if wrong:
            raise Invalid(wrong)
        try:
            service.unlock(
                actor=self.actor, rule=data["rule"], key=data["key"], reason=self.why(data), request_id=self.request_id
            )
        except StorageError as error:
            raise Unavailable("the store of the limits does not answer", retry_after_s=RETRY_S) from error
        return Response({"unlocked": True})

    def operations(self) -> dict[str, Operation]:
        return {
            "GET": Operation(
                "lockouts_list",
                "Whom the login keeps out now",
                TAG,
                ref("Lockouts"),
                about="Of the names and addresses refused most in the last minutes. With `subject`: that name alone.",
                realm=False,
                parameters=(parameter("subject", "This subject alone.", {"type": "string"}),),
            ),
            "POST": Operation(
                "lockouts_end",
                "Let a name or an address try again",
                TAG,
                ref("Unlocked"),
                body=ref("Unlock"),
                realm=False,
            ),
        }


def publish() -> None:
    """Into the document."""
    text, flag, whole_number = {"type": "string"}, {"type": "boolean"}, {"type": "integer"}
    moment = {"type": "string", "format": "date-time"}
    session = {
        "id": whole_number,
        "subject": text,
        "since": moment,
        "last_seen": {**moment, "description": "Exact to a minute."},
        "ends": {**moment, "description": "By itself, if it is not used."},
        "address": text,
        "browser": text,
        "current": {**flag, "description": "The one that asks."},
    }
    lockout = {
        "rule": {"type": "string", "enum": list(service.LOGIN_RULES)},
        "key": {**text, "description": "A name or an address."},
        "refusals": {**whole_number, "description": "Of the last minutes, halved each minute."},
        "retry_after_s": {"type": ["number", "null"], "description": "Until the next try is let through."},
    }

    def whole_of(properties: dict[str, Any], **more: Any) -> dict[str, Any]:
        return {"type": "object", "properties": properties, "required": list(properties), **more}

    components.add(
        {
            "Session": whole_of(session),
            "SessionPage": whole_of(
                {"results": {"type": "array", "items": ref("Session")}, "after": {"type": ["integer", "null"]}}
            ),
            "SessionsEnded": whole_of({"ended": whole_number}),
            "Lockout": whole_of(lockout),
            "Lockouts": whole_of({"results": {"type": "array", "items": ref("Lockout")}}),
            "Unlock": whole_of(
                {"rule": lockout["rule"], "key": text, "reason": {**text, "maxLength": 500}}, additionalProperties=False
            ),
            "Unlocked": whole_of({"unlocked": flag}),
        },
        {"Unlock": {"rule": "login.user", "key": "alice", "reason": "called the help desk"}},
    )
