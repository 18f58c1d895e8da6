"""A store with another behind it: over at the first sign that the primary is gone, back at the first sign that it is there."""

from __future__ import annotations

import os
import random
import threading
import time
import weakref
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal

from resilience import telemetry
from resilience.bus import Bus
from resilience.errors import StorageError, StorageProtocolError, StorageTimeout, StorageUnavailable
from resilience.laws.keyspace import Reply
from resilience.storage.base import Args, Call, Storage, StorageHealth

# Its own, for a thread of ours must not move the sequence that a program has seeded for itself.
_draw = random.Random()  # noqa: S311 - it spreads a load, it guards nothing

# Replies unseen in a row. One may be a lost packet or a slow script; two calls that wait in vain are what callers should pay.
MAX_UNSEEN: Final = 2
# The share by which each wait differs, so that a thousand processes do not ask a server that just came back in the same instant.
JITTER: Final = 0.2


@dataclass(frozen=True, slots=True)
class _Down:
    since: float  # seconds since 1970
    error: str


class FailoverStore:
    """Asks `primary`; while that is down, run() is answered by `fallback` and attempt() raises at once.

    Down: after one StorageUnavailable of the whole store, or two StorageTimeouts in a row. Up: once its health is good again;
    one thread of the process asks every `probe_s` seconds +- 20 %, and only while something is down. What the fallback wrote is
    never carried over. A StorageProtocolError is our own bug, and hidden by no fallback.
    """

    name: Final[Literal["failover"]] = "failover"

    def __init__(self, primary: Storage, fallback: Storage, *, probe_s: float = 1.0) -> None:
        self.primary = primary
        self.fallback = fallback
        self.probe_s = _checked_probe(probe_s)
        self._down: _Down | None = None
        self._unseen = 0
        self._lock = threading.Lock()
        telemetry.gauge("resilience_storage_up", 1, primary.name)
        _stores.add(self)

    @property
    def prefix(self) -> str:
        return self.primary.prefix

    @property
    def local(self) -> Storage:
        return self.fallback

    @property
    def bus(self) -> Bus:
        return self.primary.bus

    def channel(self, name: str) -> str:
        return self.primary.channel(name)

    @property
    def is_down(self) -> bool:
        return self._down is not None

    def attempt(self, op: str, tag: str, args: Args = (), now: int = 0) -> Reply:
        if self._down is not None:
            raise self._refusal(op, self._down)
        try:
            reply = self.primary.attempt(op, tag, args, now)
        except StorageError as error:
            self._failed(error)
            raise
        self._unseen = 0
        return reply

    async def aattempt(self, op: str, tag: str, args: Args = (), now: int = 0) -> Reply:
        if self._down is not None:
            raise self._refusal(op, self._down)
        try:
            reply = await self.primary.aattempt(op, tag, args, now)
        except StorageError as error:
            self._failed(error)
            raise
        self._unseen = 0
        return reply

    def run(self, op: str, tag: str, args: Args = (), now: int = 0) -> Reply:
        try:
            return self.attempt(op, tag, args, now)
        except StorageProtocolError:
            raise
        except StorageError:
            return self.fallback.run(op, tag, args, now)

    async def arun(self, op: str, tag: str, args: Args = (), now: int = 0) -> Reply:
        try:
            return await self.aattempt(op, tag, args, now)
        except StorageProtocolError:
            raise
        except StorageError:
            return await self.fallback.arun(op, tag, args, now)

    def attempt_many(self, calls: Sequence[Call], now: int = 0) -> list[Reply | StorageError]:
        if self._down is not None:
            return [self._refusal(op, self._down) for op, _, _ in calls]
        replies = self.primary.attempt_many(calls, now)
        self._judge(replies)
        return replies

    async def aattempt_many(self, calls: Sequence[Call], now: int = 0) -> list[Reply | StorageError]:
        if self._down is not None:
            return [self._refusal(op, self._down) for op, _, _ in calls]
        replies = await self.primary.aattempt_many(calls, now)
        self._judge(replies)
        return replies

    def run_many(self, calls: Sequence[Call], now: int = 0) -> list[Reply | StorageError]:
        replies = self.attempt_many(calls, now)
        missing = _missing(replies)
        for place, reply in zip(missing, self.fallback.run_many([calls[place] for place in missing], now), strict=True):
            replies[place] = reply
        return replies

    async def arun_many(self, calls: Sequence[Call], now: int = 0) -> list[Reply | StorageError]:
        replies = await self.aattempt_many(calls, now)
        missing = _missing(replies)
        answers = await self.fallback.arun_many([calls[place] for place in missing], now)
        for place, reply in zip(missing, answers, strict=True):
            replies[place] = reply
        return replies

    def health(self) -> StorageHealth:
        """Asks the primary, and goes back to it if it is well."""
        return self._heard(self.primary.health())

    async def ahealth(self) -> StorageHealth:
        return self._heard(await self.primary.ahealth())

    def close(self) -> None:
        """Closes the primary, and stops asking after it. The fallback belongs to the process, and stays."""
        _prober.leave(self)
        self.primary.close()

    async def aclose(self) -> None:
        _prober.leave(self)
        await self.primary.aclose()

    def _judge(self, replies: Sequence[Reply | StorageError]) -> None:
        """A pipeline is one look at the store: its unseen replies count once."""
        errors = [reply for reply in replies if isinstance(reply, StorageError)]
        unavailable = next((error for error in errors if isinstance(error, StorageUnavailable) and error.is_whole_store), None)
        if unavailable is not None:
            self._failed(unavailable)
        elif replies and len(errors) < len(replies):
            self._unseen = 0
        elif errors:
            self._failed(errors[0])

    def _failed(self, error: StorageError) -> None:
        if isinstance(error, StorageTimeout):
            # Not under the lock: of two counts that meet one may be lost, and then one more call waits.
            self._unseen += 1
            if self._unseen < MAX_UNSEEN:
                return
        elif not (isinstance(error, StorageUnavailable) and error.is_whole_store):
            # It answered. Full or misconfigured, each call finds out for itself; a check would say "well" and go to and fro.
            self._unseen = 0
            return
        with self._lock:
            if self._down is not None:
                return
            self._down = _Down(time.time(), f"{type(error).__name__}: {error}")
        telemetry.gauge("resilience_storage_up", 0, self.primary.name)
        telemetry.emit("storage.down", store=self.primary.name, error=str(error), reason=type(error).__name__)
        _prober.watch(self)

    def _refusal(self, op: str, down: _Down) -> StorageUnavailable:
        _prober.watch(self)
        return StorageUnavailable(op, f"the store is down: {down.error}")

    def _heard(self, health: StorageHealth) -> StorageHealth:
        down = self._down
        if down is None:
            return health
        if not health.ok:
            return replace(health, since=down.since, fallback_active=True)
        with self._lock:
            if self._down is not down:
                return health
            self._unseen = 0
            self._down = None
        _prober.leave(self)
        telemetry.gauge("resilience_storage_up", 1, self.primary.name)
        telemetry.emit("storage.up", store=self.primary.name, down_s=max(0.0, time.time() - down.since))
        return health

    def forget_parent(self) -> None:
        """For a forked child, whose parent's threads do not exist here."""
        self._lock = threading.Lock()


class _Prober:
    """One thread for all stores that are down; it ends with the last of them."""

    def __init__(self) -> None:
        self._due: dict[FailoverStore, float] = {}
        self._changed = threading.Condition()
        self._is_running = False

    def watch(self, store: FailoverStore) -> None:
        """Asks after the store until it is up. Cheap when it does already: every refused call says it."""
        if store in self._due:
            return
        with self._changed:
            self._due[store] = _next_due(store)
            if self._is_running:
                self._changed.notify()
                return
            self._is_running = True
        try:
            threading.Thread(target=self._run, name="resilience-storage-probe", daemon=True).start()
        except RuntimeError as error:  # no thread to be had, or the interpreter ends: the next refused call tries again
            with self._changed:
                self._is_running = False
                self._due.clear()
            telemetry.internal_error("storage", "probe", error)

    def leave(self, store: FailoverStore) -> None:
        with self._changed:
            self._due.pop(store, None)
            self._changed.notify()

    def _run(self) -> None:
        while True:
            with self._changed:
                if not self._due:
                    self._is_running = False
                    return
                store, due = min(self._due.items(), key=lambda item: item[1])
                wait_s = due - time.monotonic()
                if wait_s > 0:
                    self._changed.wait(wait_s)
                    continue
                self._due[store] = _next_due(store)
            try:
                store.health()
            except Exception as error:  # noqa: BLE001 - the thread must outlive a fault of one store, or none would come back
                telemetry.internal_error("storage", "probe", error)


def _next_due(store: FailoverStore) -> float:
    return time.monotonic() + store.probe_s * _draw.uniform(1 - JITTER, 1 + JITTER)


def _missing(replies: Sequence[Reply | StorageError]) -> list[int]:
    """What the fallback answers: everything but our own bugs."""
    return [
        place
        for place, reply in enumerate(replies)
        if isinstance(reply, StorageError) and not isinstance(reply, StorageProtocolError)
    ]


def _checked_probe(probe_s: object) -> float:
    if isinstance(probe_s, bool) or not isinstance(probe_s, int | float) or not 0.01 <= probe_s <= 3600:
        raise ValueError(f"probe_s is {probe_s!r}; it takes 0.01 to 3600 seconds")
    return probe_s


_prober = _Prober()
# For forks alone; a store that nobody uses may go.
_stores: weakref.WeakSet[FailoverStore] = weakref.WeakSet()


def _after_fork() -> None:
    global _prober  # noqa: PLW0603 - its thread and lock are the parent's
    _prober = _Prober()
    for store in list(_stores):
        store.forget_parent()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
