"""Coalescing: callers of one key that come while a question is under way ask the next one together.

Exact: the store grants in one step what the sum asks for, and the grants go out in the order of arrival. Where all ask for one
token, the next question takes as many as there are. Costs of several sizes could leave a rest of a partial grant, which nobody
asked for: so their sum is asked for whole, and if refused (which consumes nothing) each goes on its own, in order.

Threads meet threads, tasks meet tasks of their own loop. Were they mixed, a loop that stands still would hold up everyone, and
a blocking call made on a loop would wait for a task of that same loop.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Final, NamedTuple, TypeVar

from resilience.errors import StorageError
from resilience.telemetry import internal_error


class Answer(NamedTuple):
    """What a round trip brought its callers, and what each of them has of it. `retry_us`: until the least would be granted."""

    granted: int
    left: int
    retry_us: int
    reset_us: int
    source: str


Trip = Callable[[str, int, int], Answer]  # key, want, least
AsyncTrip = Callable[[str, int, int], Awaitable[Answer]]
GiveBack = Callable[[str, int], object]
AsyncGiveBack = Callable[[str, int], Awaitable[object]]

MAX_BATCH: Final = 1_000  # bounds the time that the last of a queue waits for the sharing out


class _Batch:
    """Callers that ask together. `costs` in the order of arrival."""

    __slots__ = ("costs", "least", "want")

    def __init__(self, costs: Sequence[int]) -> None:
        self.costs = costs
        self.want = sum(costs)
        self.least = 1 if self.want == len(costs) else self.want

    def share(self, answer: Answer, retry_us: Callable[[int, int], int]) -> list[Answer | None]:
        """Each caller's own answer; None: ask alone."""
        granted = answer.granted
        if granted == 0 and self.least > 1:
            return [None] * len(self.costs)
        shares: list[Answer | None] = []
        for cost in self.costs:
            if granted >= cost:
                granted -= cost
                shares.append(answer._replace(granted=cost, retry_us=0))
            else:
                retry = answer.retry_us or retry_us(answer.reset_us, cost)
                shares.append(answer._replace(granted=0, retry_us=retry))
        return shares


class _Waiter:
    """A thread in the queue. When its gate opens it finds a reply, an error, a batch to lead, or none of them: it asks alone."""

    __slots__ = ("batch", "cost", "error", "gate", "reply")

    def __init__(self, cost: int) -> None:
        self.cost = cost
        self.gate = threading.Lock()
        self.gate.acquire()
        self.reply: Answer | None = None
        self.error: StorageError | None = None
        self.batch: list[_Waiter] | None = None


class ThreadCoalescer:
    """For threads. `capacity`: the most that one question asks for; `give_back` refunds what a broken-off caller was granted."""

    def __init__(self, trip: Trip, give_back: GiveBack, retry_us: Callable[[int, int], int], capacity: int) -> None:
        self._trip = trip
        self._give_back = give_back
        self._retry_us = retry_us
        self._capacity = capacity
        self._lock = threading.Lock()
        self._queues: dict[str, deque[_Waiter]] = {}  # a key is here while a question for it is under way

    def ask(self, key: str, cost: int) -> Answer:
        """The caller's own answer, as if it had asked alone."""
        with self._lock:
            queue = self._queues.get(key)
            if queue is None:
                self._queues[key] = deque()
                waiter = None
            else:
                waiter = _Waiter(cost)
                queue.append(waiter)
        if waiter is None:
            try:
                return self._trip(key, cost, cost)
            finally:
                self._hand_over(key)
        try:
            waiter.gate.acquire()
        except BaseException:
            # An interrupt in the main thread. Whatever was or will be handed to this caller goes on to the others.
            self._leave(key, waiter)
            raise
        if waiter.batch is not None:
            self._lead(key, waiter.batch)
        if waiter.error is not None:
            raise _own(waiter.error)
        if waiter.reply is not None:
            return waiter.reply
        return self._trip(key, cost, cost)

    def _lead(self, key: str, batch: list[_Waiter]) -> None:
        """Asks for the whole batch, the caller first in it, and wakes the rest."""
        together = _Batch([waiter.cost for waiter in batch])
        try:
            shares = together.share(self._trip(key, together.want, together.least), self._retry_us)
            for waiter, share in zip(batch, shares, strict=True):
                waiter.reply = share
        except StorageError as error:
            for waiter in batch:
                waiter.error = error
        finally:
            for waiter in batch[1:]:
                waiter.gate.release()
            self._hand_over(key)

    def _hand_over(self, key: str) -> None:
        """A question has come back: the first in the queue asks for all of it. The asker itself is free to go."""
        with self._lock:
            queue = self._queues[key]
            if not queue:
                del self._queues[key]
                return
            batch = _next_batch(queue, self._capacity)
            batch[0].batch = batch
        batch[0].gate.release()

    def _leave(self, key: str, waiter: _Waiter) -> None:
        with self._lock:
            queue = self._queues.get(key)
            if queue is not None and waiter in queue:
                queue.remove(waiter)
                return
        # It is in a batch: as its leader, who must not be missed, or as one that will be or was granted something.
        if waiter.batch is None:
            waiter.gate.acquire()
        if waiter.batch is not None:
            self._lead(key, waiter.batch)
        if waiter.reply is not None and waiter.reply.granted:
            self._give_back(key, waiter.cost)


class LoopCoalescer:
    """For the tasks of one event loop, where nothing happens between two awaits: no lock."""

    def __init__(self, trip: AsyncTrip, give_back: AsyncGiveBack, retry_us: Callable[[int, int], int], capacity: int) -> None:
        self._trip = trip
        self._give_back = give_back
        self._retry_us = retry_us
        self._capacity = capacity
        self._queues: dict[str, deque[_Task]] = {}
        self._flying: set[asyncio.Task[None]] = set()  # a loop itself keeps no task alive

    async def ask(self, key: str, cost: int) -> Answer:
        """The caller's own answer, as if it had asked alone."""
        queue = self._queues.get(key)
        if queue is None:
            self._queues[key] = deque()
            try:
                return await self._trip(key, cost, cost)
            finally:
                self._hand_over(key)
        task = _Task(cost)
        queue.append(task)
        try:
            reply = await task.reply
        except asyncio.CancelledError:
            # Cancelled between being answered and being run: the tokens are there and nobody will use them.
            if task.reply.done() and not task.reply.cancelled() and task.reply.exception() is None:
                answered = task.reply.result()
                if answered is not None and answered.granted:
                    self._start(self._refund(key, cost))
            raise
        if reply is not None:
            return reply
        return await self._trip(key, cost, cost)

    def _hand_over(self, key: str) -> None:
        queue = self._queues[key]
        if not queue:
            del self._queues[key]
            return
        # A task of its own: were one of the callers to ask, its cancellation would be everybody's.
        self._start(self._fly(key, _next_batch(queue, self._capacity)))

    async def _fly(self, key: str, batch: list[_Task]) -> None:
        try:
            live = [task for task in batch if not task.reply.done()]
            if not live:
                return
            together = _Batch([task.cost for task in live])
            rest = 0
            try:
                shares = together.share(await self._trip(key, together.want, together.least), self._retry_us)
            except StorageError as error:
                for task in live:
                    if not task.reply.done():
                        task.reply.set_exception(_own(error))
                return
            except Exception as error:  # noqa: BLE001 - a bug; nobody awaits this task, and each caller asks alone
                internal_error("rate_limiter", "coalesce", error)
                return
            for task, share in zip(live, shares, strict=True):
                if not task.reply.done():
                    task.reply.set_result(share)
                elif share is not None and share.granted:
                    rest += task.cost
            if rest:
                await self._refund(key, rest)
        finally:
            # Also when the loop is being closed and this task is cancelled: nobody may wait for ever.
            for task in batch:
                if not task.reply.done():
                    task.reply.set_result(None)
            self._hand_over(key)

    async def _refund(self, key: str, tokens: int) -> None:
        await self._give_back(key, tokens)

    def _start(self, work: Coroutine[object, object, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._flying.add(task)
        task.add_done_callback(self._flying.discard)


class _Task:
    """A task in the queue; its reply None means to ask alone."""

    __slots__ = ("cost", "reply")

    def __init__(self, cost: int) -> None:
        self.cost = cost
        self.reply: asyncio.Future[Answer | None] = asyncio.get_running_loop().create_future()


W = TypeVar("W", _Waiter, _Task)


def _next_batch(queue: deque[W], capacity: int) -> list[W]:
    """The longest head of the queue that one question can ask for: single tokens, however many, else what fits as a whole."""
    batch = [queue.popleft()]
    total = batch[0].cost
    while queue and len(batch) < MAX_BATCH:
        total += queue[0].cost
        if total > capacity and total > len(batch) + 1:
            break
        batch.append(queue.popleft())
    return batch


def _own(error: StorageError) -> StorageError:
    """The same error for one caller: a shared object would collect the tracebacks of all."""
    mine = type(error)(error.operation, str(error).removeprefix(f"{error.operation}: "))
    mine.__cause__ = error
    return mine
