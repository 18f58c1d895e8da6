"""The platform behind its own kit: limits in front of the wire and the API, on logins and on writes in the admin.

Rules are named in the live configuration's section `limiters`. `wire` and `api` have no limit until one is set there; `login` and
`admin` have one from the start, which can be changed there.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Final

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

from permissions.identity import keys
from resilience import config, registry
from resilience.asgi import Application, RateLimitMiddleware, Scope, client_address
from resilience.config import Snapshot
from resilience.rate_limiter import Lease, RateLimitSet
from resilience.rate_limiter.headers import Problem, retry_after

WIRE: Final = "wire"
API: Final = "api"
LOGIN_ADDRESS: Final = "login.address"
LOGIN_USER: Final = "login.user"
ADMIN: Final = "admin"

_SAFE: Final = frozenset({"GET", "HEAD", "OPTIONS"})


def declare() -> None:
    """Makes the rules known to control and to the boards before anybody calls."""
    # A person who mistypes needs a handful of tries; who guesses gets six a minute, however many the addresses (chosen).
    registry.declare("limiter", LOGIN_USER, limit=6, period_s=60.0, burst=10)
    # An office behind one address logs in together in the morning (chosen).
    registry.declare("limiter", LOGIN_ADDRESS, limit=30, period_s=60.0, burst=60)
    # Above what anybody clicks, below what a stolen session could do unseen in a minute (chosen).
    registry.declare("limiter", ADMIN, limit=120, period_s=60.0, burst=120)
    # These stand in front of nothing until the configuration sets a limit. Leased: a key that calls all the time costs no round
    # trip a call; so their algorithm is gcra, the only one that can be leased.
    for rule in (WIRE, API):
        registry.declare("limiter", rule, limit=1_000_000, period_s=1.0, lease=Lease())


class OptionalLimit:
    """`app`, behind `rule` as soon as the live configuration gives that a limit.

    `app` is looked up for each request and is the bare application until then: what is not configured costs nothing.
    """

    def __init__(self, app: Application, rule: str, body: Callable[[Problem], tuple[bytes, str]] | None = None) -> None:
        self.app = app
        self._bare = app
        self._rule = rule
        self._body = body
        self.close = config.subscribe_applied(self._applied)
        self._applied(config.current())

    @property
    def is_set(self) -> bool:
        return self.app is not self._bare

    def _applied(self, snapshot: Snapshot) -> None:
        if snapshot.section("limiters").get(self._rule, {}).get("limit") is None:
            self.app = self._bare
        else:
            self.app = RateLimitMiddleware(self._bare, registry.find("limiter", self._rule), caller_key, body=self._body)


def caller_key(scope: Scope) -> str:
    """By API key where this process has seen it proved; all strangers and made-up keys of an address together."""
    for name, value in scope["headers"]:
        if name == b"authorization":
            caller = keys.seen(value.decode("latin-1"))
            if caller is not None:
                return f"key:{caller.key_id}"
            break
    return f"ip:{client_address(scope, settings.NUM_PROXIES)}"


def plain_string(problem: Problem) -> tuple[bytes, str]:
    """A refusal as the AuthZEN wire has its errors."""
    return json.dumps(problem.document["detail"]).encode(), "application/json"


def too_many(request: HttpRequest, retry_after_s: float) -> HttpResponse:
    """The page of a refusal."""
    wait = retry_after(retry_after_s) if math.isfinite(retry_after_s) else "60"
    response = render(request, "429.html", {"retry_after": int(wait)}, status=429)
    response["Retry-After"] = wait
    response["Cache-Control"] = "no-store"
    return response


def address_of(request: HttpRequest) -> str:
    forwarded = request.META.get("HTTP_X_FORWARDED_FOR", "")
    scope: Scope = {
        "client": (request.META.get("REMOTE_ADDR") or "", 0),
        "headers": [(b"x-forwarded-for", forwarded.encode("latin-1", "replace"))] if forwarded else [],
    }
    return client_address(scope, settings.NUM_PROXIES)


def login_limits() -> RateLimitSet:
    """Both rules of a login: by address, and by the name that is tried, whoever tries it."""
    return RateLimitSet("login", {"address": registry.limiter(LOGIN_ADDRESS), "user": registry.limiter(LOGIN_USER)})


def login_keys(request: HttpRequest) -> dict[str, str]:
    # One name in other letters is one person to a database that folds them, so one key here.
    return {"address": address_of(request), "user": request.POST.get("username", "").casefold()}


def refuse_write(request: HttpRequest) -> HttpResponse | None:
    """The answer to a write in the admin that is one too many for its user; None lets it go on."""
    if request.method in _SAFE or not request.user.is_authenticated:
        return None
    verdict = registry.limiter(ADMIN).acquire(f"user:{request.user.pk}")
    return None if verdict.allowed else too_many(request, verdict.retry_after_s)
