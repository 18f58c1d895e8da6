"""All tiers together on a real cluster: exact where they promise it, within the bound where they lease."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from resilience import Lease, RateLimiter, RedisStore
from tests.resilience.rate_limiter_tiers.test_coalescing import hammer

pytestmark = pytest.mark.cluster


@pytest.mark.parametrize("options", [{}, {"coalesce": True}], ids=["deny cache", "coalesced"])
def test_threads_are_admitted_exactly_as_often_as_the_limit_says(
    cluster_url: str, key_prefix: str, options: dict[str, Any]
) -> None:
    store = RedisStore(cluster_url, prefix=key_prefix, timeout_s=5.0)
    rule = RateLimiter("login", limit=100, period_s=86_400.0, store=store, **options)
    assert hammer(16, 25, lambda: rule.acquire("alice")) == 100
    store.close()


def test_so_are_tasks(cluster_url: str, key_prefix: str) -> None:
    store = RedisStore(cluster_url, prefix=key_prefix, timeout_s=5.0)
    rule = RateLimiter("login", limit=50, period_s=86_400.0, store=store, coalesce=True)

    async def ask() -> int:
        answers = await asyncio.gather(*(rule.aacquire("alice") for _ in range(200)))
        await store.aclose()
        return sum(verdict.allowed for verdict in answers)

    assert asyncio.run(ask()) == 50


def test_a_lease_never_admits_more_than_was_granted(cluster_url: str, key_prefix: str) -> None:
    store = RedisStore(cluster_url, prefix=key_prefix, timeout_s=5.0)
    rule = RateLimiter("login", limit=8_640_000, period_s=86_400.0, burst=500, store=store, lease=Lease(eps=1.0, ttl_s=10.0))
    begun = rule.core.clock.monotonic()
    admitted = hammer(8, 500, lambda: rule.acquire("alice"))
    passed_s = rule.core.clock.monotonic() - begun
    assert admitted <= 500 + 100 * passed_s + 1
    store.close()
