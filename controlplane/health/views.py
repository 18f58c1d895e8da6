"""/healthz, /readyz and /api/v1/system/health, open to anybody who watches the site."""

from __future__ import annotations

from functools import cache
from typing import Any, Final

from django.conf import settings
from django.db import connection
from django.http import HttpRequest, JsonResponse
from rest_framework.authentication import SessionAuthentication
from rest_framework.exceptions import APIException
from rest_framework.request import Request

from controlplane.health.detail import Details
from controlplane.health.monitor import current, monitor
from controlplane.insight.suggestions import suggestions
from controlplane.services.rights import VIEW, control_realm, may, on_page
from permissions import pdp
from permissions.api.callers import asker_of
from permissions.engine.reasons import InvalidRequestError, Unavailable
from permissions.errors import Refused
from permissions.identity.authentication import KeyAuthentication

PAGE: Final = "overview"


@cache
def _details() -> Details:
    return Details(monitor)


def healthz(request: HttpRequest) -> JsonResponse:
    """Alive: the event loop turns. Nothing else is looked at, or a lost database would have every process restarted."""
    if not monitor.lag.turns:
        return JsonResponse({"status": "stalled"}, status=503)
    return JsonResponse({"status": "ok"})


def readyz(request: HttpRequest) -> JsonResponse:
    status, word = current().readiness()
    return JsonResponse({"status": word}, status=status)


def system_health(request: HttpRequest) -> JsonResponse:
    """Each component. Open like the other probes, so it names no address, no identity and no text of an error."""
    now = current()
    status, word = now.readiness()
    found = _details().get()
    parts = found.components
    if word in ("ok", "degraded"):
        word = found.verdict.state
    body: dict[str, Any] = {
        "status": word,
        "version": settings.VERSION,
        "causes": list(found.verdict.causes),
        "components": {
            # Measured each second, and told in more detail where that could be looked at just now.
            "database": {**parts["database"], **now.database.to_dict(), "vendor": connection.vendor, "realms": now.realms},
            "store": {**parts["store"], **now.store.to_dict(), "kind": "redis" if settings.REDIS_URL else "memory"},
            "loop": now.loop_shown(),
            # The page is open: names of realms are nobody's business there.
            "decisions": {"state": "ok", "since_start": {k: v for k, v in pdp.stats().items() if k != "realms"}},
            **{name: part for name, part in parts.items() if name not in ("database", "store")},
        },
        "suggestions": suggestions(found.seen, with_detail=_may_see(request)),
    }
    return JsonResponse(body, status=status)


def _may_see(request: HttpRequest) -> bool:
    """Whether the caller operates the site. One who does not say who it is costs no look at the database, nor does a lost one."""
    says_who = "Authorization" in request.headers or settings.SESSION_COOKIE_NAME in request.COOKIES
    if not says_who or monitor.database.state == "down":
        return False
    authenticators = [KeyAuthentication(), SessionAuthentication()]
    try:
        asker = asker_of(Request(request, authenticators=authenticators), control_realm())
        return asker.actor is not None and may(asker.actor, VIEW, on_page(PAGE))
    except (APIException, Refused, Unavailable, InvalidRequestError):
        return False
