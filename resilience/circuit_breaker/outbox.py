"""What one breaker of this process has yet to tell and to ask: gathered calls, probes whose end was not heard, a fresh look."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, NamedTuple

from resilience import telemetry
from resilience.circuit_breaker import metering
from resilience.circuit_breaker.driving import Step, Steps, drive, on_a_loop, weakly
from resilience.circuit_breaker.reports import POLL_S, REPORTER
from resilience.errors import StorageError
from resilience.laws.keyspace import Reply
from resilience.storage.base import Args

if TYPE_CHECKING:
    from resilience.circuit_breaker.core import Core

Answer = Callable[[Reply | StorageError, int], None]
IDLE_POLLS: Final = 30  # a breaker unused for a minute asks no more until it is used (chosen)


class Owed(NamedTuple):
    """A report that may not have arrived, worth telling until the probe's lease ends."""

    args: Args
    until: int


class Outbox:
    """`dirty`: somebody is already to come for it."""

    def __init__(self, core: Core) -> None:
        self.dirty = False
        self._core = core
        self._look_wanted = False
        self._pressing = False
        self._owed: list[Owed] = []
        self._idle_polls = 0
        self._polled = False

    def wake(self, delay_s: float) -> None:
        """Has somebody come for it after `delay_s`, 0 for at once. Never raises."""
        if self.dirty and delay_s > 0:
            return
        self.dirty = True
        try:
            self._send_for(delay_s)
        except Exception as error:  # noqa: BLE001 - telling may fail; the call it tells of may not
            telemetry.internal_error("circuit_breaker", "wake", error)

    def _send_for(self, delay_s: float) -> None:
        core = self._core
        if not core.clock.stamp_us() or (delay_s <= 0 and on_a_loop()):
            self._pressing = True
            REPORTER.wake(core, delay_s)
        elif delay_s > 0:
            # Under a test's clock it is told in the thread that moves it.
            core.clock.call_later(delay_s, weakly(self.flush))
        else:
            self.flush()

    def owe(self, args: Args, until: int) -> None:
        with self._core.lock:
            self._owed.append(Owed(args, until))
        self.wake(0.0)

    def look(self) -> None:
        """Somebody said that the shared state has changed."""
        self._look_wanted = True
        REPORTER.wake(self._core, 0.0)

    def follow(self) -> None:
        """From now on this process hears of transitions, and asks every two seconds in case it does not."""
        if self._polled:
            return
        self._polled = True
        core, store = self._core, self._core.store
        if core.solo is None or store is None:
            return
        try:
            REPORTER.listen(core, store)
            if core.clock.stamp_us():
                core.clock.call_later(POLL_S, weakly(self._poll))
            else:
                REPORTER.poll(core)
        except Exception as error:  # noqa: BLE001 - a breaker that hears nothing still works
            telemetry.internal_error("circuit_breaker", "listen", error)

    def still_used(self) -> bool:
        """Asked at each poll. Unused for a while, the shared state counts as unknown: the next call asks."""
        core = self._core
        if core.used or self.dirty:
            core.used = False
            self._idle_polls = 0
            return True
        self._idle_polls += 1
        if self._idle_polls <= IDLE_POLLS:
            return True
        with core.lock:
            core.view = core.view._replace(state="")
            core.set_gate()
        self._polled = False
        return False

    def _poll(self) -> None:
        """Under a test's clock."""
        if self.still_used():
            self.flush(poll=True)
            self._core.clock.call_later(POLL_S, weakly(self._poll))

    def flush(self, *, poll: bool = False) -> None:
        core, store = self._core, self._core.store
        if store is not None:
            drive(self.flushing(poll=poll), store, core.name, core.clock.stamp_us)

    def flushing(self, *, poll: bool = False) -> Steps[None]:
        for step, answer in self._errands(look=poll):
            sent = self._core.next_sent()
            try:
                reply = yield step
            except StorageError as error:
                answer(error, sent)
            else:
                answer(reply, sent)

    def errands(self, *, poll: bool) -> list[tuple[Step, Answer]]:
        """For the reporter. Under a test's clock it only looks: the rest is told when the test moves the time."""
        tell = self._pressing or not self._core.clock.stamp_us()
        self._pressing = False
        return self._errands(look=poll, tell=tell)

    def _errands(self, *, look: bool, tell: bool = True) -> list[tuple[Step, Answer]]:
        """What there is to tell and to ask, each with what takes the answer."""
        core = self._core
        batch = self._take() if tell else None
        if core.now() < core.blind_until:
            # What was measured meanwhile is our own layer's, which has just been told.
            core.announce()
            return []
        with core.lock:
            owed, self._owed = [debt for debt in self._owed if debt.until > core.now()], []
        errands: list[tuple[Step, Answer]] = [
            (("breaker_report", debt.args), functools.partial(self._owed_answered, debt)) for debt in owed
        ]
        if batch is not None:
            errands.append((("breaker_report", batch), self._answered))
        elif look or self._look_wanted:
            errands.append((("breaker_peek", (core.rules.window_us,)), self._answered))
        self._look_wanted = False
        return errands

    def _take(self) -> Args | None:
        """The next report of gathered calls, told to our own layer as well."""
        core = self._core
        # First this, then the counting: a call that found it still set was counted before.
        self.dirty = False
        if core.solo is None:
            return None
        with core.lock:
            core.tell_solo(pressing=True)
            counts = core.counts
            batch = counts.shared.take(counts.oks)
        if batch is None:
            return None
        core.used = True
        metering.sent(core.name, batch)
        return core.report(core.rules, "", counts.epoch, batch)

    def _answered(self, reply: Reply | StorageError, sent: int) -> None:
        if isinstance(reply, StorageError):
            self._core.lost(reply)
        else:
            self._core.told(reply, sent)

    def _owed_answered(self, debt: Owed, reply: Reply | StorageError, sent: int) -> None:
        if isinstance(reply, StorageError):
            with self._core.lock:
                self._owed.append(debt)
        self._answered(reply, sent)
