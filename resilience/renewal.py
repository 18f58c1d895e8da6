"""Who renews what is held: one daemon thread a process, one timer an event loop; by a test's clock, whoever moves it.

Nothing is started before something is held. A hold that nobody refers to any more is not renewed: its lease ends it.
"""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import math
import os
import threading
import weakref
from collections.abc import Callable, Iterator
from typing import Any, Final

from resilience import telemetry
from resilience.chores import TOGETHER_S, Chore, Reference, Scheduler, aattempt, attempt, batches, hand_out, sort_out
from resilience.clock import SYSTEM, Clock, SystemClock
from resilience.errors import StorageError

Loop = asyncio.AbstractEventLoop

SOONEST_S: Final = 0.001


class Renewals:
    """The scheduler of real time: a thread for what was taken there, a timer and a task for each event loop."""

    def __init__(self) -> None:
        self._begin()
        _schedulers.add(self)

    def _begin(self) -> None:
        self._thread = _Thread()
        self._loops: weakref.WeakKeyDictionary[Loop, _Loop] = weakref.WeakKeyDictionary()

    def add(self, chore: Chore, *, keep: bool = False) -> None:
        reference: Reference = (lambda: chore) if keep else weakref.ref(chore)
        if chore.loop is None:
            self._thread.add(chore, reference)
            return
        loop = self._loops.get(chore.loop)
        if loop is None:
            loop = self._loops[chore.loop] = _Loop(chore.loop)
        loop.add(chore, reference)

    def discard(self, chore: Chore) -> None:
        if chore.loop is None:
            self._thread.items.pop(chore.serial, None)
        elif (loop := self._loops.get(chore.loop)) is not None:
            loop.items.pop(chore.serial, None)

    def later(self, loop: Loop | None, call: Callable[[], object]) -> None:
        if loop is not None:
            _soon(loop, call)
            return
        try:
            # In a thread of its own: a callback that waits must not hold up the renewal of everything else.
            threading.Thread(target=_run, args=(call,), name="resilience-lost", daemon=True).start()
        except RuntimeError as error:  # the interpreter is going down
            telemetry.internal_error("renewal", "thread", error)

    def forget(self) -> None:
        """For a forked child: what is held is its parent's, and so are the thread and the loops."""
        held = list(self.chores())
        self._begin()
        for chore in held:
            # A store in memory was forked too: in the child's copy nobody would ever give this back.
            if chore.store.name == "memory":
                try:
                    op, tag, args = chore.undoing()
                    chore.store.attempt(op, tag, args, chore.clock.stamp_us())
                except StorageError as error:
                    telemetry.internal_error("renewal", "fork", error)

    def chores(self) -> Iterator[Chore]:
        tables = [self._thread.items, *(loop.items for loop in list(self._loops.values()))]
        for reference in [reference for table in tables for reference in list(table.values())]:
            if (chore := reference()) is not None:
                yield chore


class _Thread:
    """The process's renewal thread. Adding and discarding take no lock: they are steps of every acquire and release."""

    def __init__(self) -> None:
        self.items: dict[int, Reference] = {}
        self._event = threading.Event()
        self._wake_at = math.inf
        self._starting = threading.Lock()
        self._thread: threading.Thread | None = None

    def add(self, chore: Chore, reference: Reference) -> None:
        self.items[chore.serial] = reference
        if self._thread is None:
            self._start()
        elif min(chore.due, chore.deadline) < self._wake_at:
            self._event.set()

    def _start(self) -> None:
        with self._starting:
            if self._thread is None:
                thread = threading.Thread(target=self._run, name="resilience-renewal", daemon=True)
                try:
                    thread.start()
                except RuntimeError as error:  # the interpreter is going down: leases end by themselves
                    telemetry.internal_error("renewal", "thread", error)
                    return
                self._thread = thread

    def _run(self) -> None:
        while True:
            self._event.clear()
            # From here on whoever adds wakes us, so that nothing falls between looking and sleeping.
            self._wake_at = math.inf
            wake_at = self._round()
            self._wake_at = wake_at
            if not self._event.is_set():
                self._event.wait(None if wake_at == math.inf else max(SOONEST_S, wake_at - SYSTEM.monotonic()))

    def _round(self) -> float:
        """Does what is due; answers when the next is. A frame of its own, so that a sleeping thread refers to no hold."""
        try:
            due, wake_at = sort_out(self.items, SYSTEM.monotonic())
            for store, chores in batches(due):
                sent = SYSTEM.monotonic()
                hand_out(chores, attempt(store, chores), sent)
            return min([wake_at, *(min(chore.due, chore.deadline) for chore in due if not chore.over)])
        except Exception as error:  # noqa: BLE001 - the one thread must outlive any fault; what it renews must not end with it
            telemetry.internal_error("renewal", "thread", error)
            return SYSTEM.monotonic() + TOGETHER_S


class _Loop:
    """The renewals of one event loop: a timer, and a task only while something is due, so that a loop may close at any time."""

    def __init__(self, loop: Loop) -> None:
        self.items: dict[int, Reference] = {}
        self._loop = weakref.ref(loop)
        self._timer: asyncio.TimerHandle | None = None
        self._wake_at = math.inf
        self._task: asyncio.Task[None] | None = None

    def add(self, chore: Chore, reference: Reference) -> None:
        self.items[chore.serial] = reference
        if self._task is None and min(chore.due, chore.deadline) < self._wake_at:
            self._set(min(chore.due, chore.deadline))

    def _set(self, wake_at: float) -> None:
        loop = self._loop()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._wake_at = wake_at
        if wake_at == math.inf or loop is None or loop.is_closed():
            return
        delay = max(SOONEST_S, wake_at - SYSTEM.monotonic())
        # Not in the context of whoever came first: its deadline is not that of the renewals.
        self._timer = loop.call_later(delay, self._begin, context=contextvars.Context())

    def _begin(self) -> None:
        loop = self._loop()
        self._timer = None
        if self._task is None and loop is not None:
            self._task = loop.create_task(self._round(), name="resilience-renewal", context=contextvars.Context())

    async def _round(self) -> None:
        wake_at = SYSTEM.monotonic() + TOGETHER_S
        try:
            due, wake_at = sort_out(self.items, SYSTEM.monotonic())
            for store, chores in batches(due):
                sent = SYSTEM.monotonic()
                hand_out(chores, await aattempt(store, chores), sent)
            # Anew: things were added while this task waited for the store, and found no timer to set.
            _, wake_at = sort_out(self.items, SYSTEM.monotonic(), only_look=True)
        except asyncio.CancelledError:
            # The loop shuts down, or somebody cancelled everything he found: then we go on soon.
            wake_at = SYSTEM.monotonic() + TOGETHER_S
            raise
        except Exception as error:  # noqa: BLE001 - as in the thread
            telemetry.internal_error("renewal", "task", error)
        finally:
            self._task = None
            self._set(wake_at)


class ClockRenewals:
    """The scheduler of a clock that tests move: what falls due is done by whoever moves it, before the clock moves on."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    def add(self, chore: Chore, *, keep: bool = False) -> None:
        reference: Reference = (lambda: chore) if keep else weakref.ref(chore)
        if chore.due <= self._clock.monotonic():
            self._fire(reference)
        else:
            self._arm(chore, reference)

    def discard(self, chore: Chore) -> None:
        """Nothing to do: what is over is passed by when its time comes."""

    def later(self, loop: Loop | None, call: Callable[[], object]) -> None:
        if loop is None:
            _run(call)
        else:
            _soon(loop, call)

    def _arm(self, chore: Chore, reference: Reference) -> None:
        if chore.over:
            return
        at = min(chore.due, chore.deadline)
        # At least a microsecond: a rounded time would else come due again before it is reached, without end.
        self._clock.call_later(max(0.000_001, at - self._clock.monotonic()), lambda: self._fire(reference))

    def _fire(self, reference: Reference) -> None:
        chore = reference()
        if chore is None or chore.over:
            return
        if chore.loop is not None:
            _soon(chore.loop, lambda: self._awork(reference))
            return
        due, _ = sort_out({chore.serial: reference}, self._clock.monotonic())
        for store, chores in batches(due):
            sent = self._clock.monotonic()
            hand_out(chores, attempt(store, chores), sent)
        self._arm(chore, reference)

    async def _awork(self, reference: Reference) -> None:
        chore = reference()
        if chore is None or chore.over:
            return
        due, _ = sort_out({chore.serial: reference}, self._clock.monotonic())
        for store, chores in batches(due):
            sent = self._clock.monotonic()
            hand_out(chores, await aattempt(store, chores), sent)
        self._arm(chore, reference)


def _run(call: Callable[[], object]) -> None:
    try:
        result = call()
    except Exception as error:  # noqa: BLE001 - a callback's fault is its own
        telemetry.internal_error("renewal", "callback", error)
        return
    if inspect.iscoroutine(result):
        result.close()
        telemetry.internal_error("renewal", "callback", TypeError("a callback outside an event loop cannot be a coroutine"))


# The loop itself refers to its tasks only weakly.
_tasks: set[asyncio.Task[Any]] = set()


def _soon(loop: Loop, call: Callable[[], object]) -> None:
    def begin() -> None:
        try:
            result = call()
        except Exception as error:  # noqa: BLE001 - a callback's fault is its own
            telemetry.internal_error("renewal", "callback", error)
            return
        if inspect.iscoroutine(result):
            task = loop.create_task(result)
            _tasks.add(task)
            task.add_done_callback(_ended)

    if not loop.is_closed():
        loop.call_soon_threadsafe(begin, context=contextvars.Context())


def _ended(task: asyncio.Task[Any]) -> None:
    _tasks.discard(task)
    error = None if task.cancelled() else task.exception()
    if error is not None:
        telemetry.internal_error("renewal", "callback", error)


_schedulers: weakref.WeakSet[Renewals] = weakref.WeakSet()
_process: Final = Renewals()


def scheduler_for(clock: Clock) -> Scheduler:
    """The process's own for real time; for any other clock one that goes by it."""
    return _process if isinstance(clock, SystemClock) else ClockRenewals(clock)


def live() -> Iterator[Chore]:
    """Everything this process holds in real time."""
    for scheduler in list(_schedulers):
        yield from scheduler.chores()


def _after_fork() -> None:
    for scheduler in list(_schedulers):
        scheduler.forget()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
