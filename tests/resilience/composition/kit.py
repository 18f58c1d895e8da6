"""Strategies on one clock and one store that can be broken, and every form in which a call can be guarded."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from resilience import Bulkhead, CircuitBreaker, FakeClock, Fallback, MemoryStore, Pipeline, RateLimiter, Retry, Timeout
from resilience.asgi import RateLimitMiddleware
from resilience.laws.keyspace import Reply


class BreakableStore(MemoryStore):
    """Memory that passes for Redis, with a memory of its own behind it. `broken`: operation, or "all" → what it raises."""

    name = "redis"  # type: ignore[misc, assignment]  # strategies batch and fall back as they do with a server

    def __init__(self, clock: FakeClock) -> None:
        super().__init__(clock=clock)
        self.broken: dict[str, Exception] = {}
        self.behind = MemoryStore(clock=clock)

    @property
    def local(self) -> Any:
        return self.behind

    def run(self, op: str, tag: str, args: Sequence[int | str] = (), now: int = 0) -> Reply:
        error = self.broken.get(op) or self.broken.get("all")
        if error is not None:
            raise error
        return super().run(op, tag, args, now)

    async def arun(self, op: str, tag: str, args: Sequence[int | str] = (), now: int = 0) -> Reply:
        await asyncio.sleep(0)  # as a server does: here another task may run, and this one be cancelled
        return self.run(op, tag, args, now)

    attempt = run
    aattempt = arun

    async def arun_many(self, calls: Any, now: int = 0) -> Any:
        await asyncio.sleep(0)
        return self.run_many(calls, now)

    attempt_many = MemoryStore.run_many
    aattempt_many = arun_many


LIMIT = 10


class Kit:
    """One of each. The first failure opens the breaker; retries are for ConnectionError."""

    def __init__(self, store: Any = None) -> None:
        self.clock = FakeClock()
        self.store = store or BreakableStore(self.clock)
        common: Any = {"store": self.store, "clock": self.clock}
        self.limiter = RateLimiter("rule", limit=LIMIT, period_s=3600.0, deny_cache=False, **common)
        self.bulkhead = Bulkhead("room", 3, lease_s=30.0, **common)
        self.breaker = CircuitBreaker("dep", consecutive=1, quorum=1, flush_s=0.0, **common)
        self.timeout = Timeout(60.0, name="page", clock=self.clock)
        self.failures: list[Exception] = []

    def pipeline(self, on: type[Exception] = LookupError, **stages: Any) -> Pipeline:
        def fallback() -> None:
            raise self.failures[-1]

        return Pipeline(
            "pay",
            clock=self.clock,
            **{
                "fallback": Fallback(fallback, on),
                "timeout_s": 60.0,
                "rate_limit": self.limiter,
                "bulkhead": self.bulkhead,
                "retry": Retry(1, clock=self.clock),
                "breaker": self.breaker,
                "attempt_timeout_s": 30.0,
                **stages,
            },
        )

    def in_flight(self) -> int:
        """After every lease is over: what is still held then would be held for ever."""
        self.store.broken.clear()
        self.clock.advance(61.0)
        return self.bulkhead.in_flight + self.bulkhead_behind()

    def bulkhead_behind(self) -> int:
        return Bulkhead("room", 3, store=self.store.local, clock=self.clock).in_flight


def run_all(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """asyncio.run, and what was left to be done on the loop: a release that timed out is repeated there."""

    async def main() -> Any:
        try:
            return await coroutine
        finally:
            for _ in range(5):
                await asyncio.sleep(0)

    return asyncio.run(main())


Call = Callable[[Kit, Callable[[], Any], type[Exception]], Any]


def sync(kit: Kit, fn: Callable[[], Any], on: type[Exception]) -> Any:
    return kit.pipeline(on).call(fn)


def coroutine(kit: Kit, fn: Callable[[], Any], on: type[Exception]) -> Any:
    async def call() -> Any:
        await asyncio.sleep(0)
        return fn()

    return run_all(kit.pipeline(on).acall(call))


def context(kit: Kit, fn: Callable[[], Any], on: type[Exception]) -> Any:
    with kit.timeout, kit.bulkhead, kit.breaker:
        return fn()


def async_context(kit: Kit, fn: Callable[[], Any], on: type[Exception]) -> Any:
    async def call() -> Any:
        async with kit.timeout, kit.bulkhead, kit.breaker:
            await asyncio.sleep(0)
            return fn()

    return run_all(call())


def generator_at_once(kit: Kit, fn: Callable[[], Any], on: type[Exception]) -> Any:
    def items() -> Any:
        yield fn()

    (item,) = kit.pipeline(on).stream(items)
    return item


def generator_later(kit: Kit, fn: Callable[[], Any], on: type[Exception]) -> Any:
    def items() -> Any:
        yield 1
        yield fn()

    return list(kit.pipeline(on).stream(items))[1]


def async_generator_at_once(kit: Kit, fn: Callable[[], Any], on: type[Exception]) -> Any:
    async def items() -> Any:
        await asyncio.sleep(0)
        yield fn()

    async def call() -> Any:
        return [item async for item in kit.pipeline(on).astream(items)]

    return run_all(call())[0]


def async_generator_later(kit: Kit, fn: Callable[[], Any], on: type[Exception]) -> Any:
    async def items() -> Any:
        yield 1
        await asyncio.sleep(0)
        yield fn()

    async def call() -> Any:
        return [item async for item in kit.pipeline(on).astream(items)]

    return run_all(call())[1]


def middleware(kit: Kit, fn: Callable[[], Any], on: type[Exception]) -> Any:
    """The whole pipeline but its limit inside the limit's middleware."""
    pipeline = kit.pipeline(on, rate_limit=None)
    answers: list[Any] = []

    async def view() -> Any:
        return fn()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        answers.append(await pipeline.acall(view))

    async def send(message: Any) -> None: ...

    async def receive() -> Any: ...

    scope = {"type": "http", "path": "/", "method": "GET", "headers": [], "client": ("127.0.0.1", 1)}
    run_all(RateLimitMiddleware(app, kit.limiter, lambda scope: "pay")(scope, receive, send))
    return answers[0]


PIPELINES: dict[str, Call] = {
    "sync": sync,
    "async": coroutine,
    "generator, first item": generator_at_once,
    "generator, second item": generator_later,
    "async generator, first item": async_generator_at_once,
    "async generator, second item": async_generator_later,
    "middleware": middleware,
}
FORMS: dict[str, Call] = {**PIPELINES, "context": context, "async context": async_context}
