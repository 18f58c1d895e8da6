"""Pipeline: fallback, time-out, rate limit, bulkhead, retry, breaker and attempt time-out in one fixed order."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Iterable, Mapping
from dataclasses import fields, replace
from types import MappingProxyType
from typing import Any, Final, ParamSpec, TypeVar

from resilience.bulkhead import Bulkhead
from resilience.circuit_breaker.breaker import CircuitBreaker
from resilience.clock import SYSTEM, Clock
from resilience.deadline import check_seconds, ensure_time_left
from resilience.fallback import Fallback
from resilience.rate_limiter.limiter import RateLimiter
from resilience.retry import Retry
from resilience.stages import Args, Attempt, Kwargs, Limit, Plan, aadmit, admit, aenter, aquietly, enter, quietly
from resilience.storage.keys import check_name
from resilience.streams import astreaming, stream

__all__ = ["Limit", "Pipeline"]

P = ParamSpec("P")
R = TypeVar("R")

OPTIONS: Final = ("fallback", "timeout_s", "rate_limit", "bulkhead", "retry", "breaker", "attempt_timeout_s")


class Pipeline:
    """Calls through the stages it was given, outermost first: fallback, total time-out, rate limit, bulkhead, retry, breaker,
    attempt time-out, call. However it is written, the order is this.

    Invariants: (1) what the call raises leaves as the same object, unless a fallback answers; (2) what a stage took is given back
    however the call ends, cancellation included; (3) a fault in recording or giving back is counted and hides nothing.

    `rate_limit`: a limiter (one bucket for the pipeline), a Limit(limiter, key, cost), or several: all admit, or none is charged.
    """

    def __init__(
        self,
        name: str,
        *,
        fallback: Fallback | None = None,
        timeout_s: float | None = None,
        rate_limit: RateLimiter | Limit | Iterable[Limit] | None = None,
        bulkhead: Bulkhead | None = None,
        retry: Retry | None = None,
        breaker: CircuitBreaker | None = None,
        attempt_timeout_s: float | None = None,
        clock: Clock | None = None,
    ) -> None:
        self.name = check_name(name)
        given = {
            "fallback": fallback,
            "timeout_s": timeout_s,
            "rate_limit": rate_limit,
            "bulkhead": bulkhead,
            "retry": retry,
            "breaker": breaker,
            "attempt_timeout_s": attempt_timeout_s,
        }
        self._plan = Plan(name, clock=clock or SYSTEM, **_checked(name, given))

    @property
    def options(self) -> Mapping[str, Any]:
        plan = self._plan
        options = {field.name: getattr(plan, field.name) for field in fields(plan) if field.name in OPTIONS}
        return MappingProxyType({**options, "rate_limit": plan.limits or None})

    def configure(self, **changes: Any) -> None:
        """Acts on the next call; a running one keeps the stages it began with."""
        self._plan = replace(self._plan, **_checked(self.name, changes))

    def call(self, fn: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        plan = self._plan
        if plan.fallback is None:
            return _call(plan, fn, args, kwargs)
        plan.fallback.refuse_async()
        try:
            return _call(plan, fn, args, kwargs)
        except plan.fallback.on as error:
            answer: R = plan.fallback.answer(error, args, kwargs)
            return answer

    async def acall(self, fn: Callable[P, Awaitable[R]], *args: P.args, **kwargs: P.kwargs) -> R:
        plan = self._plan
        if plan.fallback is None:
            return await _acall(plan, fn, args, kwargs)
        try:
            return await _acall(plan, fn, args, kwargs)
        except plan.fallback.on as error:
            answer: R = await plan.fallback.aanswer(error, args, kwargs)
            return answer

    def stream(self, fn: Callable[P, Generator[Any, Any, R]], *args: P.args, **kwargs: P.kwargs) -> Generator[Any, Any, R]:
        """A generator under the pipeline, from its first item to its last; see streams.py for what that means."""
        return stream(self._plan, fn, args, kwargs)

    def astream(self, fn: Callable[P, AsyncGenerator[Any, Any]], *args: P.args, **kwargs: P.kwargs) -> AsyncGenerator[Any, Any]:
        return astreaming(lambda: self._plan, fn)(*args, **kwargs)

    @property
    def plan(self) -> Plan:
        """The stages of a call that begins now."""
        return self._plan

    def __repr__(self) -> str:
        stages = [name for name, value in self.options.items() if value is not None]
        return f"<Pipeline {self.name}: {', '.join(stages) or 'the call alone'}>"


def _call(plan: Plan, fn: Callable[..., R], args: Args, kwargs: Kwargs) -> R:
    with plan.total():
        admit(plan, args, kwargs)
        permit = enter(plan)
        try:
            if plan.retry is None:
                return _attempt(plan, fn, args, kwargs)
            return plan.retry.call(_attempt, plan, fn, args, kwargs)
        finally:
            if permit is not None:
                quietly("release", permit.release)


async def _acall(plan: Plan, fn: Callable[..., Awaitable[R]], args: Args, kwargs: Kwargs) -> R:
    async with plan.total():
        await aadmit(plan, args, kwargs)
        permit = await aenter(plan)
        try:
            if plan.retry is None:
                return await _aattempt(plan, fn, args, kwargs)
            return await plan.retry.acall(_aattempt, plan, fn, args, kwargs)
        finally:
            if permit is not None:
                await aquietly("release", permit.arelease)


def _attempt(plan: Plan, fn: Callable[..., R], args: Args, kwargs: Kwargs) -> R:
    # What the stages so far have waited may have used up the time: what has not begun by then does not begin.
    ensure_time_left()
    attempt = Attempt(None if plan.breaker is None else plan.breaker.acquire())
    try:
        with plan.single():
            attempt.begun = True
            result = fn(*args, **kwargs)
    except BaseException as error:
        attempt.failed(error)
        raise
    attempt.succeeded(result)
    return result


async def _aattempt(plan: Plan, fn: Callable[..., Awaitable[R]], args: Args, kwargs: Kwargs) -> R:
    ensure_time_left()
    attempt = Attempt(None if plan.breaker is None else await plan.breaker.aacquire())
    try:
        async with plan.single():
            attempt.begun = True
            result = await fn(*args, **kwargs)
    except BaseException as error:
        await attempt.afailed(error)
        raise
    await attempt.asucceeded(result)
    return result


def _checked(name: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """The one check of all options, as fields of a Plan; ValueError names the option."""
    if unknown := sorted(set(given) - set(OPTIONS)):
        raise ValueError(f"a pipeline has no option {', '.join(unknown)}: known are {', '.join(OPTIONS)}")
    kinds = {"fallback": Fallback, "bulkhead": Bulkhead, "retry": Retry, "breaker": CircuitBreaker}
    checked: dict[str, Any] = {}
    for option, value in given.items():
        if option == "rate_limit":
            checked["limits"] = _limits(name, value)
        elif value is None:
            checked[option] = None
        elif option in kinds:
            if not isinstance(value, kinds[option]):
                raise ValueError(f"{option} must be a {kinds[option].__name__} or None, not {value!r:.60}")
            checked[option] = value
        else:
            checked[option] = check_seconds(option, value)
    return checked


def _limits(name: str, value: Any) -> tuple[Limit, ...]:
    if value is None:
        return ()
    if isinstance(value, RateLimiter):
        return (Limit(value, name),)
    each = (value,) if isinstance(value, Limit) else value
    if not isinstance(each, tuple | list) or not all(isinstance(limit, Limit) for limit in each):
        raise ValueError(f"rate_limit must be a RateLimiter, a Limit or several of these, not {value!r:.60}")
    for limit in each:
        if not isinstance(limit.limiter, RateLimiter):
            raise ValueError(f"rate_limit must hold a RateLimiter, not {limit.limiter!r:.60}")
        if not (isinstance(limit.key, str) or callable(limit.key)):
            raise ValueError(f"rate_limit's key must be a text or a function of the arguments, not {limit.key!r:.60}")
        if isinstance(limit.cost, bool) or not isinstance(limit.cost, int) or limit.cost < 1:
            raise ValueError(f"rate_limit's cost must be a whole number of at least 1, not {limit.cost!r:.60}")
    return tuple(each)
