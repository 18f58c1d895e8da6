"""What a caller is told who may not: a page or a login for people, a problem document for programs."""

from __future__ import annotations

import math
from typing import Final
from urllib.parse import urlsplit

from django.conf import settings
from django.contrib.auth import REDIRECT_FIELD_NAME
from django.contrib.auth.views import redirect_to_login
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import resolve_url
from django.utils.cache import add_never_cache_headers

from permissions import revisions
from permissions.engine.reasons import InvalidRequestError, Unavailable
from permissions.errors import Invalid

_TITLES: Final = {400: "Bad request", 401: "Not authenticated", 403: "Forbidden", 409: "Conflict", 503: "Unavailable"}


def wants_json(request: HttpRequest) -> bool:
    """A program: it sends JSON, or would rather read JSON than a page."""
    sent = request.content_type or ""
    if sent == "application/json" or sent.endswith("+json"):
        return True
    return request.get_preferred_type(["text/html", "application/json"]) == "application/json"


def forbidden(request: HttpRequest, permission: str) -> HttpResponse:
    """Raises PermissionDenied for people, so that the site's own page for it is shown."""
    if not wants_json(request):
        raise PermissionDenied(f"this needs {permission}")
    return _problem(403, "forbidden", f"this needs {permission}")


def not_authenticated(request: HttpRequest, login_url: str | None) -> HttpResponse:
    if wants_json(request):
        response = _problem(401, "not_authenticated", "log in first")
        response.headers["WWW-Authenticate"] = "Session"
        return response
    target = resolve_url(login_url or settings.LOGIN_URL)
    here = request.build_absolute_uri()
    ours, theirs = urlsplit(here), urlsplit(target)
    # As Django's login_required: a full address only where the login stands on another host or scheme.
    if theirs.scheme in ("", ours.scheme) and theirs.netloc in ("", ours.netloc):
        here = request.get_full_path()
    response = redirect_to_login(here, target, REDIRECT_FIELD_NAME)
    add_never_cache_headers(response)
    return response


def unavailable(request: HttpRequest, error: Unavailable) -> HttpResponse:
    response = _problem(503, "unavailable", str(error)) if wants_json(request) else _text(503, str(error))
    response.headers["Retry-After"] = str(max(1, math.ceil(error.retry_after_s)))
    return response


def of_error(request: HttpRequest, error: Exception) -> HttpResponse | None:
    """The answer to what a question inside a view raised; None where it is neither the caller's fault nor soon over."""
    if isinstance(error, Unavailable):
        return unavailable(request, error)
    if revisions.HEADER not in request.headers:
        return None
    if isinstance(error, revisions.TokenFromFuture):
        return bad_token(request, error.status, error.code, error.detail)
    if isinstance(error, Invalid) and [problem.where for problem in error.problems] == [revisions.HEADER]:
        return bad_token(request, error.status, error.code, error.detail)
    return bad_token(request, 400, "invalid", str(error)) if isinstance(error, InvalidRequestError) else None


def bad_token(request: HttpRequest, status: int, code: str, detail: str) -> HttpResponse:
    return _problem(status, code, detail) if wants_json(request) else _text(status, detail)


def _problem(status: int, code: str, detail: str) -> HttpResponse:
    response = JsonResponse(
        {"type": f"/problems/{code}", "title": _TITLES.get(status, "Refused"), "status": status, "detail": detail},
        status=status,
        content_type="application/problem+json",
    )
    add_never_cache_headers(response)
    return response


def _text(status: int, detail: str) -> HttpResponse:
    response = HttpResponse(f"{detail}\n", status=status, content_type="text/plain; charset=utf-8")
    add_never_cache_headers(response)
    return response
