"""The door of maintenance, in front of everything the site answers; and who is logged in, noted behind the answer.

The door judges by path and address. What it lets through because of its path or its caller's address carries that exemption
along, so that the decision point does not refuse it a second time. An answer has the shape of its path: a plain string on the
wire, problem+json in the API, else a page.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final, cast

from asgiref.sync import iscoroutinefunction, markcoroutinefunction, sync_to_async
from django.http import HttpRequest, HttpResponse
from django.template.loader import render_to_string
from django.utils import translation

from controlplane.services import browser_sessions
from resilience import maintenance
from resilience.asgi import client_address
from resilience.errors import MaintenanceMode

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

WIRE: Final = "/access/"
API: Final = "/api/"
# POSTs that only ask: read-only maintenance refuses writes, and these write nothing.
ASKING: Final = frozenset({"/api/v1/check", "/api/v1/check/batch", "/api/v1/explain"})


class MaintenanceGate:
    """`num_proxies`: hops of X-Forwarded-For that are believed when an address is compared with the allow-list."""

    def __init__(self, app: Application, *, num_proxies: int = 0, switch: maintenance.Switch = maintenance.SWITCH) -> None:
        self._app = app
        self._num_proxies = num_proxies
        self._switch = switch

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        # Off, the common case, costs one look at an attribute.
        if self._switch.on is None or scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        path = scope["path"]
        address = client_address(scope, self._num_proxies)
        refused = self._switch.active(path=path, address=address, write=_writes(scope))
        if refused is not None:
            body, content_type = _answer(scope, refused)
            await maintenance.refuse(scope, send, refused, body, content_type)
            return
        if self._switch.exempts(path=path, address=address):
            with maintenance.exempt():
                await self._app(scope, receive, send)
        else:
            await self._app(scope, receive, send)


def _writes(scope: Scope) -> bool:
    if scope["type"] != "http":
        return False
    path = scope["path"]
    if path.startswith(WIRE) or path in ASKING:
        return False
    return maintenance.is_write(scope["method"])


def _answer(scope: Scope, refused: MaintenanceMode) -> tuple[bytes, str]:
    path = scope["path"]
    if path.startswith(WIRE) or scope["type"] == "websocket":
        return json.dumps(maintenance.message(refused)).encode(), "application/json"
    if path.startswith(API):
        return maintenance.problem(refused), "application/problem+json"
    with translation.override(_language(scope)):
        page = render_to_string("503.html", {"reason": refused.reason, "until": maintenance.moment(refused)})
    return page.encode(), "text/html; charset=utf-8"


def _language(scope: Scope) -> str:
    """The first language the browser names that we speak: this page stands before Django's own choice by cookie."""
    for name, value in scope["headers"]:
        if name == b"accept-language":
            for part in value.decode("latin-1").split(",")[:10]:
                try:
                    return translation.get_supported_language_variant(part.partition(";")[0].strip())
                except LookupError:
                    continue
    return "en"


class SessionNotes:
    """Stands before Django's SessionMiddleware, so that a session is stored already when it is noted.

    Works for both kinds of views, as a sync middleware would cost a thread hop for every async one behind it.
    """

    sync_capable = True
    async_capable = True

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse | Awaitable[HttpResponse]]) -> None:
        self.get_response = get_response
        self.is_async = iscoroutinefunction(get_response)
        if self.is_async:
            markcoroutinefunction(self)

    def __call__(self, request: HttpRequest) -> HttpResponse | Awaitable[HttpResponse]:
        if self.is_async:
            return self._acall(request)
        response = cast(HttpResponse, self.get_response(request))
        if browser_sessions.is_due(request):
            browser_sessions.note(request)
        return response

    async def _acall(self, request: HttpRequest) -> HttpResponse:
        response = await cast(Awaitable[HttpResponse], self.get_response(request))
        if browser_sessions.is_due(request):
            await sync_to_async(browser_sessions.note)(request)
        return response
