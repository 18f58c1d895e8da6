"""Fallback: a second answer for the failures it names; what it fails with never hides the first."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from types import MappingProxyType
from typing import Any, Final, ParamSpec, TypeVar

from resilience.errors import DeadlineExceeded, ExecutionRejected
from resilience.telemetry import count, emit, internal_error

P = ParamSpec("P")
R = TypeVar("R")

DEGRADING: Final = (ExecutionRejected, DeadlineExceeded, TimeoutError)

_USED: Final[ContextVar[dict[str, None] | None]] = ContextVar("resilience_degraded", default=None)


def degraded() -> tuple[str, ...]:
    """The fallbacks that answered in this context (a request, a task), in the order of their first use."""
    return tuple(_USED.get() or ())


@contextmanager
def degraded_scope() -> Iterator[Mapping[str, None]]:
    """Begins an empty record, for a request: also tasks and threads that copy this context write into it."""
    used: dict[str, None] = {}
    token = _USED.set(used)
    try:
        yield MappingProxyType(used)
    finally:
        _USED.reset(token)


def _note(name: str) -> None:
    used = _USED.get()
    if used is None:
        _USED.set(used := {})
    used[name] = None


class Fallback:
    """`handler` answers instead of a call that raised one of `on`.

    It is called with the arguments of the call, or with none where it takes none; a parameter called `error` gets the exception,
    as does the only one, whatever its name, where the call has no arguments.
    If it raises, the first exception leaves as the same object, with the handler's as its `__context__`. What is no Exception
    (cancellation, exit) is never answered and never held back.
    """

    def __init__(
        self,
        handler: Callable[..., Any],
        on: type[Exception] | tuple[type[Exception], ...] = DEGRADING,
        *,
        name: str = "fallback",
    ) -> None:
        if not callable(handler):
            raise ValueError(f"handler must be a callable, not {handler!r:.60}: for a value write lambda: value")
        self.handler = handler
        self.on = _classes(on)
        self.name = name
        self.is_async = inspect.iscoroutinefunction(handler) or inspect.iscoroutinefunction(type(handler).__call__)
        self._takes_error, self._takes_none, self._takes_one = _shape(handler)

    def call(self, fn: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        self.refuse_async()
        try:
            return fn(*args, **kwargs)
        except self.on as error:
            answer: R = self.answer(error, args, kwargs)
            return answer

    async def acall(self, fn: Callable[P, Awaitable[R]], *args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return await fn(*args, **kwargs)
        except self.on as error:
            answer: R = await self.aanswer(error, args, kwargs)
            return answer

    def refuse_async(self) -> None:
        """Said before the call, not when the fallback is needed for the first time."""
        if self.is_async:
            raise ValueError(f"the fallback {self.name} is a coroutine function, the call is not: use acall, or a plain handler")

    def answer(
        self, error: Exception, args: tuple[Any, ...], kwargs: Mapping[str, Any], finish: Callable[[Any], Any] | None = None
    ) -> Any:
        """The handler's answer, through `finish` (which may fail like the handler), or `error` raised.

        Called while `error` is being handled.
        """
        try:
            result = self._ask(error, args, kwargs)
            if finish is not None:
                result = finish(result)
        except Exception as failure:  # noqa: BLE001 - whatever it is, the first exception is the one to tell
            self.failed(error, failure)
        else:
            self._used(error)
            return result
        raise error

    async def aanswer(
        self,
        error: Exception,
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        finish: Callable[[Any], Awaitable[Any]] | None = None,
    ) -> Any:
        """`answer`; a plain handler will do too."""
        try:
            result = self._ask(error, args, kwargs)
            if finish is not None:
                result = await finish(result)
            elif inspect.isawaitable(result):
                result = await result
        except Exception as failure:  # noqa: BLE001 - as above
            self.failed(error, failure)
        else:
            self._used(error)
            return result
        raise error

    def _ask(self, error: Exception, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        extra = {"error": error} if self._takes_error else {}
        if self._takes_none:
            return self.handler(**extra)
        if self._takes_one and not args and not kwargs:
            return self.handler(error)
        return self.handler(*args, **{**kwargs, **extra})

    def _used(self, error: Exception) -> None:
        try:
            _note(self.name)
            count("resilience_fallback_total", self.name, "used")
            emit("fallback.used", name=self.name, error=type(error).__name__)
        except Exception as fault:  # noqa: BLE001 - the answer is there: a fault in noting it must not take it away
            internal_error("fallback", "used", fault)

    def failed(self, error: Exception, failure: Exception) -> None:
        """The handler raised `failure`: it goes behind `error`, which the caller now raises."""
        try:
            _put_behind(error, failure)
            count("resilience_fallback_total", self.name, "failed")
        except Exception as fault:  # noqa: BLE001 - the first exception is about to be raised: nothing may come between
            internal_error("fallback", "failed", fault)


def _put_behind(error: Exception, failure: BaseException) -> None:
    """`failure` becomes the context of `error`; what was the context of `error` moves behind `failure`: no ring, nothing lost."""
    if failure is error:
        return
    before, link, seen = error.__context__, failure, set[int]()
    while (following := link.__context__) is not None and following is not error and id(link) not in seen:
        seen.add(id(link))
        link = following
    if following is error:
        link.__context__ = before
    error.__context__ = failure


def _classes(on: Any) -> tuple[type[Exception], ...]:
    classes = tuple(on) if isinstance(on, tuple | list | set | frozenset) else (on,)
    if not classes:
        raise ValueError("on names no class: without one the fallback never answers")
    for kind in classes:
        if not isinstance(kind, type) or not issubclass(kind, Exception):
            raise ValueError(f"on must hold classes of exceptions, not {kind!r:.60}")
    return classes


def _shape(handler: Callable[..., Any]) -> tuple[bool, bool, bool]:
    """(takes `error`, takes nothing else, needs exactly one other). What hides its signature, as some builtins do, gets the
    arguments of the call."""
    try:
        parameters = inspect.signature(handler).parameters
    except (TypeError, ValueError):
        return False, False, False
    error = parameters.get("error")
    takes_error = error is not None and error.kind in (error.KEYWORD_ONLY, error.POSITIONAL_OR_KEYWORD)
    needed = [each for each in parameters.values() if each.default is each.empty and each.kind not in _VARIADIC]
    needs_one = len(needed) == 1 and not takes_error and needed[0].kind is not inspect.Parameter.KEYWORD_ONLY
    return takes_error, not set(parameters) - {"error"}, needs_one


_VARIADIC: Final = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
