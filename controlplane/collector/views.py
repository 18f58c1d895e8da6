"""/metrics: open, or with METRICS_KEY=1 for who sends an API key of the control plane's realm."""

from __future__ import annotations

from functools import cache
from typing import Final

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.views.decorators.csrf import csrf_exempt

from controlplane.collector.exposition import written
from controlplane.collector.scrape import Scrape
from controlplane.services.rights import control_realm
from permissions.engine.reasons import Unavailable
from permissions.identity import keys
from permissions.identity.authentication import CHALLENGE

PLAIN: Final = "text/plain; charset=utf-8"


@cache
def _scrape() -> Scrape:
    return Scrape()


# Exempt: nothing is changed here, and a refusal by the middleware would be an HTML page.
@csrf_exempt
def metrics(request: HttpRequest) -> HttpResponse:
    if request.method not in ("GET", "HEAD"):
        return _told(405, "metrics are read with GET", Allow="GET, HEAD")
    refused = _refused(request)
    if refused is not None:
        return refused
    body, content_type = written(_scrape().figures(), request.headers.get("Accept", ""), with_names=settings.METRICS_KEY)
    return HttpResponse(body, content_type=content_type, headers={"Cache-Control": "no-store"})


def _refused(request: HttpRequest) -> HttpResponse | None:
    """Keys are compared where all are, by digest and in constant time."""
    if not settings.METRICS_KEY:
        return None
    header = request.headers.get("Authorization", "")
    try:
        caller = keys.resolve(header)
    except Unavailable:
        # The database is away, which is when figures are wanted most: what this process has proved before opens them still.
        caller = keys.seen(header)
        if caller is None:
            return _told(503, "the key cannot be proved: the database does not answer", **{"Retry-After": "1"})
    if caller is None:
        return _told(401, "metrics need an API key: Authorization: Bearer <key>", **{"WWW-Authenticate": CHALLENGE})
    if caller.realm != control_realm():
        return _told(403, f"metrics need an API key of the realm {control_realm()}")
    return None


def _told(status: int, text: str, **headers: str) -> HttpResponse:
    return HttpResponse(f"{text}\n", status=status, content_type=PLAIN, headers={"Cache-Control": "no-store", **headers})
