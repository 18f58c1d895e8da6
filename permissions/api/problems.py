"""problem+json (RFC 9457): every refusal and fault of /api/ as {type, title, status, detail, errors: [{where, message}]}."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterable, Mapping
from http import HTTPStatus
from typing import Any, Final

from django.core.exceptions import PermissionDenied, RequestDataTooBig, SuspiciousOperation, ValidationError
from django.db import DatabaseError, DataError, IntegrityError, InterfaceError
from django.http import Http404, HttpRequest, HttpResponse
from rest_framework import exceptions
from rest_framework.renderers import JSONRenderer
from rest_framework.response import Response

from permissions.engine.reasons import InvalidRequestError, Unavailable, UnderMaintenance
from permissions.errors import Invalid, Problem, Refused
from resilience.drf import rejection

log = logging.getLogger(__name__)

MEDIA_TYPE: Final = "application/problem+json"
BASE: Final = "/problems/"
RETRY_AFTER_S: Final = 1.0  # chosen: a failover or a lock wait is over or worth reporting by then

TITLES: Final[Mapping[str, str]] = {
    "invalid": "The input is wrong",
    "invalid_request": "The question cannot be decided",
    "bad_request": "The request cannot be read",
    "unauthenticated": "Nobody we know is calling",
    "forbidden": "Not allowed",
    "escalation": "It would hand out more than its author holds",
    "not_found": "Not found",
    "method_not_allowed": "Not possible here",
    "conflict": "It contradicts what is there",
    "last_administrator": "The realm would be left without an administrator",
    "token_from_future": "The token names a revision that is not known here",
    "too_large": "The body is too large",
    "unsupported_media_type": "The body is not JSON",
    "throttled": "Too many requests",
    "unavailable": "No answer can be given now",
    "maintenance": "Under maintenance",
    "fault": "A fault of the server",
}


class TooLarge(Refused):
    """The body is over the wire's limit."""

    code = "too_large"
    status = 413


class BadRequest(Refused):
    """The request itself cannot be read: not JSON, a parameter that nobody knows."""

    code = "bad_request"
    status = 400

    def __init__(self, detail: str, where: str = "") -> None:
        super().__init__(f"{where}: {detail}" if where else detail)
        self.problems = (Problem(where, detail),) if where else ()


class ProblemRenderer(JSONRenderer):
    media_type = MEDIA_TYPE
    format = "problem"


def document(code: str, status: int, detail: str, problems: Iterable[Problem] = ()) -> dict[str, Any]:
    body: dict[str, Any] = {
        "type": f"{BASE}{code}",
        "title": TITLES.get(code) or HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
    }
    errors = [{"where": p.where, "message": p.message} for p in problems]
    if errors:
        body["errors"] = errors
    return body


def problem(
    code: str,
    status: int,
    detail: str,
    problems: Iterable[Problem] = (),
    headers: Mapping[str, str] | None = None,
) -> Response:
    return Response(
        document(code, status, detail, problems),
        status=status,
        headers=dict(headers or {}),
        content_type=MEDIA_TYPE,
    )


def plain(request: HttpRequest, code: str, status: int, detail: str) -> HttpResponse:
    """The same outside a DRF view, where no renderer is at hand."""
    body = ProblemRenderer().render(document(code, status, detail))
    return HttpResponse(body, status=status, content_type=MEDIA_TYPE)


def problem_handler(error: Exception, context: Mapping[str, Any]) -> Response:
    """DRF's exception handler: the answer to anything a view may raise."""
    for translate in (_refusal, _no_decision, _rejection(context), _of_rest_framework, _of_django, _of_database):
        answer = translate(error)
        if answer is not None:
            return answer
    # The outermost handler: whatever else was raised is our fault, is logged whole, and tells the caller nothing about us.
    log.error("a view of the API failed", exc_info=error)
    return problem("fault", 500, "The server failed to answer; its log says why.")


def _refusal(error: Exception) -> Response | None:
    if not isinstance(error, Refused):
        return None
    return problem(error.code, error.status, error.detail, getattr(error, "problems", ()))


def _no_decision(error: Exception) -> Response | None:
    if isinstance(error, InvalidRequestError):
        return problem("invalid_request", 400, str(error))
    if isinstance(error, Unavailable):
        code = "maintenance" if isinstance(error, UnderMaintenance) else "unavailable"
        return problem(code, 503, str(error), headers=_retry_after(error.retry_after_s))
    return None


def _rejection(context: Mapping[str, Any]) -> Callable[[Exception], Response | None]:
    """A limit, an open breaker, a full bulkhead: the kit knows how to say them over HTTP."""

    def translate(error: Exception) -> Response | None:
        found = rejection(error, context.get("request"))
        if found is None:
            return None
        return Response(found.document, status=found.status, headers=dict(found.fields), content_type=MEDIA_TYPE)

    return translate


def _retry_after(seconds: float) -> dict[str, str]:
    """Whole seconds, as the header has them; never 0, which would invite a retry at once."""
    return {"Retry-After": str(max(1, math.ceil(seconds)))}


_CODES: Final[tuple[tuple[type[exceptions.APIException], str], ...]] = (
    (exceptions.NotAuthenticated, "unauthenticated"),
    (exceptions.AuthenticationFailed, "unauthenticated"),
    (exceptions.PermissionDenied, "forbidden"),
    (exceptions.NotFound, "not_found"),
    (exceptions.MethodNotAllowed, "method_not_allowed"),
    (exceptions.UnsupportedMediaType, "unsupported_media_type"),
    (exceptions.Throttled, "throttled"),
    (exceptions.ValidationError, "invalid"),
)


def _of_rest_framework(error: Exception) -> Response | None:
    if not isinstance(error, exceptions.APIException):
        return None
    code = next((name for kind, name in _CODES if isinstance(error, kind)), "bad_request")
    if error.status_code >= 500:
        code = "unavailable"
    headers: dict[str, str] = {}
    challenge = getattr(error, "auth_header", None)
    if challenge:
        headers["WWW-Authenticate"] = challenge
    wait_s = getattr(error, "wait", None)
    if wait_s:
        headers.update(_retry_after(wait_s))
    return problem(code, error.status_code, _text_of(error.detail), headers=headers)


def _text_of(detail: Any) -> str:
    """DRF's detail is a text, a list or a mapping of them; iterative depth is bounded by what DRF builds."""
    if isinstance(detail, Mapping):
        return "; ".join(f"{key}: {_text_of(value)}" for key, value in detail.items())
    if isinstance(detail, list | tuple):
        return "; ".join(_text_of(item) for item in detail)
    return str(detail)


def _of_django(error: Exception) -> Response | None:
    if isinstance(error, Http404):
        return problem("not_found", 404, "There is nothing at this path.")
    if isinstance(error, PermissionDenied):
        return problem("forbidden", 403, str(error) or "This is not allowed.")
    if isinstance(error, RequestDataTooBig):
        return problem("too_large", 413, "The body is larger than the server accepts.")
    if isinstance(error, SuspiciousOperation):
        return problem("bad_request", 400, "The request cannot be read.")
    if isinstance(error, ValidationError):
        return _refusal(Invalid(list(_problems_of(error))))
    return None


def _problems_of(error: ValidationError) -> Iterable[Problem]:
    if hasattr(error, "error_dict"):
        for field, messages in error.message_dict.items():
            for message in messages:
                yield Problem("" if field == "__all__" else field, message)
    else:
        for message in error.messages:
            yield Problem("", message)


def _of_database(error: Exception) -> Response | None:
    if isinstance(error, IntegrityError):
        # The last net held something no service foresaw; what the driver says names tables, so only the log gets it.
        log.warning("the database refused a write", exc_info=error)
        return problem("conflict", 409, "The database refuses this: it contradicts what is stored.")
    if isinstance(error, DataError):
        log.warning("the database refused a value", exc_info=error)
        return problem("invalid", 400, "A value cannot be stored.")
    if isinstance(error, DatabaseError | InterfaceError):
        log.warning("the database did not answer", exc_info=error)
        return problem("unavailable", 503, "The database does not answer.", headers=_retry_after(RETRY_AFTER_S))
    return None
