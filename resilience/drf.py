"""Rate limits for Django REST framework: a throttle, DRF's own made exact, and one Django middleware for the headers."""

from __future__ import annotations

import hashlib
import math
import re
import threading
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, cast

from asgiref.sync import iscoroutinefunction, markcoroutinefunction
from django.conf import settings
from django.http import HttpRequest, HttpResponse
from rest_framework import throttling
from rest_framework.exceptions import Throttled
from rest_framework.renderers import JSONRenderer
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView
from rest_framework.views import exception_handler as default_handler

from resilience import registry
from resilience.clock import SYSTEM, Timer
from resilience.errors import ExecutionRejected
from resilience.fallback import degraded, degraded_scope
from resilience.rate_limiter import headers
from resilience.rate_limiter.headers import Decision, Fields, Problem
from resilience.rate_limiter.limiter import RateLimiter
from resilience.rate_limiter.verdict import Verdict

DECISIONS: Final = "resilience_decisions"  # on Django's request
LEGACY: Final = "RESILIENCE_X_RATELIMIT"  # Django setting: also send X-RateLimit-*
MAX_LOG: Final = 1_000  # of sliding_log, which counts as DRF does


class RateLimitThrottle(throttling.BaseThrottle):
    """Counts by the rule that the view names: `throttle_rule = "login"`, a name in the registry or a RateLimiter.

    A view without one is not limited. The key is the user, else the address, found by NUM_PROXIES: without that setting DRF
    believes whatever address a client claims. Give another key by overriding `key_of`; None limits nobody. `throttle_cost` of the
    view: how many calls one request counts as.
    """

    verdict: Verdict | None = None

    def key_of(self, request: Request, view: APIView) -> str | None:
        if getattr(request.user, "is_authenticated", False):
            return f"user:{request.user.pk}"
        return f"ip:{self.get_ident(request)}"

    def allow_request(self, request: Request, view: APIView) -> bool:
        rule = getattr(view, "throttle_rule", None)
        if rule is None:
            return True
        key = self.key_of(request, view)
        if key is None:
            return True
        limiter = rule if isinstance(rule, RateLimiter) else registry.limiter(rule)
        self.verdict = limiter.acquire(key, getattr(view, "throttle_cost", 1))
        _note(request, headers.decided(limiter, key, self.verdict))
        return self.verdict.allowed

    def wait(self) -> float | None:
        """Seconds, exactly; the middleware adds what keeps clients apart."""
        return _wait_of(self.verdict)


class SimpleRateThrottle(throttling.SimpleRateThrottle):
    """DRF's throttle by `rate` or `scope`, exact: DRF reads a list from the cache, appends and writes it back, so calls that meet
    lose each other's entries.

    Rates up to 1,000 count as DRF does, every call in any period (sliding_log); higher ones by sliding_window. Retry-After is
    DRF's, to the second. State lies in the limiter's store, not in Django's cache: clearing that resets nothing.
    """

    verdict: Verdict | None = None
    key: str | None = None
    num_requests: int | None
    duration: int | None

    def allow_request(self, request: Request, view: APIView) -> bool:
        if self.rate is None:
            return True
        self.key = self.get_cache_key(request, view)
        if self.key is None:
            return True
        if not self.num_requests or self.duration is None:
            # "0/day": nobody is admitted, ever.
            self.history: list[float] = []
            return self.throttle_failure()
        limiter = self._limiter()
        self.verdict = limiter.acquire(self.key)
        _note(request, headers.decided(limiter, self.key, self.verdict, is_exact=True))
        return self.throttle_success() if self.verdict.allowed else self.throttle_failure()

    def throttle_success(self) -> bool:
        """DRF's writes its list here."""
        return True

    def wait(self) -> float | None:
        return super().wait() if self.verdict is None else _wait_of(self.verdict)

    def _limiter(self) -> RateLimiter:
        is_own_timer = type(self).timer is not throttling.SimpleRateThrottle.timer
        assert self.num_requests is not None and self.duration is not None  # noqa: S101 - allow_request looked
        which = (type(self), self.scope, self.num_requests, self.duration, is_own_timer)
        with _lock:
            limiter = _limiters.get(which)
            if limiter is None:
                limiter = _limiters[which] = RateLimiter(
                    _name_of(self.scope or type(self).__name__),
                    "sliding_log" if self.num_requests <= MAX_LOG else "sliding_window",
                    limit=self.num_requests,
                    period_s=float(self.duration),
                    clock=_TimerClock(self) if is_own_timer else None,
                )
        return limiter


class AnonRateThrottle(throttling.AnonRateThrottle, SimpleRateThrottle):
    """DRF's throttle of anonymous callers, exact."""


class UserRateThrottle(throttling.UserRateThrottle, SimpleRateThrottle):
    """DRF's throttle by user, else by address, exact."""


class ScopedRateThrottle(throttling.ScopedRateThrottle, SimpleRateThrottle):
    """DRF's throttle by the view's `throttle_scope`, exact."""


class RateLimitMiddleware:
    """Writes what limits decided into the response: RateLimit-Policy, RateLimit, Retry-After, X-Degraded; for sync and async.

    A rejection that leaves a plain Django view (an open breaker, a full bulkhead, maintenance, a limit) is answered as
    problem+json; one inside DRF's by `exception_handler` below, or by the site's own with rejection().
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
        with degraded_scope():
            return _marked(request, cast(HttpResponse, self.get_response(request)))

    async def _acall(self, request: HttpRequest) -> HttpResponse:
        with degraded_scope():
            return _marked(request, await cast(Awaitable[HttpResponse], self.get_response(request)))

    def process_exception(self, request: HttpRequest, exception: Exception) -> HttpResponse | None:
        if not isinstance(exception, ExecutionRejected):
            return None
        problem = headers.rejected(exception)
        response = HttpResponse(JSONRenderer().render(problem.document), status=problem.status, content_type=headers.MEDIA_TYPE)
        return _with(response, problem.fields)


def exception_handler(error: Exception, context: Mapping[str, Any]) -> Response | None:
    """For DRF's setting EXCEPTION_HANDLER: rejections as problem+json, everything else as DRF does."""
    problem = rejection(error, context.get("request"))
    if problem is None:
        return default_handler(error, dict(context))
    fields = {"Cache-Control": "no-store", **dict(problem.fields)}
    return Response(problem.document, status=problem.status, headers=fields, content_type=headers.MEDIA_TYPE)


def rejection(error: Exception, request: Request | HttpRequest | None) -> Problem | None:
    """The answer to a rejection or to a throttled request; None for any other error. For a site's own exception handler."""
    if isinstance(error, ExecutionRejected):
        return headers.rejected(error)
    decisions = [] if request is None else decisions_of(request)
    if isinstance(error, Throttled) and any(not decision.verdict.allowed for decision in decisions):
        return headers.limited(decisions, legacy=_is_legacy())
    return None


def decisions_of(request: Request | HttpRequest) -> list[Decision]:
    """What limits have decided on this request so far."""
    found: list[Decision] = getattr(getattr(request, "_request", request), DECISIONS, [])
    return found


def _note(request: Request | HttpRequest, decisions: list[Decision]) -> None:
    target = getattr(request, "_request", request)
    # Tests of throttles pass all sorts of things for a request.
    if decisions and isinstance(target, HttpRequest):
        setattr(target, DECISIONS, [*decisions_of(target), *decisions])


def _marked(request: HttpRequest, response: HttpResponse) -> HttpResponse:
    return _with(response, [*headers.fields(decisions_of(request), legacy=_is_legacy()), *headers.degraded_field(degraded())])


def _with(response: HttpResponse, fields: Fields) -> HttpResponse:
    for name, value in fields:
        if name == "Retry-After" and response.status_code not in {429, 503}:
            # A view that was refused something and answered all the same: nobody has to wait.
            continue
        if name == "Retry-After" and _is_later(response.headers.get(name), value):
            # Whoever answered knew of a longer wait, or drew one within the same tenth.
            continue
        response.headers[name] = value
    return response


def _is_later(present: str | None, value: str) -> bool:
    return present is not None and present.isdigit() and int(present) > int(value)


def _is_legacy() -> bool:
    return bool(getattr(settings, LEGACY, False))


def _wait_of(verdict: Verdict | None) -> float | None:
    if verdict is None or verdict.allowed or math.isinf(verdict.retry_after_s):
        return None
    return verdict.retry_after_s


_lock: Final = threading.Lock()
_limiters: Final[dict[tuple[type, str | None, int, int, bool], RateLimiter]] = {}


def forget_limiters() -> None:
    """The next request of each throttle makes its limiter anew, for instance on another default store."""
    with _lock:
        _limiters.clear()


def _name_of(scope: str) -> str:
    """A scope is any text; a rule's name is not."""
    plain = re.sub(r"[^A-Za-z0-9_.-]", "-", scope)[:80]
    if plain == scope:
        return plain
    return f"{plain}-{hashlib.blake2b(scope.encode(), digest_size=4).hexdigest()}"


class _TimerClock:
    """The clock of a throttle class with a timer of its own, as tests of throttles have."""

    # DRF's timers may start at 0, which a store takes for "look at your own clock". Whole days, so that windows stay aligned.
    _ORIGIN_US: Final = 10 * 86_400_000_000

    def __init__(self, throttle: throttling.SimpleRateThrottle) -> None:
        self._throttle = throttle  # asked anew each time: a test swaps the timer of the class

    def now_us(self) -> int:
        return round(self._throttle.timer() * 1_000_000) + self._ORIGIN_US

    def monotonic(self) -> float:
        return float(self._throttle.timer())

    def stamp_us(self) -> int:
        return self.now_us()

    def call_later(self, delay_s: float, call: Callable[[], object]) -> Timer:
        return SYSTEM.call_later(delay_s, call)
