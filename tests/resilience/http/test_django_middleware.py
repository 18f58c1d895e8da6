"""The Django middleware: writes what limits decided, for sync and async views, and answers rejections."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from asgiref.sync import iscoroutinefunction
from django.http import HttpRequest, HttpResponse
from django.test import AsyncClient, Client
from django.urls import path
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.throttling import BaseThrottle
from rest_framework.views import APIView

from resilience import FakeClock, Fallback, MemoryStore, RateLimiter
from resilience.drf import AnonRateThrottle, RateLimitMiddleware, RateLimitThrottle, forget_limiters
from resilience.errors import BulkheadFull, CircuitOpen, MaintenanceMode
from resilience.storage import use_default

RULES: dict[str, RateLimiter] = {}
prices = Fallback(lambda: "stale", on=(KeyError,), name="prices")


class Limited(APIView):
    authentication_classes = ()
    permission_classes = ()
    throttle_classes: tuple[type[BaseThrottle], ...] = (RateLimitThrottle,)

    @property
    def throttle_rule(self) -> RateLimiter:
        return RULES["login"]

    def get(self, request: Request) -> Response:
        return Response("hello")


class Twice(RateLimitThrottle):
    """A second rule on the same view."""

    def allow_request(self, request: Request, view: APIView) -> bool:
        other = type("Other", (), {"throttle_rule": RULES["address"]})()
        return super().allow_request(request, other)


class Anonymous(AnonRateThrottle):
    rate = "1/day"


class TwiceLimited(Limited):
    throttle_classes = (RateLimitThrottle, Twice)


class DropIn(Limited):
    throttle_classes = (Anonymous,)


class Rejecting(Limited):
    def get(self, request: Request) -> Response:
        raise CircuitOpen("billing", retry_after_s=3.0)


def failing() -> str:
    raise KeyError


def stale(request: HttpRequest) -> HttpResponse:
    prices.call(failing)
    return HttpResponse("stale")


async def astale(request: HttpRequest) -> HttpResponse:
    await asyncio.sleep(0)
    prices.call(failing)
    return HttpResponse("stale")


def plain(request: HttpRequest) -> HttpResponse:
    return HttpResponse("plain")


REJECTIONS = {
    "open": CircuitOpen("billing", retry_after_s=3.0),
    "full": BulkheadFull("reports", 5, retry_after_s=3.0),
    "maintenance": MaintenanceMode("the database moves", retry_after_s=3.0),
}


def rejecting(request: HttpRequest, which: str) -> HttpResponse:
    raise REJECTIONS[which]


async def arejecting(request: HttpRequest, which: str) -> HttpResponse:
    raise REJECTIONS[which]


def limited_by_hand(request: HttpRequest) -> HttpResponse:
    RULES["login"].require("alice")
    return HttpResponse("hello")


def failing_otherwise(request: HttpRequest) -> HttpResponse:
    raise LookupError("ours")


urlpatterns = [
    path("limited", Limited.as_view()),
    path("twice", TwiceLimited.as_view()),
    path("dropin", DropIn.as_view()),
    path("drf-rejecting", Rejecting.as_view()),
    path("stale", stale),
    path("astale", astale),
    path("plain", plain),
    path("rejecting/<which>", rejecting),
    path("arejecting/<which>", arejecting),
    path("by-hand", limited_by_hand),
    path("fault", failing_otherwise),
]

Get = Callable[[str], Any]


def get_sync(url: str) -> Any:
    return Client().get(url)


def get_async(url: str) -> Any:
    return asyncio.run(AsyncClient().get(url))


@pytest.fixture(autouse=True)
def _site(settings: Any) -> Iterator[None]:
    settings.ROOT_URLCONF = __name__
    settings.MIDDLEWARE = ["resilience.drf.RateLimitMiddleware"]
    settings.REST_FRAMEWORK = {**settings.REST_FRAMEWORK, "EXCEPTION_HANDLER": "resilience.drf.exception_handler"}
    options: dict[str, Any] = {"store": MemoryStore(), "clock": FakeClock()}
    RULES["login"] = RateLimiter("login", limit=2, period_s=60.0, **options)
    RULES["address"] = RateLimiter("address", limit=9, period_s=3600.0, **options)
    use_default(MemoryStore())
    forget_limiters()
    yield
    use_default(None)
    forget_limiters()


both = pytest.mark.parametrize("get", [get_sync, get_async], ids=["sync", "async"])


@both
def test_an_allowed_request_carries_what_is_left(get: Get) -> None:
    response = get("/limited")
    assert response.status_code == 200
    assert response["RateLimit-Policy"] == '"login";q=2;w=60'
    assert response["RateLimit"] == '"login";r=1;t=30'
    assert "Retry-After" not in response


@both
def test_a_refused_one_is_the_drafts_problem_with_a_time_to_come_again(get: Get) -> None:
    get("/limited")
    get("/limited")
    response = get("/limited")
    assert response.status_code == 429
    assert response["Content-Type"] == "application/problem+json"
    assert response["RateLimit"] == '"login";r=0;t=30'
    assert 30 <= int(response["Retry-After"]) <= 33
    assert json.loads(response.content)["violated-policies"] == ["login"]


def test_under_drfs_own_handler_the_body_is_drfs_and_the_fields_are_there(settings: Any) -> None:
    settings.REST_FRAMEWORK = {**settings.REST_FRAMEWORK, "EXCEPTION_HANDLER": "rest_framework.views.exception_handler"}
    get_sync("/limited")
    get_sync("/limited")
    response = get_sync("/limited")
    assert (response.status_code, response["RateLimit"]) == (429, '"login";r=0;t=30')
    assert 30 <= int(response["Retry-After"]) <= 33


def test_several_rules_stand_in_one_list() -> None:
    response = get_sync("/twice")
    assert response["RateLimit-Policy"] == '"login";q=2;w=60, "address";q=9;w=3600'
    get_sync("/twice")
    refused = get_sync("/twice")
    assert json.loads(refused.content)["violated-policies"] == ["login"]
    assert refused["RateLimit"] == '"login";r=0;t=30, "address";r=6;t=1200'


def test_a_drop_in_throttle_shows_its_scope_and_keeps_drfs_retry_after_to_the_second() -> None:
    assert get_sync("/dropin")["RateLimit-Policy"] == '"anon";q=1;w=86400'
    refused = get_sync("/dropin")
    assert refused.status_code == 429
    assert 86_390 <= int(refused["Retry-After"]) <= 86_400
    assert refused["Retry-After"] == refused["RateLimit"].rpartition("t=")[2]


def test_a_view_without_a_limit_carries_nothing() -> None:
    response = get_sync("/plain")
    assert not [name for name in response.headers if "rate" in name.lower() or name in {"Retry-After", "X-Degraded"}]


def test_a_rule_on_trial_carries_nothing() -> None:
    RULES["login"].configure(shadow=True)
    for _ in range(3):
        response = get_sync("/limited")
        assert response.status_code == 200
        assert "RateLimit" not in response


def test_the_older_fields_are_a_setting(settings: Any) -> None:
    assert "X-RateLimit-Limit" not in get_sync("/limited")
    settings.RESILIENCE_X_RATELIMIT = True
    response = get_sync("/limited")
    assert (response["X-RateLimit-Limit"], response["X-RateLimit-Remaining"], response["X-RateLimit-Reset"]) == ("2", "0", "60")


@both
@pytest.mark.parametrize("url", ["/stale", "/astale"])
def test_fallbacks_that_answered_are_named_in_the_response(get: Get, url: str) -> None:
    assert get(url)["X-Degraded"] == '"prices"'
    assert "X-Degraded" not in get("/plain")


def test_nor_does_one_request_inherit_what_the_one_before_it_on_the_same_task_used() -> None:
    middleware: Any = RateLimitMiddleware(lambda request: stale(request) if request.path == "/stale" else plain(request))
    amiddleware: Any = RateLimitMiddleware(either)

    def at(path: str) -> HttpRequest:
        request = HttpRequest()
        request.path = path
        return request

    async def one_after_the_other() -> list[HttpResponse]:
        return [await amiddleware(at("/stale")), await amiddleware(at("/plain"))]

    for first, second in ([middleware(at("/stale")), middleware(at("/plain"))], asyncio.run(one_after_the_other())):
        assert "X-Degraded" in first
        assert "X-Degraded" not in second


async def either(request: HttpRequest) -> HttpResponse:
    return await astale(request) if request.path == "/stale" else plain(request)


@both
@pytest.mark.parametrize("view", ["rejecting", "arejecting"])
@pytest.mark.parametrize("which", ["open", "full", "maintenance"])
def test_a_rejection_that_leaves_a_view_is_answered_with_503(get: Get, view: str, which: str) -> None:
    response = get(f"/{view}/{which}")
    assert response.status_code == 503
    assert response["Content-Type"] == "application/problem+json"
    assert response["Retry-After"] == "3"
    assert json.loads(response.content)["status"] == 503


def test_one_out_of_a_drf_view_is_answered_by_the_exception_handler() -> None:
    response = get_sync("/drf-rejecting")
    assert (response.status_code, response["Retry-After"]) == (503, "3")
    assert response["Content-Type"] == "application/problem+json"
    assert response["RateLimit"] == '"login";r=1;t=30'
    assert b"billing" not in response.content


def test_a_limit_required_by_hand_is_answered_with_429() -> None:
    assert [get_sync("/by-hand").status_code for _ in range(3)] == [200, 200, 429]


def test_any_other_exception_is_left_alone() -> None:
    with pytest.raises(LookupError, match="ours"):
        get_sync("/fault")


def test_it_is_async_all_the_way() -> None:
    """A middleware that were sync would cost each async view a thread."""

    async def view(request: HttpRequest) -> HttpResponse:
        return HttpResponse(str(threading.get_ident()))

    middleware: Any = RateLimitMiddleware(view)
    assert iscoroutinefunction(middleware)

    async def ask() -> HttpResponse:
        response: HttpResponse = await middleware(HttpRequest())
        return response

    assert asyncio.run(ask()).content == str(threading.get_ident()).encode()
