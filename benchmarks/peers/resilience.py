"""One decision of each rival limiter and breaker, on the server that ours use."""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import version
from typing import Any

Decision = Callable[[], Any]
MANY = 1_000_000_000  # a limit that is never reached: each decision is an admission, which writes


def limits(url: str) -> dict[str, Decision]:
    from limits import RateLimitItemPerHour  # noqa: PLC0415 - installed for this run alone
    from limits.storage import RedisStorage  # noqa: PLC0415
    from limits.strategies import FixedWindowRateLimiter, MovingWindowRateLimiter, SlidingWindowCounterRateLimiter  # noqa: PLC0415

    storage = RedisStorage(url.replace("unix://", "redis+unix://"))
    item = RateLimitItemPerHour(MANY)
    name = f"limits {version('limits')}"
    strategies = {
        "fixed window": FixedWindowRateLimiter(storage),
        "sliding window": SlidingWindowCounterRateLimiter(storage),
        "moving window": MovingWindowRateLimiter(storage),
    }
    small = RateLimitItemPerHour(1_000)
    return {
        f"{name}, {title}": (lambda s=strategy, i=small if title == "moving window" else item: s.hit(i, "user", "7"))
        for title, strategy in strategies.items()
    }


def pyrate_limiter(url: str) -> dict[str, Decision]:
    import redis  # noqa: PLC0415
    from pyrate_limiter import Limiter, Rate, RedisBucket  # noqa: PLC0415

    bucket = RedisBucket.init([Rate(1_000, 3_600_000)], redis.Redis.from_url(url), "bench:pyrate")
    limiter = Limiter(bucket)
    return {f"pyrate-limiter {version('pyrate-limiter')}, sliding log": lambda: limiter.try_acquire("user", blocking=False)}


def throttled(url: str) -> dict[str, Decision]:
    from throttled import RateLimiterType, Throttled, rate_limiter, store  # noqa: PLC0415

    name = f"throttled-py {version('throttled-py')}"
    found = {}
    for title, kind in (
        ("gcra", RateLimiterType.GCRA),
        ("fixed window", RateLimiterType.FIXED_WINDOW),
        ("token bucket", RateLimiterType.TOKEN_BUCKET),
    ):
        shared = store.RedisStore(server=url)
        limit = Throttled(using=kind.value, quota=rate_limiter.per_sec(1_000_000, burst=1_000_000), store=shared)
        found[f"{name}, {title}"] = lambda limit=limit: limit.limit("user:7")
    return found


def pybreaker(url: str) -> dict[str, Decision]:
    import redis  # noqa: PLC0415
    from pybreaker import STATE_CLOSED, CircuitBreaker, CircuitRedisStorage  # noqa: PLC0415

    breaker = CircuitBreaker(state_storage=CircuitRedisStorage(STATE_CLOSED, redis.Redis.from_url(url)))
    return {f"pybreaker {version('pybreaker')}, a call through a closed breaker": lambda: breaker.call(int)}


LIMITERS = (limits, pyrate_limiter, throttled)
BREAKERS = (pybreaker,)
