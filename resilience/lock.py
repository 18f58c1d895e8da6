"""A lock over all processes and hosts: leased, renewed, with a fence that lets the database refuse a holder of the past."""

from __future__ import annotations

import asyncio
import inspect
import threading
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from resilience.chores import Scheduler
from resilience.clock import SYSTEM, Clock
from resilience.errors import LockLost, LockNotAcquired, StorageError
from resilience.laws.keyspace import Reply
from resilience.lock_base import Held, Lock, Options, checked
from resilience.renewal import scheduler_for
from resilience.storage.base import Storage, default_store
from resilience.storage.keys import check_name
from resilience.waiting import apause, pause

Error = type[BaseException] | None


class DistributedLock(Lock):
    """For threads. One thread of the process renews all."""

    def acquire(self, wait_s: float | None = None) -> bool:
        """False: another holds it, also after `wait_s` of looking again. Raises StorageError where `on_store_down` says so."""
        return self._acquired(wait_s) is None

    def _acquired(self, wait_s: float | None = None) -> float | None:
        """None, or in how many seconds the holder's lease ends."""
        poll = self._poll(wait_s)
        owner = threading.get_ident()
        if self._again(owner):
            return None
        while True:
            retry_s = self._attempt(owner)
            pause_s = poll.pause_s(retry_s) if poll and retry_s is not None else None
            if pause_s is None:
                return retry_s
            pause(self._clock, pause_s)

    def _attempt(self, owner: int) -> float | None:
        if self.held:
            return self.expires_in_s  # by another thread, through this same object
        store = self._store
        taking = Held(self, store, owner, None)
        try:
            reply = taking.take(taking.id, taking.lease_us)
        except StorageError as error:
            taking = Held(self, self._instead(store, error), owner, None)
            reply = taking.take(taking.id, taking.lease_us)
        if not reply[0]:
            return int(reply[2]) / 1e6
        if taking.lost:
            taking.give_back()  # this process stood still for a whole lease between asking and hearing
            return 0.0
        self._took(taking, reply)
        return None

    def release(self) -> bool:
        """False: it was lost, or is not held. Never raises: without the store the lease ends it."""
        taking, is_last = self._out()
        if taking is None:
            return False
        return taking.give_back() if is_last else not taking.lost

    def renew(self) -> bool:
        """Now, not at a third of its time. False: it is lost. Raises StorageError; then it is held as long as before."""
        return bool(self._takings) and self._takings[-1].renew_now()

    def __enter__(self) -> Self:
        retry_s = self._acquired()
        if retry_s is not None:
            raise LockNotAcquired(self.name, retry_after_s=retry_s, source="memory" if self._store.name == "memory" else "redis")
        return self

    def __exit__(self, kind: Error, error: BaseException | None, trace: TracebackType | None) -> None:
        taking = self._takings[-1] if self._takings else None
        self.release()
        # An exception on its way out tells more than the lost lock, and is what the caller waits for.
        if taking is not None and taking.lost and kind is None:
            raise LockLost(self.name, taking.reason)


class AsyncDistributedLock(Lock):
    """For tasks. Each event loop renews its own; the body of `async with` is cancelled when the lock is lost."""

    async def acquire(self, wait_s: float | None = None) -> bool:
        """As the other kind's. Cancelled, it leaves nothing behind."""
        return await self._acquired(wait_s) is None

    async def _acquired(self, wait_s: float | None = None) -> float | None:
        poll = self._poll(wait_s)
        owner = asyncio.current_task()
        if self._again(owner):
            return None
        while True:
            retry_s = await self._attempt(owner)
            pause_s = poll.pause_s(retry_s) if poll and retry_s is not None else None
            if pause_s is None:
                return retry_s
            await apause(self._clock, pause_s)

    async def _attempt(self, owner: object) -> float | None:
        if self.held:
            return self.expires_in_s  # by another task, through this same object
        store, loop = self._store, asyncio.get_running_loop()
        taking = Held(self, store, owner, loop)
        try:
            reply = await taking.atake(taking.id, taking.lease_us)
        except StorageError as error:
            taking = Held(self, self._instead(store, error), owner, loop)
            reply = await taking.atake(taking.id, taking.lease_us)
        if not reply[0]:
            return int(reply[2]) / 1e6
        if taking.lost:
            await taking.agive_back()
            return 0.0
        self._took(taking, reply)
        return None

    async def release(self) -> bool:
        """As the other kind's. Cancelled, it gives back first."""
        taking, is_last = self._out()
        if taking is None:
            return False
        return await taking.agive_back() if is_last else not taking.lost

    async def renew(self) -> bool:
        return bool(self._takings) and await self._takings[-1].arenew_now()

    async def __aenter__(self) -> Self:
        retry_s = await self._acquired()
        if retry_s is not None:
            raise LockNotAcquired(self.name, retry_after_s=retry_s, source="memory" if self._store.name == "memory" else "redis")
        taking, task = self._takings[-1], asyncio.current_task()
        if taking.task is None and task is not None:
            taking.task, taking.cancellations = task, task.cancelling()
        return self

    async def __aexit__(self, kind: Error, error: BaseException | None, trace: TracebackType | None) -> None:
        taking = self._takings[-1] if self._takings else None
        if taking is None:
            return
        leaving = error
        if taking.task is not None and self._takings.count(taking) == 1:
            task, taking.task = taking.task, None  # from here on nobody cancels us for the lock's sake
            if taking.interrupted:
                leaving = await _without_ours(task, taking, error)
        await self.release()
        if leaving is not None and leaving is not error:
            raise leaving
        if leaving is None and taking.lost:
            raise LockLost(self.name, taking.reason) from error


async def _without_ours(task: asyncio.Task[Any], taking: Held, error: BaseException | None) -> BaseException | None:
    """What leaves the block once the lock's own cancellation is taken back: None, `error`, or somebody else's cancellation.

    As asyncio.timeout does it: a task counts who cancelled it, and we take back one.
    """
    if isinstance(error, asyncio.CancelledError):
        return None if task.uncancel() <= taking.cancellations else error
    late: asyncio.CancelledError | None = None
    try:
        # The body ended before our cancellation reached it: it would come with the next wait, so here it is met.
        await asyncio.sleep(0)
    except asyncio.CancelledError as met:
        late = met
    others = task.uncancel() > taking.cancellations
    return late if late is not None and others else error


@dataclass(frozen=True, slots=True)
class LockState:
    """`owner`: host, process and number of the holder; `fence`: the holder's, 0 when it is free."""

    name: str
    held: bool
    owner: str
    fence: int
    expires_in_s: float


class LockFactory:
    """Makes locks of one store. `scheduler`: who renews them; None for one thread a process and one timer an event loop."""

    def __init__(self, store: Storage | None = None, clock: Clock | None = None, scheduler: Scheduler | None = None) -> None:
        self._given_store = store
        self._clock = clock or SYSTEM
        self._scheduler = scheduler or scheduler_for(self._clock)

    def create(
        self,
        name: str,
        *,
        ttl_s: float = 10.0,
        renew: bool = True,
        on_store_down: str = "raise",
        wait_s: float = 0.0,
        on_lost: Callable[[], object] | None = None,
    ) -> DistributedLock:
        """`wait_s`: what `with` waits, and acquire() unless told; `on_lost`: called once, bare, in a thread of its own."""
        _check_callback(on_lost)
        if inspect.iscoroutinefunction(on_lost):
            raise ValueError("on_lost must be a plain function: a lock of threads has no event loop to run a coroutine on")
        options = Options(**checked(ttl_s=ttl_s, renew=renew, on_store_down=on_store_down, wait_s=wait_s))
        return DistributedLock(
            name, options, store=self._given_store, clock=self._clock, scheduler=self._scheduler, on_lost=on_lost
        )

    def create_async(
        self,
        name: str,
        *,
        ttl_s: float = 10.0,
        renew: bool = True,
        on_store_down: str = "raise",
        wait_s: float = 0.0,
        on_lost: Callable[[], object] | None = None,
    ) -> AsyncDistributedLock:
        """`on_lost`: a function or a coroutine function, run on the loop that took the lock."""
        _check_callback(on_lost)
        options = Options(**checked(ttl_s=ttl_s, renew=renew, on_store_down=on_store_down, wait_s=wait_s))
        return AsyncDistributedLock(
            name, options, store=self._given_store, clock=self._clock, scheduler=self._scheduler, on_lost=on_lost
        )

    def inspect(self, name: str) -> LockState:
        """Who holds it now. Raises StorageError."""
        return _state(name, self._store.attempt("lock_inspect", check_name(name), (), self._clock.stamp_us()))

    async def ainspect(self, name: str) -> LockState:
        return _state(name, await self._store.aattempt("lock_inspect", check_name(name), (), self._clock.stamp_us()))

    def break_lock(self, name: str) -> LockState:
        """Takes it from its holder, who finds it lost at the next renewal. Answers what was. Raises StorageError."""
        return _state(name, self._store.attempt("lock_break", check_name(name), (), self._clock.stamp_us()))

    async def abreak_lock(self, name: str) -> LockState:
        return _state(name, await self._store.aattempt("lock_break", check_name(name), (), self._clock.stamp_us()))

    @property
    def _store(self) -> Storage:
        # Not `or`: a store with nothing in it yet is empty, and so false.
        return default_store() if self._given_store is None else self._given_store


def _check_callback(on_lost: object) -> None:
    if on_lost is not None and not callable(on_lost):
        raise ValueError(f"on_lost is {on_lost!r:.100}; it takes a function without arguments")


def _state(name: str, reply: Reply) -> LockState:
    held, fence, left, owner = reply
    return LockState(name, bool(held), str(owner), int(fence), int(left) / 1e6)


def fenced_update(queryset: Any, lock: Lock, **values: Any) -> int:
    """Updates rows that no later holder has written; their integer field `fence` keeps who did. Raises LockLost for none.

    The check before it spares a question whose answer is known. Only the database's own comparison is proof: between the check
    and the statement a process may be frozen for as long as it takes another to get the lock. A holder may write a row again.
    """
    rows: int = _fenced(queryset, lock, values).update(fence=lock.fence, **values)
    return _written(rows, lock)


async def afenced_update(queryset: Any, lock: Lock, **values: Any) -> int:
    rows: int = await _fenced(queryset, lock, values).aupdate(fence=lock.fence, **values)
    return _written(rows, lock)


def _fenced(queryset: Any, lock: Lock, values: dict[str, Any]) -> Any:
    if "fence" in values:
        raise ValueError("fence is the lock's to write, not a value of the update")
    lock.check()
    return queryset.filter(fence__lte=lock.fence)


def _written(rows: int, lock: Lock) -> int:
    if not rows:
        raise LockLost(lock.name, "the database knows a later holder, or no such row")
    return rows
