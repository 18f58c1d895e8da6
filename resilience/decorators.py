"""Decorators: strategies written on functions, merged into one pipeline in its fixed order, however they are stacked."""

from __future__ import annotations

import functools
import inspect
import re
import threading
from collections.abc import Callable
from typing import Any, Final, NamedTuple, TypeVar

from resilience.bulkhead import Bulkhead
from resilience.circuit_breaker.breaker import CircuitBreaker
from resilience.fallback import DEGRADING, Fallback
from resilience.pipeline import Limit, Pipeline
from resilience.rate_limiter.limiter import RateLimiter
from resilience.registry import registry
from resilience.retry import Retry
from resilience.streams import astreaming

__all__ = ["bulkhead", "circuit_breaker", "degradable", "rate_limit", "retry", "timeout"]

F = TypeVar("F", bound=Callable[..., Any])
Make = Callable[[], Any]

_MARK: Final = "__resilience__"


class Stage(NamedTuple):
    """One decorator. `make`: gives the pipeline's option, at the first call."""

    option: str
    title: str
    make: Make


class Guard:
    """The pipeline of one function, made at its first call: only then are strategies looked up, stores and settings needed."""

    def __init__(self, function: Callable[..., Any], stages: tuple[Stage, ...]) -> None:
        self.function = function
        self.stages = stages
        self.wrapper: Callable[..., Any] | None = None
        self._pipeline: Pipeline | None = None
        self._lock = threading.Lock()

    @property
    def pipeline(self) -> Pipeline:
        made = self._pipeline
        if made is not None:
            return made
        with self._lock:
            if self._pipeline is None:
                options: dict[str, Any] = {}
                limits: list[Limit] = []
                for stage in self.stages:
                    if stage.option == "rate_limit":
                        limits.append(stage.make())
                    elif stage.option == "timeouts":
                        options.update(stage.make())
                    else:
                        options[stage.option] = stage.make()
                self._pipeline = Pipeline(_name_of(self.function), rate_limit=limits or None, **options)
            return self._pipeline


def circuit_breaker(name: str | CircuitBreaker, **defaults: Any) -> Callable[[F], F]:
    """Calls through the breaker of that name; options are defaults below the live configuration. Or a breaker made by hand."""
    return _decorator("breaker", "circuit_breaker", _named("breaker", name, CircuitBreaker, defaults))


def rate_limit(
    name: str | RateLimiter, key: str | Callable[..., str] = "all", cost: Any = 1, **defaults: Any
) -> Callable[[F], F]:
    """Calls within the limit of that name. `key`: a text, or a function of the call's arguments. May be written several times."""
    find = _named("limiter", name, RateLimiter, defaults)
    if not (isinstance(key, str) or callable(key)):
        raise ValueError(f"key is {key!r:.60}; it takes a text or a function of the call's arguments")
    if isinstance(cost, bool) or not isinstance(cost, int) or cost < 1:
        raise ValueError(f"cost is {cost!r:.60}; it takes an integer of at least 1")
    return _decorator("rate_limit", "rate_limit", lambda: Limit(find(), key, cost))


def bulkhead(name: str | Bulkhead, max_concurrent: int | None = None, **defaults: Any) -> Callable[[F], F]:
    """Runs at most so many calls at once, over all processes."""
    if max_concurrent is not None:
        defaults["max_concurrent"] = max_concurrent
    return _decorator("bulkhead", "bulkhead", _named("bulkhead", name, Bulkhead, defaults))


def retry(name: str | Retry, **defaults: Any) -> Callable[[F], F]:
    """Calls again after a transient failure."""
    return _decorator("retry", "retry", _named("retry", name, Retry, defaults))


def timeout(timeout_s: float | None = None, *, attempt_timeout_s: float | None = None) -> Callable[[F], F]:
    """A time for the whole call, and one for each attempt. A coroutine is cancelled; a sync call can read `remaining_s()`."""
    given = {"timeout_s": timeout_s, "attempt_timeout_s": attempt_timeout_s}
    times = {option: value for option, value in given.items() if value is not None}
    if not times:
        raise ValueError("timeout takes timeout_s, attempt_timeout_s, or both")
    Pipeline("check", **times)  # type: ignore[arg-type]  # two of its options; said now, not at the first call
    return _decorator("timeouts", "timeout", lambda: times)


def degradable(
    fallback: Callable[..., Any],
    on: type[Exception] | tuple[type[Exception], ...] = DEGRADING,
    *,
    name: str | None = None,
) -> Callable[[F], F]:
    """Answers with `fallback` where the call raises one of `on`; `degraded()` then names it (`name`, or the function's)."""
    made = Fallback(fallback, on, name=name or "fallback")

    def decorate(function: F) -> F:
        own = made if name is not None else Fallback(fallback, on, name=_name_of(_original(function)))
        if own.is_async and not _is_async(_original(function)):
            own.refuse_async()
        return _decorator("fallback", "degradable", lambda: own)(function)

    return decorate


def _named(kind: str, name: Any, strategy: type, defaults: dict[str, Any]) -> Make:
    """How to find the strategy; its name is known from now on."""
    if isinstance(name, strategy):
        if defaults:
            raise ValueError(f"a {kind} made by hand keeps its own options; {', '.join(sorted(defaults))} would do nothing")
        return lambda: name
    if not isinstance(name, str):
        raise ValueError(f"name is {name!r:.60}; it takes the name of a {kind}, or a {strategy.__name__}")
    registry.declare(kind, name, **defaults)
    get = getattr(registry, kind)
    return lambda: get(name)


def _decorator(option: str, title: str, make: Make) -> Callable[[F], F]:
    def decorate(function: F) -> F:
        if isinstance(function, staticmethod | classmethod):
            return type(function)(decorate(function.__func__))
        if inspect.isclass(function) or not callable(function):
            raise ValueError(f"{title} decorates functions and methods, not {function!r:.60}")
        guard = _guard_of(function)
        stages = () if guard is None else guard.stages
        if option != "rate_limit" and any(stage.option == option for stage in stages):
            raise ValueError(f"{_name_of(function)} has a {title} already: two would count, or hold, every call twice")
        made: F = _guarded(_original(function), (Stage(option, title, make), *stages))
        return made

    return decorate


def _guarded(function: Any, stages: tuple[Stage, ...]) -> Any:
    guard = Guard(function, stages)
    wrapper: Any
    if inspect.isasyncgenfunction(function):
        wrapper = functools.wraps(function)(astreaming(lambda: guard.pipeline.plan, function))

    elif _is_async(function):

        @functools.wraps(function)
        async def wrapper(*args: Any, **kwargs: Any) -> Any:
            return await guard.pipeline.acall(function, *args, **kwargs)

    elif inspect.isgeneratorfunction(function):

        @functools.wraps(function)
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            return (yield from guard.pipeline.stream(function, *args, **kwargs))

    else:

        @functools.wraps(function)
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            return guard.pipeline.call(function, *args, **kwargs)

    guard.wrapper = wrapper
    setattr(wrapper, _MARK, guard)
    return wrapper


def _guard_of(function: Any) -> Guard | None:
    """The guard of a function of ours; functools.wraps copies the mark onto foreign wrappers, which must not be bypassed."""
    guard = getattr(function, _MARK, None)
    return guard if isinstance(guard, Guard) and guard.wrapper is function else None


def _original(function: Any) -> Any:
    function = function.__func__ if isinstance(function, staticmethod | classmethod) else function
    guard = _guard_of(function)
    return function if guard is None else guard.function


def _is_async(function: Any) -> bool:
    """Also an object whose __call__ is a coroutine function, and a partial of one."""
    if inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function):
        return True
    return not inspect.isroutine(function) and inspect.iscoroutinefunction(type(function).__call__)


def _name_of(function: Any) -> str:
    """As it may stand in metrics and events."""
    while isinstance(function, functools.partial):
        function = function.func
    name = getattr(function, "__qualname__", type(function).__qualname__)
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", f"{getattr(function, '__module__', '') or ''}.{name}").strip("-.")[-100:] or "call"
