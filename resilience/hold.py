"""What is held for a while, a permit or a lock: taking, renewing, giving back, and when this process must stop believing in it.

Invariants: 1. the belief ends before the lease does: it counts from before the request was sent, and 1 % less; 2. lost is final;
3. what may have been taken without our seeing it is given back by its id; 4. a child of fork() holds nothing of its parent's.
"""

from __future__ import annotations

import asyncio
import itertools
import math
import os
import re
import socket
import threading
from abc import abstractmethod
from typing import ClassVar, Final

from resilience import telemetry
from resilience.chores import Scheduler
from resilience.clock import Clock
from resilience.errors import StorageError, StorageProtocolError, StorageTimeout
from resilience.laws.keyspace import Reply
from resilience.storage.base import Call, Storage
from resilience.waiting import outcome, see_through

# The rest is for clocks of two machines that run unequally fast: 1 % is a hundred times what quartz does.
BELIEF: Final = 0.99

_lock = threading.Lock()
_generation = 0  # rises in a forked child
_serials = itertools.count(1)
_owner = ""


class Hold:
    """Something taken from a store under an id of its own, for `lease_s` at a time. One object for one taking."""

    family: ClassVar[str]
    __slots__ = (
        "__weakref__",
        "_born",
        "clock",
        "deadline",
        "due",
        "ended",
        "failure",
        "id",
        "lease_s",
        "loop",
        "name",
        "renews",
        "scheduler",
        "serial",
        "store",
        "why",
    )

    def __init__(
        self,
        name: str,
        lease_s: float,
        *,
        store: Storage,
        clock: Clock,
        scheduler: Scheduler,
        loop: asyncio.AbstractEventLoop | None = None,
        renews: bool = True,
    ) -> None:
        self.name = name
        self.lease_s = lease_s
        self.store = store
        self.clock = clock
        self.scheduler = scheduler
        self.loop = loop
        self.renews = renews
        self.serial = next(_serials)
        self.id = f"{_owner or _name_owner()}:{self.serial:x}"
        self.deadline = math.inf
        self.due = math.inf
        self.ended = False
        self.why = ""
        self.failure = ""
        self._born = _generation

    @property
    def lease_us(self) -> int:
        return round(self.lease_s * 1_000_000)

    @property
    def lost(self) -> bool:
        """It ran out, or was taken, before it was given back. Exact when read: a process that was frozen sees it at once."""
        if self.why:
            return True
        return not self.ended and (self.clock.monotonic() >= self.deadline or self._born != _generation)

    @property
    def over(self) -> bool:
        return self.ended or bool(self.why) or self._born != _generation

    @property
    def reason(self) -> str:
        if self._born != _generation:
            return "it belongs to the process this one was forked from"
        return self.why or f"not renewed within {BELIEF * self.lease_s:g} s" + (f" ({self.failure})" if self.failure else "")

    @abstractmethod
    def on_lost(self) -> None:
        """Called once, from whichever thread finds out."""

    def take(self, *args: int | str) -> Reply:
        """The reply to `<family>_acquire`. Raises StorageError; then nothing is held, or will be for long."""
        sent = self.clock.monotonic()
        try:
            reply = self.store.attempt(f"{self.family}_acquire", self.name, args, self.clock.stamp_us())
        except StorageTimeout:
            self._undo(sent)
            raise
        if reply[0]:
            self._believe(sent)
            self.scheduler.add(self)
        return reply

    async def atake(self, *args: int | str) -> Reply:
        """The same. Cancelled, it still waits for the reply, gives back what that says, and only then goes."""
        sent = self.clock.monotonic()
        task, cancelled = await see_through(self.store.aattempt(f"{self.family}_acquire", self.name, args, self.clock.stamp_us()))
        error = outcome(task)
        if isinstance(error, StorageTimeout):
            self._undo(sent)
        if cancelled is not None:
            if isinstance(error, asyncio.CancelledError) or (error is None and task.result()[0]):
                await self.agive_back()
            raise cancelled
        reply = task.result()
        if reply[0]:
            self._believe(sent)
            self.scheduler.add(self)
        return reply

    def renew_now(self) -> bool:
        """Not waiting for the scheduler. False: it is lost. Raises StorageError; then it goes on as it was."""
        if not self.lost and not self.ended:
            sent = self.clock.monotonic()
            op, tag, args = self.call()
            self.answer(self.store.attempt(op, tag, args, self.clock.stamp_us()), sent)
        return not self.lost and not self.ended

    async def arenew_now(self) -> bool:
        if not self.lost and not self.ended:
            sent = self.clock.monotonic()
            op, tag, args = self.call()
            self.answer(await self.store.aattempt(op, tag, args, self.clock.stamp_us()), sent)
        return not self.lost and not self.ended

    def give_back(self) -> bool:
        """False: it was lost, or given back before. Never raises: what leaves the block must not be hidden by it."""
        if not self._end():
            return False
        try:
            op, tag, args = self.undoing()
            self._given_back(self.store.attempt(op, tag, args, self.clock.stamp_us()))
        except Exception as error:  # noqa: BLE001 - counted; the lease ends it
            self._not_given_back(error)
        return not self.why

    async def agive_back(self) -> bool:
        """The same. Cancelled, it is still given back first."""
        if not self._end():
            return False
        op, tag, args = self.undoing()
        task, cancelled = await see_through(self.store.aattempt(op, tag, args, self.clock.stamp_us()))
        error = outcome(task)
        if error is None:
            self._given_back(task.result())
        else:
            self._not_given_back(error)
        if cancelled is not None:
            raise cancelled
        return not self.why

    def lose(self, why: str) -> None:
        with _lock:
            if self.why:
                return
            self.why = why
        self.scheduler.discard(self)
        try:
            self.on_lost()
        except Exception as error:  # noqa: BLE001 - a listener's fault must not end the renewal of others
            telemetry.internal_error(self.family, "lost", error)

    # As a chore of the scheduler:

    def call(self) -> Call:
        return (f"{self.family}_renew", self.name, (self.id, self.lease_us))

    def undoing(self) -> Call:
        return (f"{self.family}_release", self.name, (self.id,))

    def answer(self, reply: Reply | StorageError, sent: float) -> None:
        if self.over:
            return
        now = self.clock.monotonic()
        if isinstance(reply, StorageError):
            self.failure = str(reply)
            self.due = now + self.lease_s / 10
        elif not reply[0]:
            self.lose("it had run out or was taken away")
        elif now >= self.deadline:
            # It was seen as lost already, by whoever looked in between.
            self.expire()
        else:
            self._believe(sent)

    def expire(self) -> None:
        self.lose(self.reason)

    def _believe(self, sent: float) -> None:
        self.failure = ""
        self.deadline = sent + BELIEF * self.lease_s
        self.due = sent + self.lease_s / 3 if self.renews else math.inf

    def _end(self) -> bool:
        """True if there is something to give back. Before the release is sent: a renewal that it overtakes then finds nobody."""
        if self._born != _generation or self.ended:
            return False
        if self.lost:
            self.expire()
        self.ended = True
        self.scheduler.discard(self)
        return True

    def _given_back(self, reply: Reply) -> None:
        if not reply[0] and self.deadline != math.inf:
            self.lose("it had run out or was taken away")

    def _not_given_back(self, error: BaseException) -> None:
        if isinstance(error, StorageTimeout):
            self._undo(self.clock.monotonic())
        elif isinstance(error, StorageProtocolError) or not isinstance(error, StorageError | asyncio.CancelledError):
            telemetry.internal_error(self.family, "release", error)

    def _undo(self, sent: float) -> None:
        try:
            self.scheduler.add(Undo(self, sent), keep=True)
        except Exception as error:  # noqa: BLE001 - an injected scheduler's fault; the lease ends it
            telemetry.internal_error(self.family, "undo", error)


class Undo:
    """Gives back by id what may have been taken, until the store has answered once or the lease is over anyway."""

    __slots__ = ("_call", "_done", "clock", "deadline", "due", "loop", "serial", "store")

    def __init__(self, hold: Hold, sent: float) -> None:
        self.serial = next(_serials)
        self.store = hold.store
        self.clock = hold.clock
        self.loop = hold.loop
        self.due = hold.clock.monotonic()
        # A server that was frozen may execute the request when it wakes, so the lease may begin later than it was asked for.
        self.deadline = sent + 2 * hold.lease_s
        self._call = hold.undoing()
        self._done = False

    @property
    def over(self) -> bool:
        return self._done

    def call(self) -> Call:
        return self._call

    undoing = call

    def answer(self, reply: Reply | StorageError, sent: float) -> None:
        if isinstance(reply, StorageError):
            self.due = sent + 0.25  # chosen: four looks a second at a server that does not answer
        else:
            self._done = True

    def expire(self) -> None:
        self._done = True


def _name_owner() -> str:
    """`host:pid:random`, so that an operator sees who holds what; the rest of an id is a number."""
    global _owner  # noqa: PLW0603 - named once a process, when something is first held
    host = re.sub(r"[^A-Za-z0-9_.-]", "-", socket.gethostname())[:40] or "host"
    _owner = f"{host}:{os.getpid()}:{os.urandom(6).hex()}"
    return _owner


def _after_fork() -> None:
    global _lock, _generation, _owner  # noqa: PLW0603
    _lock = threading.Lock()  # whoever held it does not exist here
    _generation += 1
    _owner = ""


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
