"""The reporter: one thread a process tells the stores what its breakers gathered, listens for transitions, and looks every 2 s.

What is due at one time goes in one pipeline. Whether a quorum of reporters agrees is the law's business.
"""

from __future__ import annotations

import json
import math
import threading
import time
import weakref
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Final

from resilience import telemetry
from resilience.errors import StorageError
from resilience.storage.base import Storage

if TYPE_CHECKING:
    from resilience.circuit_breaker.core import Core

POLL_S: Final = 2.0
REST_S: Final = 5.0  # a thread with nothing to do for so long ends
MOST_CALLS: Final = 500  # in one pipeline: more would not fit the time-out (chosen)


class Reporter:
    """Its thread begins when it is first needed, and does not outlive the need."""

    def __init__(self) -> None:
        self._ways_out: list[Callable[[], object]] = []
        self._stale: list[Callable[[], object]] = []
        self.start_anew()

    def start_anew(self) -> None:
        """At first, and in a forked child, which has neither the thread nor whoever held the lock."""
        self._changed = threading.Condition()
        self._due: dict[Core, float] = {}
        self._polled: weakref.WeakSet[Core] = weakref.WeakSet()
        self._next_poll = math.inf
        self._thread: threading.Thread | None = None
        # The child's bus hears nothing until somebody subscribes; the parent's subscriptions go then, not here, since a lock of
        # the bus may still be the parent's.
        self._stale, self._ways_out = [*self._stale, *self._ways_out], []
        self._ears: weakref.WeakKeyDictionary[Storage, weakref.WeakSet[Core]] = weakref.WeakKeyDictionary()

    def wake(self, core: Core, delay_s: float) -> None:
        """Has the thread come for this breaker after `delay_s`."""
        at = time.monotonic() + delay_s
        with self._changed:
            held = self._due.get(core)
            if held is None or at < held:
                self._due[core] = at
                self._start_locked()

    def poll(self, core: Core) -> None:
        """Looks after this breaker every two seconds, while it is used."""
        with self._changed:
            if core not in self._polled:
                self._polled.add(core)
                self._next_poll = min(self._next_poll, time.monotonic() + POLL_S)
                self._start_locked()

    def listen(self, core: Core, store: Storage) -> None:
        """Hears of transitions of this breaker, through one subscription a store."""
        with self._changed:
            stale, self._stale = self._stale, []
            cores = self._ears.get(store)
            fresh = cores is None
            if cores is None:
                cores = self._ears[store] = weakref.WeakSet()
            cores.add(core)
        for way_out in stale:
            way_out()
        if fresh:
            self._subscribe(store, core.channel, cores)

    def _subscribe(self, store: Storage, channel: str, cores: weakref.WeakSet[Core]) -> None:
        self._ways_out += [
            store.bus.subscribe(channel, lambda message: self._heard(cores, message)),
            store.bus.on_reconnect(lambda: self._look(cores)),
        ]

    def _heard(self, cores: weakref.WeakSet[Core], message: bytes) -> None:
        """Others use the channel as well: what is no news of a breaker is theirs."""
        try:
            news = json.loads(message)
        except ValueError:
            return
        if not isinstance(news, dict) or news.get("type") != "circuit_breaker":
            return
        name, to, epoch = news.get("name"), news.get("to"), news.get("epoch")
        # Our own transitions come back too; the reply has told them already.
        self._look(cores, lambda core: core.name == name and (core.view.epoch != epoch or to in ("forced", "auto")))

    def _look(self, cores: weakref.WeakSet[Core], which: Callable[[Core], bool] = lambda core: True) -> None:
        with self._changed:
            known = list(cores)
        for core in known:
            if which(core):
                core.outbox.look()

    def _start_locked(self) -> None:
        """The caller holds the lock."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="resilience-breakers", daemon=True)
            self._thread.start()
        else:
            self._changed.notify()

    def _run(self) -> None:
        while self._turn():
            pass

    def _turn(self) -> bool:
        """Waits for what is due and does it. False when nothing was to be done for so long that the thread ends."""
        with self._changed:
            rest_at = time.monotonic() + REST_S
            while True:
                now = time.monotonic()
                if not self._polled:
                    self._next_poll = math.inf
                next_at = min([*self._due.values(), self._next_poll])
                if next_at <= now:
                    break
                if next_at == math.inf and now >= rest_at:
                    self._thread = None
                    return False
                # A poll set may empty itself while we wait, so never longer than a rest.
                self._changed.wait(min(next_at, now + REST_S if next_at < math.inf else rest_at) - now)
            due = {core for core, at in self._due.items() if at <= now}
            for core in due:
                del self._due[core]
            polled: set[Core] = set()
            if now >= self._next_poll:
                polled = set(self._polled)
                self._next_poll = now + POLL_S
        try:
            self._tell(due, polled)
        except Exception as error:  # noqa: BLE001 - the loop outlives every fault
            telemetry.internal_error("circuit_breaker", "report", error)
        return True

    def _tell(self, due: set[Core], polled: set[Core]) -> None:
        for core in list(polled):
            if not core.outbox.still_used():
                polled.discard(core)
                with self._changed:
                    self._polled.discard(core)
        work: dict[tuple[int, int], tuple[Storage, list[Any]]] = {}
        for core in due | polled:
            store = core.store
            if store is None:
                continue
            stamp = core.clock.stamp_us()
            errands = work.setdefault((id(store), stamp), (store, []))[1]
            try:
                errands += [(core, *errand) for errand in core.outbox.errands(poll=core in polled)]
            except Exception as error:  # noqa: BLE001 - one breaker's fault must not silence the others
                telemetry.internal_error("circuit_breaker", "report", error)
        for (_, stamp), (store, errands) in work.items():
            for start in range(0, len(errands), MOST_CALLS):
                try:
                    _ask(store, stamp, errands[start : start + MOST_CALLS])
                except Exception as error:  # noqa: BLE001 - nor one store's
                    telemetry.internal_error("circuit_breaker", "report", error)


def _ask(store: Storage, stamp: int, errands: list[Any]) -> None:
    sent = [core.next_sent() for core, _, _ in errands]
    calls = [(op, core.name, args) for core, (op, args), _ in errands]
    replies: Iterable[Any]
    try:
        replies = store.attempt_many(calls, stamp)
    except StorageError as error:
        replies = [error] * len(calls)
    for (_, _, answer), reply, order in zip(errands, replies, sent, strict=True):
        try:
            answer(reply, order)
        except Exception as error:  # noqa: BLE001 - nor one answer the next
            telemetry.internal_error("circuit_breaker", "report", error)


REPORTER: Final = Reporter()
