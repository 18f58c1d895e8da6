"""Smart invalidation: each event applied at once while they are few, gathered into one look at the changelog when they flood.

It delays hints alone: the poll that keeps the bound, and a question with a token, never wait for it.
Source: consistency, section 9.
"""

from __future__ import annotations

import logging
import os
import threading
import weakref
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final, Literal

from permissions.cache.events import Event
from permissions.engine.reasons import Unavailable
from permissions.errors import NotFound
from resilience import telemetry
from resilience.clock import SYSTEM, Clock

log = logging.getLogger("permissions.cache")

Mode = Literal["aggressive", "conservative"]
_FORCED: Final[dict[str, Mode]] = {"aggressive": "aggressive", "conservative": "conservative"}

# `auto`: beyond either of these conservative, at half of both aggressive again. Events, and events in a second.
MANY_QUEUED: Final = 16
MANY_A_SECOND: Final = 50
# `conservative`: one pull for all that came in so many seconds, or named so many ids.
GATHER_S: Final = 0.1
GATHER_IDS: Final = 512
# Events kept one by one, where an operator forces `aggressive`; more become one pull of their realm.
MAX_QUEUED: Final = 4_096


@dataclass(frozen=True, slots=True)
class Status:
    """What the coalescer does now (`mode`, `queued`, `rate`), and has done since its start.

    `rate`: events in the last second. `coalesced`: events that a pull stood for without being looked at one by one.
    """

    setting: str
    mode: Mode
    queued: int
    rate: float
    received: int
    applied: int
    pulls: int
    coalesced: int


class Rate:
    """Events in the last second, from two counts of whole seconds."""

    def __init__(self) -> None:
        self._second = 0
        self._now = 0
        self._before = 0

    def add(self, at_s: float) -> None:
        self._turn(at_s)
        self._now += 1

    def of(self, at_s: float) -> float:
        self._turn(at_s)
        return self._now + self._before * (1.0 - (at_s - self._second))

    def _turn(self, at_s: float) -> None:
        second = int(at_s)
        if second != self._second:
            self._before = self._now if second == self._second + 1 else 0
            self._second, self._now = second, 0


class Coalescer:
    """`apply(event)`: False where the event does not follow what is known; then, and for what is gathered, `pull(realm's name)`.

    Both are called in its thread, once it is started; `step` does the same for whoever has no thread. `rest()`: the thread has
    looked something up, and nothing more is waiting.
    """

    def __init__(
        self,
        apply: Callable[[Event], bool],
        pull: Callable[[str], object],
        *,
        setting: Callable[[], str],
        clock: Clock = SYSTEM,
        rest: Callable[[], object] = lambda: None,
    ) -> None:
        self._apply = apply
        self._pull = pull
        self._setting = setting
        self._clock = clock
        self._rest = rest
        self._start_anew()
        _coalescers.add(self)

    def _start_anew(self) -> None:
        self._woken = threading.Condition(threading.Lock())
        self._thread: threading.Thread | None = None
        self._mode: Mode = "aggressive"
        self._queue: deque[Event] = deque()
        self._gathered: dict[str, int] = {}  # realm's name -> events that its pull will stand for
        self._ids = 0
        self._due_s = 0.0  # of what is gathered
        self._asked: dict[str, None] = {}  # realms to pull at once
        self._rate = Rate()
        self._received = self._applied = self._pulls = self._coalesced = 0

    # From any thread.

    def put(self, event: Event) -> None:
        now_s = self._clock.monotonic()
        with self._woken:
            self._received += 1
            self._settle(now_s)  # after a calm the first event is to find the mode of now, not that of the last flood
            self._rate.add(now_s)
            if self._mode == "conservative":
                self._gather(event, now_s)
            elif len(self._queue) >= MAX_QUEUED:
                self._asked[event.name] = None
                self._coalesced += 1
            else:
                self._queue.append(event)
            self._settle(now_s)
            self._woken.notify_all()

    def ask(self, names: Iterable[str]) -> None:
        """Pulls these realms as soon as may be: something may have been missed."""
        with self._woken:
            self._asked.update(dict.fromkeys(names))
            self._woken.notify_all()

    def status(self) -> Status:
        now_s = self._clock.monotonic()
        with self._woken:
            self._settle(now_s)
            return Status(
                self._setting(),
                self._mode,
                self._queued,
                round(self._rate.of(now_s), 1),
                self._received,
                self._applied,
                self._pulls,
                self._coalesced,
            )

    # The caller holds the lock.

    @property
    def _queued(self) -> int:
        return len(self._queue) + sum(self._gathered.values())

    def _gather(self, event: Event, now_s: float) -> None:
        if not self._gathered:
            self._due_s = now_s + GATHER_S
        self._gathered[event.name] = self._gathered.get(event.name, 0) + 1
        self._ids += len(event.objects or ()) or 1
        if self._ids >= GATHER_IDS:
            self._due_s = now_s

    def _settle(self, now_s: float) -> None:
        wanted = self._wanted(now_s)
        if wanted == self._mode:
            return
        self._mode = wanted
        if wanted == "conservative":
            while self._queue:
                self._gather(self._queue.popleft(), now_s)
        else:
            self._due_s = now_s  # what was gathered waits no longer

    def _wanted(self, now_s: float) -> Mode:
        forced = _FORCED.get(self._setting())
        if forced is not None:
            return forced
        share = 1.0 if self._mode == "aggressive" else 0.5
        is_calm = self._queued <= MANY_QUEUED * share and self._rate.of(now_s) <= MANY_A_SECOND * share
        return "aggressive" if is_calm else "conservative"

    # The thread.

    def step(self) -> float | None:
        """Does one thing that is due. Seconds until the next; None while nothing is waiting."""
        now_s = self._clock.monotonic()
        with self._woken:
            self._settle(now_s)
            name, event = self._next(now_s)
        if event is not None:
            self._take(event)
        elif name is not None:
            self._look(name)
        with self._woken:
            return self._until_due()

    def _until_due(self) -> float | None:
        if self._asked or self._queue:
            return 0.0
        return max(0.0, self._due_s - self._clock.monotonic()) if self._gathered else None

    def _next(self, now_s: float) -> tuple[str | None, Event | None]:
        """A realm to pull, or else an event to apply; both gone from what waits. A pull stands for all that was there before."""
        name: str | None = None
        if self._asked:
            name = next(iter(self._asked))
        elif self._gathered and now_s >= self._due_s:
            name = next(iter(self._gathered))
        if name is None:
            return None, self._queue.popleft() if self._queue else None
        self._forget(name)
        return name, None

    def _forget(self, name: str) -> None:
        self._asked.pop(name, None)
        count = self._gathered.pop(name, 0)
        left = deque(event for event in self._queue if event.name != name)
        count += len(self._queue) - len(left)
        self._queue = left
        self._coalesced += count
        if not self._gathered:
            self._ids = 0
        if count:
            telemetry.count("permission_cache_events_total", "gathered", by=count)

    def _take(self, event: Event) -> None:
        try:
            follows = self._apply(event)
        except Exception as error:  # noqa: BLE001 - a hint that could not be taken; the poll finds what it said
            telemetry.internal_error("permission_events", "apply", error)
            follows = False
        if follows:
            self._applied += 1
            telemetry.count("permission_cache_events_total", "applied")
        else:
            telemetry.count("permission_cache_events_total", "pulled")
            with self._woken:
                self._forget(event.name)
            self._look(event.name)

    def _look(self, name: str) -> None:
        try:
            self._pull(name)
        except (NotFound, Unavailable) as error:
            log.info("news of realm %s could not be looked up: %s", name, error)  # whoever needs an answer is told
        except Exception as error:  # noqa: BLE001 - as above
            telemetry.internal_error("permission_events", "pull", error)
        self._pulls += 1

    def start(self) -> None:
        with self._woken:
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="permission-events-in", daemon=True)
                self._thread.start()

    def stop(self) -> None:
        with self._woken:
            thread, self._thread = self._thread, None
            self._woken.notify_all()
        if thread is not None and thread is not threading.current_thread():
            thread.join(timeout=2)

    def _run(self) -> None:
        me = threading.current_thread()
        rested = 0
        while self._thread is me:
            if self.step() is None and self._pulls != rested:
                rested = self._pulls
                self._rest()
            with self._woken:
                wait_s = self._until_due()
                if self._thread is me and wait_s != 0.0:
                    self._woken.wait(wait_s)


_coalescers: Final[weakref.WeakSet[Coalescer]] = weakref.WeakSet()


def _after_fork() -> None:
    """The child has none of the parent's threads, and may find its lock held for ever."""
    for coalescer in list(_coalescers):
        coalescer._start_anew()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
