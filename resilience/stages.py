"""The stages of a pipeline: what a call needs before it is made, and what is given back after it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from resilience.clock import SYSTEM, Clock
from resilience.deadline import Deadline, ensure_time_left, remaining_s
from resilience.errors import RateLimited
from resilience.telemetry import internal_error

if TYPE_CHECKING:
    from resilience.bulkhead import Bulkhead, Permit
    from resilience.circuit_breaker.breaker import CircuitBreaker
    from resilience.circuit_breaker.permit import CallPermit
    from resilience.fallback import Fallback
    from resilience.rate_limiter.limiter import RateLimiter
    from resilience.retry import Retry

Args = tuple[Any, ...]
Kwargs = Mapping[str, Any]


class Limit(NamedTuple):
    """A rate limit as a call meets it. `key`: a text, or a function of the call's arguments; `cost`: tokens a call."""

    limiter: RateLimiter
    key: str | Callable[..., str]
    cost: int = 1

    def key_of(self, args: Args, kwargs: Kwargs) -> str:
        return self.key(*args, **kwargs) if callable(self.key) else self.key


@dataclass(frozen=True, slots=True)
class Plan:
    """What a pipeline is made of. A call takes one plan and keeps it: a live change acts on the next call."""

    name: str
    fallback: Fallback | None = None
    timeout_s: float | None = None
    limits: tuple[Limit, ...] = ()
    bulkhead: Bulkhead | None = None
    retry: Retry | None = None
    breaker: CircuitBreaker | None = None
    attempt_timeout_s: float | None = None
    clock: Clock = SYSTEM

    def total(self) -> Deadline | nullcontext[None]:
        return nullcontext() if self.timeout_s is None else Deadline(self.timeout_s, name=self.name, clock=self.clock)

    def single(self) -> Deadline | nullcontext[None]:
        """Of one attempt."""
        if self.attempt_timeout_s is None:
            return nullcontext()
        return Deadline(self.attempt_timeout_s, name=f"{self.name}: an attempt", clock=self.clock)


def quietly(stage: str, call: Callable[..., object], *args: Any) -> None:
    """What follows a call may fail, and must not replace what came of the call."""
    try:
        call(*args)
    except Exception as fault:  # noqa: BLE001 - counted and logged; the call's own result or exception is what the caller gets
        internal_error("pipeline", stage, fault)


async def aquietly(stage: str, call: Callable[..., Awaitable[object]], *args: Any) -> None:
    """`quietly`; a cancellation goes on."""
    try:
        await call(*args)
    except Exception as fault:  # noqa: BLE001 - as above
        internal_error("pipeline", stage, fault)


def admit(plan: Plan, args: Args, kwargs: Kwargs) -> None:
    """All rate limits or none: what an earlier one granted goes back when a later one refuses."""
    # Every key first: a key function that fails has then used up nothing.
    asked = [(limit, limit.key_of(args, kwargs)) for limit in plan.limits]
    granted: list[tuple[RateLimiter, Any]] = []
    try:
        for limit, key in asked:
            verdict = limit.limiter.acquire(key, limit.cost)
            if not verdict:
                raise RateLimited(limit.limiter.name, verdict)
            granted.append((limit.limiter, verdict))
    except BaseException:
        for limiter, verdict in granted:
            quietly("refund", limiter.refund, verdict)
        raise


async def aadmit(plan: Plan, args: Args, kwargs: Kwargs) -> None:
    asked = [(limit, limit.key_of(args, kwargs)) for limit in plan.limits]
    granted: list[tuple[RateLimiter, Any]] = []
    try:
        for limit, key in asked:
            verdict = await limit.limiter.aacquire(key, limit.cost)
            if not verdict:
                raise RateLimited(limit.limiter.name, verdict)
            granted.append((limit.limiter, verdict))
    except BaseException:
        for limiter, verdict in granted:
            await aquietly("refund", limiter.arefund, verdict)
        raise


def wait_s(bulkhead: Bulkhead) -> float:
    """How long to wait for a permit: what the bulkhead allows, never past the deadline."""
    allowed: float = bulkhead.options["max_wait_s"]
    left = remaining_s()
    return allowed if left is None else max(0.0, min(allowed, left))  # it may pass while we look


def enter(plan: Plan) -> Permit | None:
    if plan.bulkhead is None:
        return None
    ensure_time_left()
    return plan.bulkhead.acquire(wait_s(plan.bulkhead))


async def aenter(plan: Plan) -> Permit | None:
    if plan.bulkhead is None:
        return None
    ensure_time_left()
    return await plan.bulkhead.aacquire(wait_s(plan.bulkhead))


class Attempt:
    """One attempt, as the breaker sees it. `begun` is set once the call itself has started."""

    __slots__ = ("begun", "permit")

    def __init__(self, permit: CallPermit | None) -> None:
        self.permit = permit
        self.begun = False

    def succeeded(self, *result: Any) -> None:
        """`result`: what the breaker's `failure_if` may judge; none of a generator."""
        if self.permit is not None:
            quietly("record", self.permit.success, *result)

    def failed(self, error: BaseException) -> None:
        if self.permit is None:
            return
        if self.begun:
            quietly("record", self.permit.failure, error)
        else:
            # The time was over before the call began: that says nothing about what would have been called.
            quietly("record", self.permit.ignore)

    async def asucceeded(self, *result: Any) -> None:
        if self.permit is not None:
            await aquietly("record", self.permit.asuccess, *result)

    async def afailed(self, error: BaseException) -> None:
        if self.permit is None:
            return
        if self.begun:
            await aquietly("record", self.permit.afailure, error)
        else:
            await aquietly("record", self.permit.aignore)
