"""Warm-up: a process that starts cold fills its caches in the background, component by component; none holds up another.

Ready is a realm with head and role table; that its caches are full is not waited for. A component that fails is counted, named
with its error, and stops no other. Source: consistency, section 9.
"""

from __future__ import annotations

import logging
import os
import secrets
import socket
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final, Literal

from django.db import connections

from permissions.cache.warmup_parts import COMPONENTS, Component, Warming
from permissions.errors import Conflict, NotFound
from permissions.models import Realm
from resilience import telemetry

__all__ = ["COMPONENTS", "RATE", "AlreadyWarming", "Cancelled", "Progress", "Step", "cancel", "last", "run", "start"]

log = logging.getLogger("permissions.cache")

# Subjects and resources a second. Chosen: a start fills 2,000 subjects in a second and costs the database 40 small statements.
RATE: Final = 2_000
MOST_RATE: Final = 1_000_000
_STOP_WAIT_S: Final = 2.0

StepState = Literal["waiting", "running", "done", "failed", "cancelled"]
State = Literal["running", "done", "failed", "cancelled"]


class AlreadyWarming(Conflict):
    """This process is warming something else."""


class Cancelled(Exception):
    """Ends a component from within; never leaves this module."""


@dataclass(slots=True)
class Step:
    """One component of one realm. `done` and `total`: ids, role sets or pairs; both 0 where there was nothing to load."""

    realm: str
    component: str
    state: StepState = "waiting"
    done: int = 0
    total: int = 0
    error: str = ""

    @property
    def ratio(self) -> float:
        if self.state == "done":
            return 1.0
        return self.done / self.total if self.total else 0.0

    def as_values(self) -> dict[str, Any]:
        names = ("realm", "component", "state", "done", "total", "error")
        return {name: getattr(self, name) for name in names}


Report = Callable[[Step], None]


class Progress:
    """One warm-up of this process. `realm`: None for all. `error`: what kept it from beginning."""

    def __init__(self, realm: str | None, rate: float = RATE) -> None:
        self.id = secrets.token_hex(8)
        self.realm = realm
        self.rate = rate
        self.process = f"{socket.gethostname()}:{os.getpid()}"
        self.steps: list[Step] = []
        self.error = ""
        self.started_s = time.time()
        self.ended_s: float | None = None
        self._cancelled = threading.Event()
        self._ended = threading.Event()

    def cancel(self) -> None:
        """Ends it within one part of a component. What is filled stays."""
        self._cancelled.set()

    def wait(self, timeout_s: float | None = None) -> bool:
        """Until it has ended; False if it has not by then."""
        return self._ended.wait(timeout_s)

    @property
    def is_ready(self) -> bool:
        """Head and role table of every realm are there."""
        tables = [step for step in self.steps if step.component == "table"]
        return bool(tables) and all(step.state == "done" for step in tables)

    @property
    def state(self) -> State:
        if not self._ended.is_set():
            return "running"
        states = {step.state for step in self.steps}
        if self.error or "failed" in states:
            return "failed"
        return "done" if states <= {"done"} else "cancelled"

    @property
    def ratio(self) -> float:
        return sum(step.ratio for step in self.steps) / len(self.steps) if self.steps else 0.0

    def as_values(self) -> dict[str, Any]:
        return {
            "job": self.id,
            "process": self.process,
            "realm": self.realm,
            "state": self.state,
            "ready": self.is_ready,
            "ratio": round(self.ratio, 3),
            "seconds": round((self.ended_s or time.time()) - self.started_s, 3),
            "error": self.error,
            "components": [step.as_values() for step in self.steps],
        }


def start(realm: str | None = None, *, rate: float = RATE) -> Progress:
    """In a thread of its own; the one that runs already, if it warms the same. Raises AlreadyWarming, and ValueError for a rate
    that is none. What goes wrong afterwards is in the progress."""
    global _last  # noqa: PLW0603 - one a process
    rate = _checked_rate(rate)
    with _guard:
        running = _last
        if running is not None and running.state == "running":
            return _same(running, realm)
        progress = _last = Progress(realm, rate)
        thread = threading.Thread(target=_in_thread, args=(progress,), name="permissions-warmup", daemon=True)
        try:
            thread.start()
        except RuntimeError as error:
            # The machine has no more threads. A job that nobody works at must not look as if it ran for ever.
            progress.error = _text(error)
            _end(progress)
    return progress


def run(realm: str | None = None, *, report: Report | None = None, rate: float = RATE) -> Progress:
    """The same in the caller's thread; `report` is called with each step that got further."""
    progress = Progress(realm, _checked_rate(rate))
    _work(progress, report or (lambda step: None))
    return progress


def last() -> Progress | None:
    """Of this process: what runs, or ran last in the background."""
    return _last


def cancel(*, wait_s: float = _STOP_WAIT_S) -> None:
    """Ends what runs in the background, for a server that stops."""
    running = _last
    if running is not None:
        running.cancel()
        running.wait(wait_s)


def _same(running: Progress, realm: str | None) -> Progress:
    if running.realm == realm:
        return running
    of = "every realm" if running.realm is None else f"the realm {running.realm}"
    raise AlreadyWarming(f"this process is warming {of} (job {running.id})")


def _in_thread(progress: Progress) -> None:
    try:
        _work(progress, lambda step: None)
    finally:
        connections.close_all()


def _work(progress: Progress, report: Report) -> None:
    try:
        realms = _realms(progress)
        progress.steps = [Step(name, component) for name, _ in realms for component in COMPONENTS]
        _tell(progress.steps)
        pace = _Pace(progress)
        warmings = {name: Warming(name, pk, _nothing, pace.take) for name, pk in realms}
        # The tables of all realms first: with them every realm is ready.
        for step in sorted(progress.steps, key=lambda step: step.component != "table"):
            _run_step(progress, step, warmings[step.realm], report)
    finally:
        _end(progress)


def _realms(progress: Progress) -> list[tuple[str, int]]:
    """Names and numbers. None, with the progress's `error` set, where the database does not say or there is no such realm."""
    try:
        rows = Realm.objects.order_by("name")
        if progress.realm is None:
            return list(rows.values_list("name", "pk"))
        found = list(rows.filter(name=progress.realm).values_list("name", "pk"))
        if not found:
            raise NotFound(f"there is no realm {progress.realm!r}")
    except Exception as error:  # noqa: BLE001 - a cold cache is served cold, whatever it is
        progress.error = _text(error)
        log.warning("nothing is warmed: %s", progress.error)
        return []
    return found


def _run_step(progress: Progress, step: Step, warming: Warming, report: Report) -> None:
    def advance(done: int, total: int) -> None:
        step.done, step.total = done, total
        _tell(progress.steps)
        report(step)
        if progress._cancelled.is_set():
            raise Cancelled

    if progress._cancelled.is_set():
        step.state = "cancelled"
        return
    warming.advance = advance
    component: Component = COMPONENTS[step.component]
    step.state = "running"
    try:
        component(warming)
    except Cancelled:
        # One that got to its end before it saw the cancellation is done all the same.
        step.state = "done" if step.total and step.done >= step.total else "cancelled"
    except Exception as error:  # noqa: BLE001 - one that fails stops no other
        step.state, step.error = "failed", _text(error)
        telemetry.count("permission_cache_warmup_errors_total", step.component)
        log.warning("warming %s of realm %s failed: %s", step.component, step.realm, step.error)
    else:
        step.state = "done"
    _tell(progress.steps)
    report(step)


def _text(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"[:300]


def _nothing(done: int, total: int) -> None:
    pass


def _tell(steps: Iterable[Step]) -> None:
    """By component, the mean over the realms."""
    ratios: dict[str, list[float]] = {}
    for step in steps:
        ratios.setdefault(step.component, []).append(step.ratio)
    for component, found in ratios.items():
        telemetry.gauge("permission_cache_warmup_ratio", sum(found) / len(found), component)


def _end(progress: Progress) -> None:
    progress.ended_s = time.time()
    progress._ended.set()
    telemetry.emit(
        "cache.warmed",
        job=progress.id,
        realm=progress.realm,
        state=progress.state,
        seconds=round(progress.ended_s - progress.started_s, 3),
        failed=sorted({step.component for step in progress.steps if step.state == "failed"}),
    )


class _Pace:
    """Snapshots in parts, at the progress's rate. The first part is free: nobody is to wait before anything is done."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._next_s = time.monotonic()

    def take(self, number: int) -> None:
        """Waits. Raises Cancelled."""
        now = time.monotonic()
        wait_s = self._next_s - now
        if self._progress._cancelled.wait(max(0.0, wait_s)):
            raise Cancelled
        self._next_s = max(now, self._next_s) + number / self._progress.rate


def _checked_rate(rate: object) -> float:
    if isinstance(rate, bool) or not isinstance(rate, int | float) or not 1 <= rate <= MOST_RATE:
        raise ValueError(f"rate is {rate!r}; it takes subjects a second, from 1 to {MOST_RATE}")
    return float(rate)


_guard = threading.Lock()
_last: Progress | None = None


def _after_fork() -> None:
    """The thread that worked at it is the parent's."""
    global _guard, _last  # noqa: PLW0603
    _guard = threading.Lock()
    _last = None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
