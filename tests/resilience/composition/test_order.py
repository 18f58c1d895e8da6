"""The order of a pipeline's stages is fixed, however it is written."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable
from typing import Any

import pytest

from resilience import (
    Bulkhead,
    CircuitBreaker,
    FakeClock,
    MemoryStore,
    RateLimiter,
    Retry,
    remaining_s,
)
from resilience.decorators import bulkhead, circuit_breaker, degradable, rate_limit, retry, timeout


class Parts:
    """One of each, on one clock and one memory, that note when they are asked."""

    def __init__(self, clock: FakeClock, seen: list[str]) -> None:
        store = MemoryStore(clock=clock)
        self.limiter = RateLimiter("order", limit=100, period_s=60.0, store=store, clock=clock)
        self.bulkhead = Bulkhead("order", 5, store=store, clock=clock)
        self.breaker = CircuitBreaker("order", store=store, clock=clock)
        self.retry = Retry(attempts=2, clock=clock)
        self.seen = seen
        for strategy, verbs in (
            (self.limiter, ("acquire", "aacquire")),
            (self.bulkhead, ("acquire", "aacquire")),
            (self.breaker, ("acquire", "aacquire")),
            (self.retry, ("call", "acall")),
        ):
            for verb in verbs:
                setattr(strategy, verb, self.noting(type(strategy).__name__, getattr(strategy, verb)))

    def noting(self, name: str, verb: Callable[..., Any]) -> Callable[..., Any]:
        def noted(*args: Any, **kwargs: Any) -> Any:
            self.seen.append(f"{name} {remaining_s()}")
            return verb(*args, **kwargs)

        return noted

    def decorators(self) -> list[Callable[[Any], Any]]:
        def fallback() -> str:
            self.seen.append(f"fallback {remaining_s()}")
            return "plain"

        return [
            degradable(fallback=fallback, on=Exception),
            timeout(9.0, attempt_timeout_s=2.0),
            rate_limit(self.limiter),
            bulkhead(self.bulkhead),
            retry(self.retry),
            circuit_breaker(self.breaker),
        ]


WALK = [
    "RateLimiter 9.0",
    "Bulkhead 9.0",
    "Retry 9.0",
    "CircuitBreaker 9.0",
    "call 2.0",
    "CircuitBreaker 9.0",
    "call 2.0",
    "fallback None",
]

# Both directions and their rotations: each decorator stands at each place, and above and below each other one.
ORDERS = [[(start + step * at) % 6 for at in range(6)] for start, step in itertools.product(range(6), (1, -1))]


class Zero:
    def uniform(self, a: float, b: float, /) -> float:
        return a


@pytest.mark.parametrize("kind", ["sync", "async", "generator", "async generator"])
def test_stacked_decorators_run_in_the_fixed_order_whatever_order_they_are_written_in(kind: str) -> None:
    for order in ORDERS:
        # The pipeline's own clock is the system's: a deadline of 9 s is 9.0 to the digit only on a clock that stands still.
        seen: list[str] = []
        parts = Parts(FakeClock(), seen)
        parts.retry._rng = Zero()
        function = _function(kind, seen)
        for at in order:
            function = parts.decorators()[at](function)
        assert _run(kind, function) == "plain"
        assert [_rounded(step) for step in seen] == WALK, order


def _rounded(step: str) -> str:
    name, left = step.rsplit(" ", 1)
    return step if left == "None" else f"{name} {float(round(float(left)))}"


def _function(kind: str, seen: list[str]) -> Any:
    def fail() -> None:
        seen.append(f"call {remaining_s()}")
        raise ConnectionError

    def function() -> None:
        fail()

    async def coroutine() -> None:
        fail()

    def generator() -> Any:
        fail()
        yield

    async def async_generator() -> Any:
        fail()
        yield

    return {"sync": function, "async": coroutine, "generator": generator, "async generator": async_generator}[kind]


def _run(kind: str, function: Any) -> str:
    async def items() -> str:
        return "".join([item async for item in function()])

    if kind == "sync":
        return str(function())
    if kind == "async":
        return str(asyncio.run(function()))
    return "".join(function()) if kind == "generator" else asyncio.run(items())
