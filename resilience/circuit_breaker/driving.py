"""Steps that need the store, made by a thread or by a task: one logic, two ways to wait.

A step is (operation, arguments); its reply, or the exception it met, goes back to where it was yielded.
"""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Callable, Generator
from typing import Any, TypeVar

from resilience.laws.keyspace import Reply
from resilience.storage.base import Args, Storage

T = TypeVar("T")
Step = tuple[str, Args]
Steps = Generator[Step, Reply, T]


def drive(steps: Steps[T], store: Storage, tag: str, now: Callable[[], int]) -> T:
    try:
        step = next(steps)
        while True:
            try:
                reply = store.attempt(step[0], tag, step[1], now())
            except BaseException as error:  # noqa: BLE001 - handed to the steps, which raise what is not theirs
                step = steps.throw(error)
            else:
                step = steps.send(reply)
    except StopIteration as end:
        return end.value  # type: ignore[no-any-return]  # the steps' own result


async def adrive(steps: Steps[T], store: Storage, tag: str, now: Callable[[], int]) -> T:
    try:
        step = next(steps)
        while True:
            try:
                reply = await store.aattempt(step[0], tag, step[1], now())
            except BaseException as error:  # noqa: BLE001 - a cancellation too, which the steps raise again
                step = steps.throw(error)
            else:
                step = steps.send(reply)
    except StopIteration as end:
        return end.value  # type: ignore[no-any-return]


def on_a_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def weakly(method: Callable[[], Any]) -> Callable[[], Any]:
    """A call later that keeps nobody alive."""
    reference = weakref.WeakMethod(method)

    def call() -> None:
        found = reference()
        if found is not None:
            found()

    return call
