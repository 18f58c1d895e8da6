"""What a fallback's handler is called with, by what it takes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from resilience import Fallback

ERROR = ValueError("down")


def fail(*args: Any, **kwargs: Any) -> Any:
    raise ERROR


async def afail(*args: Any, **kwargs: Any) -> Any:
    raise ERROR


def told(exc: Exception) -> tuple[str, object]:
    return "told", exc


def named(error: Exception) -> tuple[str, object]:
    return "named", error


def optional(exc: Exception, other: int = 0) -> tuple[str, object]:
    return "optional", exc


@pytest.mark.parametrize("handler", [told, named, optional])
def test_a_handler_of_one_parameter_gets_the_exception_of_a_call_without_arguments(handler: Callable[..., Any]) -> None:
    fallback = Fallback(handler, on=ValueError)
    assert fallback.call(fail) == (handler.__name__, ERROR)
    assert asyncio.run(fallback.acall(afail)) == (handler.__name__, ERROR)


def test_of_a_call_with_arguments_it_gets_these() -> None:
    assert Fallback(told, on=ValueError).call(fail, 7) == ("told", 7)
    assert Fallback(told, on=ValueError).call(fail, exc=7) == ("told", 7)
    assert Fallback(lambda *args, **kwargs: (args, kwargs), on=ValueError).call(fail) == ((), {})


def test_one_that_needs_more_than_the_exception_fails_and_hides_nothing() -> None:
    for handler in (lambda exc, more: None, lambda *, exc: None):
        with pytest.raises(ValueError, match="down") as caught:
            Fallback(handler, on=ValueError).call(fail)
        assert caught.value is ERROR
