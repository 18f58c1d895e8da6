"""Chores: calls to a store that are due at a time, sorted out, made in batches, their answers handed out."""

from __future__ import annotations

import asyncio
import itertools
import math
from collections.abc import Callable, Iterable, Iterator
from typing import Final, Protocol

from resilience import telemetry
from resilience.clock import Clock
from resilience.errors import StorageError, StorageUnavailable
from resilience.laws.keyspace import Reply
from resilience.storage.base import Call, Storage

BATCH: Final = 500  # calls in one pipeline: more would not fit a time-out of 80 ms (chosen)
# What falls due so soon is done together: a thousand locks then wake the thread a few times, not a thousand (chosen).
TOGETHER_S: Final = 0.05


class Chore(Protocol):
    """What a scheduler does when it is due: one call to a store. `loop`: None for the thread's."""

    serial: int
    store: Storage
    clock: Clock
    loop: asyncio.AbstractEventLoop | None
    due: float  # by the clock's monotonic(), as `deadline`
    deadline: float

    @property
    def over(self) -> bool: ...
    def call(self) -> Call: ...
    def undoing(self) -> Call:
        """The call that frees what this chore keeps."""
        ...

    def answer(self, reply: Reply | StorageError, sent: float) -> None: ...
    def expire(self) -> None: ...


class Scheduler(Protocol):
    """Does chores when they are due, until they are over. Who holds a chore decides how long it lives, unless `keep`."""

    def add(self, chore: Chore, *, keep: bool = False) -> None: ...
    def discard(self, chore: Chore) -> None: ...
    def later(self, loop: asyncio.AbstractEventLoop | None, call: Callable[[], object]) -> None:
        """Calls soon, where it can hold up no renewal; errors are counted."""
        ...


Reference = Callable[[], Chore | None]


def sort_out(items: dict[int, Reference], now: float, *, only_look: bool = False) -> tuple[list[Chore], float]:
    """What is due, and when the next is. What is over goes; what is past its deadline is told so."""
    due: list[Chore] = []
    wake_at = math.inf
    for serial, reference in list(items.items()):
        chore = reference()
        if chore is None or chore.over:
            items.pop(serial, None)
        elif now >= chore.deadline and not only_look:
            chore.expire()
            items.pop(serial, None)
        elif now >= chore.due - min(TOGETHER_S, (chore.deadline - chore.due) / 10) and not only_look:
            due.append(chore)
        else:
            wake_at = min(wake_at, chore.due, chore.deadline)
    return due, wake_at


def batches(due: list[Chore]) -> Iterator[tuple[Storage, list[Chore]]]:
    by_store: dict[int, list[Chore]] = {}
    for chore in due:
        by_store.setdefault(id(chore.store), []).append(chore)
    for chores in by_store.values():
        rest = iter(chores)
        while batch := list(itertools.islice(rest, BATCH)):
            yield batch[0].store, batch


def attempt(store: Storage, chores: list[Chore]) -> list[Reply | StorageError]:
    try:
        return store.attempt_many([chore.call() for chore in chores], chores[0].clock.stamp_us())
    except Exception as error:  # noqa: BLE001 - a broken store is a store that does not answer
        return _failed(chores, error)


async def aattempt(store: Storage, chores: list[Chore]) -> list[Reply | StorageError]:
    try:
        return await store.aattempt_many([chore.call() for chore in chores], chores[0].clock.stamp_us())
    except Exception as error:  # noqa: BLE001 - as above
        return _failed(chores, error)


def _failed(chores: list[Chore], error: Exception) -> list[Reply | StorageError]:
    if isinstance(error, StorageError):
        return [error] * len(chores)
    telemetry.internal_error("renewal", "store", error)
    return [StorageUnavailable("renewal", type(error).__name__)] * len(chores)


def hand_out(chores: Iterable[Chore], replies: Iterable[Reply | StorageError], sent: float) -> None:
    for chore, reply in zip(chores, replies, strict=True):
        chore.answer(reply, sent)
