"""The throttle for DRF: one rule by name, exact under concurrency, its figures in the response."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import pytest
from django.core.cache.backends.redis import RedisCache
from rest_framework import throttling
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.test import APIRequestFactory, force_authenticate
from rest_framework.views import APIView

from resilience import FakeClock, MemoryStore, RateLimiter, RedisStore, drf, registry
from resilience.drf import RateLimitThrottle
from resilience.storage import use_default

CALLS, LIMIT = 320, 20


@pytest.fixture(autouse=True)
def _fresh() -> Iterator[None]:
    use_default(MemoryStore())
    drf.forget_limiters()
    yield
    use_default(None)
    drf.forget_limiters()


def rule(limit: int = 2, **options: Any) -> RateLimiter:
    return RateLimiter("login", **{"limit": limit, "period_s": 60.0, "store": MemoryStore(), "clock": FakeClock(), **options})


def view(throttle_rule: Any, *throttles: type, **attributes: Any) -> Any:
    def get(self: APIView, request: Request) -> Response:
        return Response("hello")

    found = {
        "authentication_classes": (),
        "permission_classes": (),
        "throttle_classes": throttles or (RateLimitThrottle,),
        "throttle_rule": throttle_rule,
        "get": get,
        **attributes,
    }
    return type("View", (APIView,), found).as_view()  # type: ignore[attr-defined]  # made of APIView


def ask(of: Any, user: Any = None, **meta: Any) -> Response:
    request = APIRequestFactory().get("/", **meta)
    if user is not None:
        force_authenticate(request, user)
    response: Response = of(request)
    return response


def user(pk: Any) -> Any:
    return SimpleNamespace(pk=pk, is_authenticated=True, is_active=True)


def test_a_view_without_a_rule_is_not_limited() -> None:
    assert {ask(view(None)).status_code for _ in range(5)} == {200}


def test_a_view_is_limited_by_the_rule_it_names_and_says_when_to_come_again() -> None:
    registry.declare("limiter", "drf-test", limit=1, period_s=60.0)
    registry.limiter("drf-test").reset("ip:127.0.0.1")
    limited = view("drf-test")
    assert ask(limited).status_code == 200
    refused = ask(limited)
    assert refused.status_code == 429
    assert 60 <= int(refused["Retry-After"]) <= 66
    registry.limiter("drf-test").reset("ip:127.0.0.1")


def test_users_are_counted_by_their_key_and_strangers_by_their_address() -> None:
    limited = view(rule(1))
    alice, bob = user(7), user("b:ö b")
    assert [ask(limited, alice).status_code for _ in range(2)] == [200, 429]
    assert [ask(limited, bob).status_code for _ in range(2)] == [200, 429]
    assert [ask(limited, REMOTE_ADDR="192.0.2.1").status_code for _ in range(2)] == [200, 429]
    assert ask(limited, REMOTE_ADDR="2001:db8::1").status_code == 200


def test_behind_our_proxies_the_address_is_the_one_they_saw_and_not_the_one_the_client_claims(settings: Any) -> None:
    settings.REST_FRAMEWORK = {**settings.REST_FRAMEWORK, "NUM_PROXIES": 1}
    limited = view(rule(1))
    assert ask(limited, HTTP_X_FORWARDED_FOR="1.1.1.1, 192.0.2.1").status_code == 200
    assert ask(limited, HTTP_X_FORWARDED_FOR="2.2.2.2, 192.0.2.1").status_code == 429
    assert ask(limited, HTTP_X_FORWARDED_FOR="1.1.1.1, 192.0.2.2").status_code == 200


def test_without_proxies_what_the_client_claims_counts_for_nothing(settings: Any) -> None:
    settings.REST_FRAMEWORK = {**settings.REST_FRAMEWORK, "NUM_PROXIES": 0}
    limited = view(rule(1))
    assert ask(limited, HTTP_X_FORWARDED_FOR="1.1.1.1").status_code == 200
    assert ask(limited, HTTP_X_FORWARDED_FOR="2.2.2.2").status_code == 429


def test_a_throttle_may_count_by_another_key_or_let_somebody_pass() -> None:
    class ByTenant(RateLimitThrottle):
        def key_of(self, request: Request, view: APIView) -> str | None:
            return request.headers.get("X-Tenant")

    limited = view(rule(1), ByTenant)
    assert [ask(limited, HTTP_X_TENANT=name).status_code for name in ("a", "a", "b")] == [200, 429, 200]
    assert {ask(limited).status_code for _ in range(3)} == {200}


def test_a_view_may_cost_more_than_one() -> None:
    limited = view(rule(10), throttle_cost=4)
    assert [ask(limited).status_code for _ in range(3)] == [200, 200, 429]


def test_a_request_above_the_limit_itself_is_told_no_time() -> None:
    refused = ask(view(rule(2), throttle_cost=3))
    assert refused.status_code == 429
    assert "Retry-After" not in refused


def test_a_rule_on_trial_refuses_nobody() -> None:
    assert {ask(view(rule(1, shadow=True))).status_code for _ in range(3)} == {200}


def concurrent(of: Any, threads: int = 16) -> int:
    barrier = threading.Barrier(threads)

    def work(_: int) -> int:
        barrier.wait()
        return sum(ask(of).status_code == 200 for _ in range(CALLS // threads))

    with ThreadPoolExecutor(threads) as pool:
        return sum(pool.map(work, range(threads)))


def test_320_concurrent_calls_against_a_limit_of_20_admit_exactly_20(valkey_url: str, key_prefix: str) -> None:
    store = RedisStore(valkey_url, prefix=key_prefix, timeout_s=5.0)
    for algorithm in ("gcra", "token_bucket", "sliding_log", "sliding_window", "fixed_window"):
        limiter = RateLimiter(f"drf-{algorithm}", algorithm, limit=LIMIT, period_s=86_400.0, store=store)
        assert concurrent(view(limiter)) == LIMIT, algorithm


def test_drfs_own_throttle_made_exact_admits_exactly_20_too(valkey_url: str, key_prefix: str) -> None:
    use_default(RedisStore(valkey_url, prefix=key_prefix, timeout_s=5.0))

    class Exact(drf.AnonRateThrottle):
        rate = f"{LIMIT}/day"

    assert concurrent(view(None, Exact)) == LIMIT


def test_for_the_record_how_many_drfs_own_admits(
    valkey_url: str, key_prefix: str, record_property: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    """A figure for the page, not a claim: it differs from run to run. It is never fewer than the limit."""

    class Own(throttling.AnonRateThrottle):
        rate = f"{LIMIT}/day"
        cache: Any = RedisCache(valkey_url, {"KEY_PREFIX": key_prefix})

    admitted = concurrent(view(None, Own))
    record_property("admitted_by_drf", admitted)
    with capsys.disabled():
        sys.stdout.write(f"\nDRF's own throttle admitted {admitted} of {CALLS} concurrent calls against a limit of {LIMIT}\n")
    assert admitted >= LIMIT
    Own.cache.close()
