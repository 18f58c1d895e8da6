"""What locks of both kinds know: their options, who took them, and whether that still holds."""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from types import MappingProxyType
from typing import Any, Final

from resilience import telemetry
from resilience.chores import Scheduler
from resilience.clock import Clock
from resilience.errors import LockLost, StorageError, StorageProtocolError
from resilience.hold import Hold
from resilience.laws.keyspace import Reply
from resilience.params import Mistake, Param
from resilience.storage.base import Storage, default_store
from resilience.storage.keys import check_name
from resilience.waiting import Poll

PARAMS: Final = {
    param.name: param
    for param in (
        Param("ttl_s", "float", 10.0, min=0.01, max=86_400, help="How long it is held without a renewal."),
        Param("renew", "bool", True, help="Renew it while it is held."),
        Param(
            "on_store_down",
            "choice",
            "raise",
            choices=("raise", "local"),
            help="Without the store: an error, or this process alone.",
        ),
        Param("wait_s", "float", 0.0, min=0, max=86_400, help="How long to wait for it."),
    )
}


@dataclass(frozen=True, slots=True)
class Options:
    """What can be changed; what is held already keeps what it was taken with."""

    ttl_s: float
    renew: bool
    on_store_down: str
    wait_s: float


def checked(**options: object) -> dict[str, Any]:
    """The typed options. Raises ValueError naming the first that is wrong."""
    typed = {}
    for name, value in options.items():
        if name not in PARAMS:
            raise ValueError(f"a lock has no option {name!r}; known are {', '.join(PARAMS)}")
        try:
            typed[name] = PARAMS[name].parse(value)
        except Mistake as mistake:
            raise ValueError(f"{name} {mistake}") from None
    return typed


class Held(Hold):
    """One taking of a lock, by one token (its id)."""

    family = "lock"
    __slots__ = ("cancellations", "fence", "interrupted", "lock", "owner", "task")

    def __init__(self, lock: Lock, store: Storage, owner: object, loop: asyncio.AbstractEventLoop | None) -> None:
        options = lock._options
        super().__init__(
            lock.name,
            options.ttl_s,
            store=store,
            clock=lock._clock,
            scheduler=lock._scheduler,
            loop=loop,
            renews=options.renew,
        )
        # Not the lock itself: it refers to this, and a lock that everybody forgot must go at once, so that its lease ends.
        self.lock = weakref.ref(lock)
        self.owner = owner
        self.fence = 0
        self.task: asyncio.Task[Any] | None = None  # whose `async with` body ends when this is lost
        self.cancellations = 0
        self.interrupted = False

    def on_lost(self) -> None:
        if self.task is not None and not self.task.done() and self.task is not _current_task():
            self.interrupted = True
            self.task.cancel(f"lock {self.name} was lost")
        telemetry.count("resilience_lock_lost_total", self.name)
        telemetry.emit("lock.lost", name=self.name, fence=self.fence, why=self.reason)
        lock = self.lock()
        if lock is not None and lock.on_lost is not None:
            self.scheduler.later(self.loop, lock.on_lost)


class Lock:
    """What both kinds know. One object stands for one holder; its thread or task may take it again inside, others may not."""

    def __init__(
        self,
        name: str,
        options: Options,
        *,
        store: Storage | None,
        clock: Clock,
        scheduler: Scheduler,
        on_lost: Callable[[], object] | None,
    ) -> None:
        self.name = check_name(name)
        self._options = options
        self._given_store = store
        self._clock = clock
        self._scheduler = scheduler
        self.on_lost = on_lost
        self._takings: list[Held] = []  # innermost last; the same one again where it was taken again
        self._last: Held | None = None

    @property
    def options(self) -> Mapping[str, Any]:
        return MappingProxyType(asdict(self._options))

    def configure(self, **changes: object) -> None:
        """For the next acquire."""
        self._options = replace(self._options, **checked(**changes))

    @property
    def held(self) -> bool:
        return bool(self._takings) and not self._takings[-1].lost

    @property
    def lost(self) -> bool:
        """The last taking ended before its release. Right at every moment, also just after the process was frozen."""
        return self._last is not None and self._last.lost

    @property
    def token(self) -> str | None:
        """Of the last taking, None before the first."""
        return None if self._last is None else self._last.id

    @property
    def fence(self) -> int | None:
        """Of the last taking, None before the first. Higher than every fence before it."""
        return None if self._last is None else self._last.fence

    @property
    def expires_in_s(self) -> float:
        """How long it may still be relied upon if no renewal succeeds."""
        return max(0.0, self._takings[-1].deadline - self._clock.monotonic()) if self.held else 0.0

    def check(self) -> None:
        """Raises LockLost when it is no longer, or was never, held."""
        if not self._takings:
            raise LockLost(self.name, "it is not held")
        if self._takings[-1].lost:
            raise LockLost(self.name, self._takings[-1].reason)

    @property
    def _store(self) -> Storage:
        # Not `or`: a store with nothing in it yet is empty, and so false.
        return default_store() if self._given_store is None else self._given_store

    def _again(self, owner: object) -> bool:
        """Whether `owner` holds it already; then it is taken once more."""
        if self.held and self._takings[-1].owner == owner:
            self._takings.append(self._takings[-1])
            return True
        return False

    def _instead(self, store: Storage, error: StorageError) -> Storage:
        if self._options.on_store_down == "raise" or store.local is store or isinstance(error, StorageProtocolError):
            raise error
        return store.local

    def _took(self, taking: Held, reply: Reply) -> None:
        taking.fence = int(reply[1])
        self._takings.append(taking)
        self._last = taking

    def _poll(self, wait_s: float | None) -> Poll | None:
        wait_s = self._options.wait_s if wait_s is None else checked(wait_s=wait_s)["wait_s"]
        return Poll(wait_s, self._clock) if wait_s else None

    def _out(self) -> tuple[Held | None, bool]:
        """The innermost taking, and whether that was its last use."""
        if not self._takings:
            return None, False
        taking = self._takings.pop()
        return taking, taking not in self._takings


def _current_task() -> asyncio.Task[Any] | None:
    try:
        return asyncio.current_task()
    except RuntimeError:  # no event loop in this thread
        return None
