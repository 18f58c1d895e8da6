"""A bulkhead: at most so many calls at once, over all processes and hosts; each permit a lease, renewed while its call runs."""

from __future__ import annotations

import asyncio
import math
import threading
import weakref
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from types import MappingProxyType, TracebackType
from typing import Any, Final, Self, TypeVar, cast

from resilience import telemetry
from resilience.chores import Scheduler
from resilience.clock import SYSTEM, Clock
from resilience.errors import BulkheadFull, StorageError, StorageProtocolError
from resilience.guarding import guard
from resilience.hold import Hold
from resilience.laws.keyspace import Reply
from resilience.params import Mistake
from resilience.renewal import live, scheduler_for
from resilience.sections import BULKHEADS
from resilience.storage.base import Storage, default_store, local_share
from resilience.storage.keys import check_name
from resilience.waiting import Poll, apause, pause

F = TypeVar("F", bound=Callable[..., Any])

MOST_HOLDERS: Final = 100  # named in one snapshot
Error = type[BaseException] | None


@dataclass(frozen=True, slots=True)
class Options:
    """What can be changed while calls run."""

    max_concurrent: int
    lease_s: float
    max_wait_s: float


def checked(**options: object) -> dict[str, Any]:
    """The typed options. Raises ValueError naming the first that is wrong."""
    typed = {}
    for name, value in options.items():
        param = BULKHEADS.param(name)
        if param is None:
            raise ValueError(f"a bulkhead has no option {name!r}; known are {', '.join(p.name for p in BULKHEADS.params)}")
        try:
            typed[name] = param.parse(value)
        except Mistake as mistake:
            raise ValueError(f"{name} {mistake}") from None
    return typed


@dataclass(frozen=True, slots=True)
class BulkheadState:
    """`in_flight`: permits out, everywhere; `drained_s`: how long nobody is admitted; `holders`: id and seconds left of each."""

    name: str
    in_flight: int
    limit: int
    drained_s: float
    source: str
    holders: tuple[tuple[str, float], ...]


class Permit(Hold):
    """The right to run one call. `source`: redis, memory, or local for this process's share while Redis is away."""

    family = "bulkhead"
    __slots__ = ("source",)
    source: str

    def release(self) -> bool:
        """False: the lease had ended before the call did, or it was released before. Never raises."""
        return self.give_back()

    async def arelease(self) -> bool:
        return await self.agive_back()

    def on_lost(self) -> None:
        telemetry.emit("bulkhead.lease_lost", name=self.name, permit=self.id, why=self.reason)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: Error, error: BaseException | None, trace: TracebackType | None) -> None:
        self.give_back()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: Error, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.agive_back()


class Bulkhead:
    """Admits a call while fewer than `max_concurrent` run; else raises BulkheadFull, after `max_wait_s` of looking again.

    A context manager for both kinds of `with`, and a decorator of functions, coroutines, generators and asynchronous ones.
    """

    def __init__(
        self,
        name: str,
        max_concurrent: int,
        *,
        lease_s: float = 30.0,
        max_wait_s: float = 0.0,
        store: Storage | None = None,
        clock: Clock | None = None,
        scheduler: Scheduler | None = None,
    ) -> None:
        self.name = check_name(name)
        self._options = Options(**checked(max_concurrent=max_concurrent, lease_s=lease_s, max_wait_s=max_wait_s))
        self._given_store = store
        self._clock = clock or SYSTEM
        self._scheduler = scheduler or scheduler_for(self._clock)
        self._told_full = -math.inf
        # Permits of `with` blocks, by thread or task: one object guards many calls at once.
        self._blocks: dict[int, list[Permit]] = {}
        _bulkheads.add(self)

    @property
    def options(self) -> Mapping[str, Any]:
        return MappingProxyType(asdict(self._options))

    def configure(self, **changes: object) -> None:
        """Changes options for the next calls. A lowered limit lets those inside finish."""
        self._options = replace(self._options, **checked(**changes))

    @property
    def limit(self) -> int:
        return self._options.max_concurrent

    @property
    def in_flight(self) -> int:
        """Calls running everywhere. Asks the store; on an event loop take `(await asnapshot()).in_flight`."""
        return self.snapshot().in_flight

    def acquire(self, wait_s: float | None = None) -> Permit:
        """Raises BulkheadFull. `wait_s`: None for the bulkhead's own `max_wait_s`. Release what you get."""
        poll = self._poll(wait_s)
        while True:
            permit, reply = self._attempt()
            if reply[0]:
                if not permit.lost:
                    return permit
                permit.give_back()  # this process stood still for a whole lease between asking and hearing
            pause_s = poll.pause_s(int(reply[2]) / 1e6) if poll else None
            if pause_s is None:
                raise self._full(permit, reply)
            pause(self._clock, pause_s)

    async def aacquire(self, wait_s: float | None = None) -> Permit:
        """The same. Cancelled, it leaves no permit behind."""
        poll = self._poll(wait_s)
        while True:
            permit, reply = await self._aattempt()
            if reply[0]:
                if not permit.lost:
                    return permit
                await permit.agive_back()
            pause_s = poll.pause_s(int(reply[2]) / 1e6) if poll else None
            if pause_s is None:
                raise self._full(permit, reply)
            await apause(self._clock, pause_s)

    def snapshot(self) -> BulkheadState:
        store = self._store
        try:
            return self._state(store.attempt(*self._inspect), _source(store))
        except StorageError as error:
            local = self._instead(store, error, "snapshot")
            return self._state(local.attempt(*self._inspect), "local")

    async def asnapshot(self) -> BulkheadState:
        store = self._store
        try:
            return self._state(await store.aattempt(*self._inspect), _source(store))
        except StorageError as error:
            local = self._instead(store, error, "snapshot")
            return self._state(await local.aattempt(*self._inspect), "local")

    def drain(self, for_s: float = 60.0) -> int:
        """Admits nobody for so long, in any process; who is inside finishes. Answers how many are. Raises StorageError."""
        return int(self._store.attempt("bulkhead_drain", self.name, (_span_us(for_s),), self._clock.stamp_us())[0])

    async def adrain(self, for_s: float = 60.0) -> int:
        reply = await self._store.aattempt("bulkhead_drain", self.name, (_span_us(for_s),), self._clock.stamp_us())
        return int(reply[0])

    def resume(self) -> None:
        """Ends a drain before its time."""
        self._store.attempt("bulkhead_drain", self.name, (0,), self._clock.stamp_us())

    async def aresume(self) -> None:
        await self._store.aattempt("bulkhead_drain", self.name, (0,), self._clock.stamp_us())

    def __enter__(self) -> Permit:
        return self._entered(self.acquire(), threading.get_ident())

    def __exit__(self, kind: Error, error: BaseException | None, trace: TracebackType | None) -> None:
        self._left(threading.get_ident()).give_back()

    async def __aenter__(self) -> Permit:
        return self._entered(await self.aacquire(), id(asyncio.current_task()))

    async def __aexit__(self, kind: Error, error: BaseException | None, trace: TracebackType | None) -> None:
        await self._left(id(asyncio.current_task())).agive_back()

    def __call__(self, function: F) -> F:
        """Guards every call of `function`; a generator from its first step to its last."""
        return guard(function, self.acquire, self.aacquire)

    @property
    def _store(self) -> Storage:
        # Not `or`: a store with nothing in it yet is empty, and so false.
        return default_store() if self._given_store is None else self._given_store

    @property
    def _inspect(self) -> tuple[str, str, tuple[int], int]:
        return "bulkhead_inspect", self.name, (MOST_HOLDERS,), self._clock.stamp_us()

    def _poll(self, wait_s: float | None) -> Poll | None:
        wait_s = self._options.max_wait_s if wait_s is None else _wait(wait_s)
        return Poll(wait_s, self._clock) if wait_s else None

    def _attempt(self) -> tuple[Permit, Reply]:
        store, limit = self._store, self._options.max_concurrent
        permit = self._permit(store, _source(store), None)
        try:
            return permit, permit.take(permit.id, limit, permit.lease_us)
        except StorageError as error:
            permit = self._permit(self._instead(store, error, "acquire"), "local", None)
            return permit, permit.take(permit.id, local_share(limit), permit.lease_us)

    async def _aattempt(self) -> tuple[Permit, Reply]:
        store, limit, loop = self._store, self._options.max_concurrent, asyncio.get_running_loop()
        permit = self._permit(store, _source(store), loop)
        try:
            return permit, await permit.atake(permit.id, limit, permit.lease_us)
        except StorageError as error:
            permit = self._permit(self._instead(store, error, "acquire"), "local", loop)
            return permit, await permit.atake(permit.id, local_share(limit), permit.lease_us)

    def _permit(self, store: Storage, source: str, loop: asyncio.AbstractEventLoop | None) -> Permit:
        lease_s = self._options.lease_s
        permit = Permit(self.name, lease_s, store=store, clock=self._clock, scheduler=self._scheduler, loop=loop)
        permit.source = source
        return permit

    def _instead(self, store: Storage, error: StorageError, stage: str) -> Storage:
        """Where to go on while `store` fails: this process gives out its share of the limit."""
        if store.local is store:
            raise error
        if isinstance(error, StorageProtocolError):
            # No outage but our own bug: the caller gets his verdict, and the log the bug.
            telemetry.internal_error("bulkhead", stage, error)
        return store.local

    def _full(self, permit: Permit, reply: Reply) -> BulkheadFull:
        telemetry.count("resilience_bulkhead_refused_total", self.name)
        now = self._clock.monotonic()
        if now - self._told_full >= 1:
            # Once a second: a flood of refusals must not push everything else out of the listeners' queues.
            self._told_full = now
            telemetry.emit("bulkhead.full", name=self.name, limit=self.limit, in_flight=reply[1], source=permit.source)
        return BulkheadFull(self.name, self.limit, retry_after_s=int(reply[2]) / 1e6, source=permit.source)

    def _state(self, reply: Reply, source: str) -> BulkheadState:
        out, drained, *rest = reply
        holders = tuple((str(permit), int(left) / 1e6) for permit, left in zip(rest[::2], rest[1::2], strict=True))
        return BulkheadState(self.name, int(out), self.limit, int(drained) / 1e6, source, holders)

    def _entered(self, permit: Permit, whose: int) -> Permit:
        self._blocks.setdefault(whose, []).append(permit)
        return permit

    def _left(self, whose: int) -> Permit:
        """The permit of the block that ends. A generator may be closed by another task than opened it: permits are all alike."""
        if whose not in self._blocks:
            whose = next(iter(self._blocks))
        permits = self._blocks[whose]
        permit = permits.pop()
        if not permits:
            del self._blocks[whose]
        return permit


_bulkheads: weakref.WeakSet[Bulkhead] = weakref.WeakSet()


def _in_flight() -> Iterable[telemetry.Sample]:
    counts = {bulkhead.name: 0 for bulkhead in list(_bulkheads)}
    for hold in live():
        if isinstance(hold, Permit) and not hold.over:
            counts[hold.name] = counts.get(hold.name, 0) + 1
    return [("resilience_bulkhead_in_flight", (name,), number) for name, number in counts.items()]


telemetry.add_source(_in_flight)


def _source(store: Storage) -> str:
    """Who answers attempt(): of a store with a fallback the first one, always."""
    return "memory" if store.name == "memory" else "redis"


def _wait(wait_s: object) -> float:
    try:
        return cast(float, checked(max_wait_s=wait_s)["max_wait_s"])
    except ValueError as error:
        raise ValueError(str(error).replace("max_wait_s", "wait_s", 1)) from None


def _span_us(for_s: object) -> int:
    try:
        return round(cast(float, checked(lease_s=for_s)["lease_s"]) * 1_000_000)
    except ValueError as error:
        raise ValueError(str(error).replace("lease_s", "for_s", 1)) from None
