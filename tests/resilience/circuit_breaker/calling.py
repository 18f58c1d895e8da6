"""Calls that fail and calls that do not."""

from __future__ import annotations

import asyncio
import functools
import time
from collections.abc import Callable, Coroutine
from typing import Any

from resilience import CircuitBreaker, CircuitOpen


class Broken(Exception):
    """What the guarded call raises."""


def fails() -> None:
    raise Broken


def works() -> int:
    return 7


async def afails() -> None:
    raise Broken


async def aworks() -> int:
    return 7


def fail(breaker: CircuitBreaker, times: int = 1) -> None:
    """So many calls that fail; refused ones are failures of the test."""
    for _ in range(times):
        try:
            breaker.call(fails)
        except Broken:
            continue


def admitted(breaker: CircuitBreaker) -> bool:
    """Whether a call would be made; it counts as neither good nor bad."""
    try:
        breaker.acquire().ignore()
    except CircuitOpen:
        return False
    return True


def until(condition: Callable[[], Any], within_s: float = 20.0) -> float:
    """Waits for what another thread or process does; how long it took. A loaded machine may take its time."""
    began = time.monotonic()
    while not condition():
        if time.monotonic() - began > within_s:
            raise AssertionError(f"not within {within_s} s")
        time.sleep(0.001)
    return time.monotonic() - began


def on_a_loop(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """A test that is a coroutine."""

    @functools.wraps(test)
    def run(*args: Any, **kwargs: Any) -> None:
        asyncio.run(test(*args, **kwargs))

    return run
