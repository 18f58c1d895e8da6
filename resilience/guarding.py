"""A context manager around every call of a function of any kind: plain, coroutine, generator, asynchronous generator."""

from __future__ import annotations

import functools
import inspect
from collections.abc import AsyncIterator, Awaitable, Callable, Generator
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from typing import Any, TypeVar, cast

F = TypeVar("F", bound=Callable[..., Any])


def guard(
    function: F,
    enter: Callable[[], AbstractContextManager[Any]],
    aenter: Callable[[], Awaitable[AbstractAsyncContextManager[Any]]],
) -> F:
    """`function` as it was, within `with enter()` or `async with await aenter()`; a generator from its first step to its last."""
    if inspect.isasyncgenfunction(function):

        async def asteps(*args: Any, **kwargs: Any) -> AsyncIterator[Any]:
            async with await aenter():
                inner = function(*args, **kwargs)
                step: Callable[[], Awaitable[Any]] = inner.__anext__
                while True:
                    try:
                        value = await step()
                    except StopAsyncIteration:
                        return
                    # What the consumer sends or throws is the generator's, as if nobody stood between.
                    try:
                        sent = yield value
                    except GeneratorExit:
                        await inner.aclose()
                        raise
                    except BaseException as error:  # noqa: BLE001 - handed on whole
                        step = functools.partial(inner.athrow, error)
                    else:
                        step = functools.partial(inner.asend, sent)

        return _as(function, asteps)
    if inspect.iscoroutinefunction(function):

        async def acalled(*args: Any, **kwargs: Any) -> Any:
            async with await aenter():
                return await function(*args, **kwargs)

        return _as(function, acalled)
    if inspect.isgeneratorfunction(function):

        def steps(*args: Any, **kwargs: Any) -> Generator[Any, Any, Any]:
            with enter():
                return (yield from function(*args, **kwargs))

        return _as(function, steps)

    def called(*args: Any, **kwargs: Any) -> Any:
        with enter():
            return function(*args, **kwargs)

    return _as(function, called)


def _as(function: F, guarded: Callable[..., Any]) -> F:
    return cast(F, functools.wraps(function)(guarded))
