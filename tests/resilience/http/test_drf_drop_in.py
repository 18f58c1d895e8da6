"""DRF's own throttles made exact: what people rely on in DRF's holds for ours."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured
from rest_framework import throttling
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.test import APIRequestFactory, force_authenticate
from rest_framework.views import APIView

from resilience import MemoryStore, drf
from resilience.storage import use_default


@pytest.fixture(autouse=True)
def _fresh() -> Iterator[None]:
    use_default(MemoryStore())
    drf.forget_limiters()
    yield
    use_default(None)
    drf.forget_limiters()


class Timed:
    """A throttle whose time the test sets, as DRF's tests set it: through `timer`."""

    seconds = 0.0

    def timer(self) -> float:
        return type(self).seconds


def at(seconds: float) -> None:
    Timed.seconds = seconds


@pytest.fixture(autouse=True)
def _at_zero() -> None:
    at(0)


def by_user(rate: str | None, scope: str = "user") -> Any:
    return type("ByUser", (Timed, drf.UserRateThrottle), {"rate": rate, "scope": scope})


def scoped(**rates: str | None) -> Any:
    return type("Scoped", (Timed, drf.ScopedRateThrottle), {"THROTTLE_RATES": rates})


def view(*throttles: type, scope: str | None = None) -> Any:
    def get(self: APIView, request: Request) -> Response:
        return Response("hello")

    attributes: dict[str, Any] = {
        "authentication_classes": (),
        "permission_classes": (),
        "throttle_classes": throttles,
        "get": get,
    }
    if scope is not None:
        attributes["throttle_scope"] = scope
    return type("View", (APIView,), attributes).as_view()  # type: ignore[attr-defined]  # made of APIView


def ask(of: Any, user: Any = None, **meta: Any) -> Response:
    request = APIRequestFactory().get("/", **meta)
    if user is not None:
        force_authenticate(request, user)
    response: Response = of(request)
    return response


def user(pk: int) -> Any:
    return SimpleNamespace(pk=pk, is_authenticated=True, is_active=True)


def statuses(of: Any, calls: int, **options: Any) -> list[int]:
    return [ask(of, **options).status_code for _ in range(calls)]


def test_the_fourth_of_three_a_second_is_refused_and_told_to_wait_a_second() -> None:
    limited = view(by_user("3/sec"))
    assert statuses(limited, 3) == [200] * 3
    refused = ask(limited)
    assert (refused.status_code, refused["Retry-After"]) == (429, "1")


@pytest.mark.parametrize(("rate", "retry"), [("3/s", "1"), ("3/min", "60"), ("3/hour", "3600"), ("3/day", "86400")])
def test_every_period_drf_knows_is_known(rate: str, retry: str) -> None:
    limited = view(by_user(rate))
    assert statuses(limited, 3) == [200] * 3
    assert ask(limited)["Retry-After"] == retry


def test_it_ends_when_the_period_is_over() -> None:
    limited = view(by_user("3/sec"))
    assert statuses(limited, 4) == [200] * 3 + [429]
    at(1)
    assert statuses(limited, 4) == [200] * 3 + [429]


def test_users_are_limited_each_for_themselves() -> None:
    limited = view(by_user("3/sec"))
    assert statuses(limited, 4, user=user(1)) == [200] * 3 + [429]
    assert ask(limited, user=user(2)).status_code == 200


def test_each_of_several_throttles_counts_every_call_and_the_longest_wait_is_told() -> None:
    limited = view(by_user("3/sec", "seconds"), by_user("6/min", "minutes"))
    refused = [ask(limited) for _ in range(4)][-1]
    assert (refused.status_code, refused["Retry-After"]) == (429, "1")
    # The call that the first throttle refused was counted by the second: two of its six are left.
    at(1)
    assert statuses(limited, 2) == [200] * 2
    refused = ask(limited)
    assert (refused.status_code, refused["Retry-After"]) == (429, "59")
    at(2)
    assert ask(limited)["Retry-After"] == "58"


def test_a_lowered_rate_acts_on_the_next_call() -> None:
    throttle = by_user("3/min")
    limited = view(throttle)
    assert statuses(limited, 2) == [200] * 2
    throttle.rate = "1/min"
    refused = ask(limited)
    assert (refused.status_code, refused["Retry-After"]) == (429, "60")


def test_who_keeps_to_the_rate_is_never_refused() -> None:
    limited = view(by_user("3/min"))
    for seconds in range(0, 400, 20):
        at(seconds)
        assert ask(limited).status_code == 200


def test_two_throttles_of_one_scope_share_their_count_as_they_share_drfs_cache_key() -> None:
    first, second = view(by_user("3/min", "same")), view(by_user("3/min", "same"))
    assert statuses(first, 2) == [200] * 2
    assert statuses(second, 2) == [200, 429]


def test_scopes_are_limited_each_at_their_own_rate() -> None:
    throttle = scoped(x="3/min", y="1/min")
    x, y = view(throttle, scope="x"), view(throttle, scope="y")
    assert statuses(x, 4) == [200] * 3 + [429]
    assert statuses(y, 2) == [200, 429]
    at(60)
    assert statuses(x, 4) == [200] * 3 + [429]
    assert statuses(y, 2) == [200, 429]


def test_a_view_without_a_scope_is_not_limited() -> None:
    assert statuses(view(scoped(x="1/day")), 5) == [200] * 5


@pytest.mark.parametrize("scope", ["a scope/with signs", "größe", "x" * 300])
def test_a_scope_may_be_any_text(scope: str) -> None:
    limited = view(type("Scoped", (drf.ScopedRateThrottle,), {"THROTTLE_RATES": {scope: "1/day"}}), scope=scope)
    assert statuses(limited, 2) == [200, 429]


def test_an_anonymous_throttle_leaves_users_alone() -> None:
    limited = view(type("Anon", (drf.AnonRateThrottle,), {"rate": "1/day"}))
    assert statuses(limited, 2) == [200, 429]
    assert statuses(limited, 3, user=user(1)) == [200] * 3


def test_no_rate_limits_nobody_and_a_rate_of_none_at_all_everybody() -> None:
    anon = type("Anon", (drf.AnonRateThrottle,), {"THROTTLE_RATES": {"anon": None}})
    assert statuses(view(anon), 3) == [200] * 3
    assert statuses(view(by_user("0/day")), 2) == [429] * 2


def test_the_keys_are_drfs() -> None:
    request = Request(APIRequestFactory().get("/"))
    request.user = user(7)
    assert drf.UserRateThrottle().get_cache_key(request, APIView()) == "throttle_user_7"
    assert drf.AnonRateThrottle().get_cache_key(request, APIView()) is None


@pytest.mark.parametrize("num_proxies", [1, 2])
def test_a_spoofed_address_changes_nothing_behind_so_many_proxies(num_proxies: int, settings: Any) -> None:
    settings.REST_FRAMEWORK = {**settings.REST_FRAMEWORK, "NUM_PROXIES": num_proxies}
    limited = view(by_user("1/day"))
    seen = ["9.9.9.9, 1.1.1.1, 2.2.2.2", "4.4.4.4, 1.1.1.1, 2.2.2.2", "9.9.9.9, 3.3.3.3, 7.7.7.7"]
    assert [ask(limited, HTTP_X_FORWARDED_FOR=hops).status_code for hops in seen] == [200, 429, 200]


def test_a_throttle_that_names_neither_rate_nor_scope_is_refused_as_drf_refuses_it() -> None:
    with pytest.raises(ImproperlyConfigured):
        drf.SimpleRateThrottle()
    with pytest.raises(ImproperlyConfigured):
        type("Unknown", (drf.SimpleRateThrottle,), {"scope": "no such scope"})()


def test_before_it_was_asked_wait_says_what_drfs_says() -> None:
    own, ours = throttling.UserRateThrottle(), drf.UserRateThrottle()
    for throttle in (own, ours):
        throttle.num_requests, throttle.duration, throttle.history = 1, 60, []  # type: ignore[attr-defined]  # as DRF sets them
    assert ours.wait() == own.wait() == 30.0


def test_a_rate_above_a_thousand_does_not_keep_a_stamp_for_every_call() -> None:
    throttle = by_user("5000/day")()
    assert throttle._limiter().options["algorithm"] == "sliding_window"
    assert by_user("1000/day")()._limiter().options["algorithm"] == "sliding_log"


def test_one_limiter_serves_all_requests_of_a_class() -> None:
    throttle = by_user("3/min")
    assert throttle()._limiter() is throttle()._limiter()
