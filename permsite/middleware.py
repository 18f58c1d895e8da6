"""For Django's share of the site: the request's id and trace, and the content security policy by path."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from typing import Final, cast

from asgiref.sync import iscoroutinefunction, markcoroutinefunction
from csp.constants import NONE, SELF, UNSAFE_EVAL, UNSAFE_INLINE
from csp.middleware import CSPMiddleware, PolicyParts
from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase

from resilience import trace

REQUEST_ID: Final = "X-Request-ID"
MAX_REQUEST_ID: Final = 200
# Anything a header may carry, without control characters: CR or LF in it would forge a second header or log line.
_CONTROL: Final = re.compile(r"[^\x20-\x7e]")


def request_id_of(received: str) -> str:
    """What the caller sent, made harmless; empty where nothing of it is left."""
    return _CONTROL.sub("", received)[:MAX_REQUEST_ID].strip()


class RequestIDMiddleware:
    """Gives each request an id, in `request.request_id`, in every log line written for it, and in the answer; goes on with the
    trace that came with it, or begins one.

    Works for both kinds of views: a sync middleware would cost a thread hop for every async one behind it.
    """

    sync_capable = True
    async_capable = True

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse | Awaitable[HttpResponse]]) -> None:
        self.get_response = get_response
        self.is_async = iscoroutinefunction(get_response)
        if self.is_async:
            markcoroutinefunction(self)

    def __call__(self, request: HttpRequest) -> HttpResponse | Awaitable[HttpResponse]:
        found = _begin(request)
        if self.is_async:
            return self._acall(request, found)
        response = cast(HttpResponse, self.get_response(request))
        response[REQUEST_ID] = found
        return response

    async def _acall(self, request: HttpRequest, found: str) -> HttpResponse:
        response = await cast(Awaitable[HttpResponse], self.get_response(request))
        response[REQUEST_ID] = found
        return response


def _begin(request: HttpRequest) -> str:
    # Not reset afterwards: Django logs a refused request once the middleware are through. Each request has a context of its own.
    begun = trace.begin(request.headers.get(trace.TRACEPARENT, ""), request_id_of(request.headers.get(REQUEST_ID, "")))
    request.request_id = begun.request_id  # type: ignore[attr-defined]  # Django's way to carry something with the request
    return begun.request_id


PAGES: Final = {
    "default-src": [SELF],
    "script-src": [SELF],
    "style-src": [SELF],
    "img-src": [SELF, "data:"],
    "object-src": [NONE],
    "base-uri": [NONE],
    "form-action": [SELF],
    "frame-ancestors": [NONE],
}
# Unfold runs Alpine (it compiles expressions from attributes) and sets style attributes; nothing else on the site may.
UNFOLD: Final = PAGES | {"script-src": [SELF, UNSAFE_EVAL], "style-src": [SELF, UNSAFE_INLINE]}
# An answer of the API is data: a browser that is led to it may load and run nothing.
DATA: Final = {"default-src": [NONE], "base-uri": [NONE], "form-action": [NONE], "frame-ancestors": [NONE]}


def policy_for(path: str, content_type: str) -> dict[str, list[str]]:
    if not content_type.startswith("text/html"):
        return DATA
    if path.startswith("/admin/") and settings.ADMIN_THEME == "unfold":
        return UNFOLD
    return PAGES


class PolicyMiddleware(CSPMiddleware):
    """django-csp's header, with the policy chosen by path and kind of answer instead of one for the whole site."""

    def get_policy_parts(self, request: HttpRequest, response: HttpResponseBase, report_only: bool = False) -> PolicyParts:
        parts = super().get_policy_parts(request, response, report_only)
        if parts.config is None and not report_only:
            parts.config = policy_for(request.path_info, response.headers.get("Content-Type", ""))
        return parts
