"""What happened and how often: events to whoever listens, metrics as plain integers, both from closed tables.

News travels upward only this way: the package emits and knows no listener. Emitting and counting never raise, never block and
never wait for a listener's queue; what is lost is counted.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import time
from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

log = logging.getLogger("resilience")

# Every event, and what it says. A new one is a row here and a line in its page.
EVENTS: Final[dict[str, str]] = {
    "circuit_breaker.opened": "a breaker opened: the calls it guards fail too often",
    "circuit_breaker.half_opened": "an open breaker lets probes through",
    "circuit_breaker.closed": "a breaker closed again",
    "circuit_breaker.solo": "this process opened a breaker for itself alone: too few others see the failures",
    "circuit_breaker.forced": "a person forced a breaker open or closed",
    "circuit_breaker.auto": "a forced breaker follows its measurements again",
    "rate_limiter.refused": "calls refused by a limit in the last second",
    "rate_limiter.reset": "a key's limit was reset",
    "rate_limiter.override": "a key was given a limit of its own until a time",
    "bulkhead.full": "a bulkhead refused a call",
    "bulkhead.lease_lost": "a permit had run out before its call ended",
    "lock.lost": "a lock ran out or was taken while held",
    "fallback.used": "a fallback answered instead of the call",
    "storage.down": "a store cannot be reached: memory answers, as each strategy's policy says",
    "storage.up": "a store answers again",
    "config.applied": "this process runs a new version of the live configuration",
    "config.rejected": "a version of the live configuration was refused; the old one goes on",
    "maintenance.on": "maintenance began",
    "maintenance.off": "maintenance ended",
}

Kind = Literal["counter", "gauge", "histogram"]


@dataclass(frozen=True, slots=True)
class Metric:
    """A figure: its labels come from closed sets, never from a caller's key. `buckets`: upper bounds of a histogram, rising."""

    name: str
    kind: Kind
    labels: tuple[str, ...]
    help: str
    buckets: tuple[float, ...] = ()


# Every metric. A new one is a row here and a line in its page.
METRICS: Final[dict[str, Metric]] = {
    metric.name: metric
    for metric in (
        Metric("resilience_circuit_breaker_state", "gauge", ("name",), "0 closed, 1 half-open, 2 open"),
        Metric("resilience_circuit_breaker_forced", "gauge", ("name",), "1 while a person holds it open or closed"),
        Metric("resilience_circuit_breaker_calls_total", "counter", ("name", "outcome"), "calls by outcome"),
        Metric("resilience_circuit_breaker_transitions_total", "counter", ("name", "to"), "changes of state"),
        Metric("resilience_rate_limiter_decisions_total", "counter", ("rule", "result", "source"), "decisions by result"),
        Metric("resilience_bulkhead_in_flight", "gauge", ("name",), "permits this process holds"),
        Metric("resilience_bulkhead_refused_total", "counter", ("name",), "calls refused"),
        Metric("resilience_lock_lost_total", "counter", ("name",), "locks lost while held"),
        Metric("resilience_fallback_total", "counter", ("name", "result"), "fallbacks by result"),
        Metric("resilience_retry_total", "counter", ("name", "result"), "retries by result"),
        Metric("resilience_timeout_total", "counter", ("name",), "calls whose time was over"),
        Metric("resilience_storage_up", "gauge", ("store",), "1 while the store answers"),
        Metric("resilience_storage_errors_total", "counter", ("class",), "errors of stores by class"),
        Metric("resilience_storage_evicted_total", "counter", (), "keys the memory store dropped before they had run out"),
        Metric("resilience_config_version", "gauge", (), "version of the live configuration in this process"),
        Metric("resilience_maintenance_mode", "gauge", (), "0 off, 1 read-only, 2 full"),
        Metric("resilience_events_dropped_total", "counter", (), "events a full queue pushed out"),
        Metric("resilience_internal_errors_total", "counter", ("component", "stage"), "own faults that were kept from callers"),
        Metric("resilience_bus_lost_total", "counter", (), "times the bus lost the node it listened to"),
        Metric("resilience_cache_errors_total", "counter", (), "calls of Django's cache that its server did not answer"),
        Metric("resilience_blocking_calls_total", "counter", (), "blocking calls to Redis made on an event loop"),
    )
}

Labels = tuple[str, ...]
Sample = tuple[str, Labels, float]


def declare(events: Mapping[str, str], metrics: Iterable[Metric]) -> None:
    """Rows of another package, once at its start. Raises ValueError for a name that is declared otherwise already."""
    for name, meaning in events.items():
        if EVENTS.setdefault(name, meaning) != meaning:
            raise ValueError(f"the event {name} is declared twice")
    for metric in metrics:
        if METRICS.setdefault(metric.name, metric) != metric:
            raise ValueError(f"the metric {metric.name} is declared twice")


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened. `at_us`: wall time, microseconds since 1970."""

    name: str
    at_us: int
    attributes: Mapping[str, Any]


# Measured each by each until the next refill, which comes five times a second: at 200 a second and fewer nothing is estimated.
EACH: Final = 40
EIGHT: Final = 8


class Cell:
    """A histogram that one thread alone adds to, without a lock. `counts`: by bucket, the last one beyond every bound.

    For a path where reading the clock is dear: it counts `wait` down, and calls `sample` when that is 0. All are measured while
    there is something `left`, then one in EIGHT, which stands for those before it too. `refill()` gives back what is left.
    """

    __slots__ = ("bounds", "counts", "left", "lot", "total", "wait")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0
        self.left, self.lot, self.wait = EACH, 1, 0

    def add(self, value: float) -> None:
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value

    def sample(self, value: float) -> None:
        self.counts[bisect_left(self.bounds, value)] += self.lot
        self.total += value * self.lot
        if self.left:
            self.left, self.lot, self.wait = self.left - 1, 1, 0
        else:
            self.lot, self.wait = EIGHT, EIGHT - 1


@dataclass(frozen=True, slots=True)
class Distribution:
    """A histogram as it is now: how many in each bucket (not summed up), the last one beyond every bound, and their sum."""

    bounds: tuple[float, ...]
    counts: tuple[int, ...]
    total: float


Callback = Callable[[Event], object]

# Taken again by its holder: what is allocated under it may run a garbage collection, and that a finalizer which counts.
_lock = threading.RLock()
_callbacks: tuple[tuple[str, Callback], ...] = ()
_values: dict[tuple[str, Labels], float] = {}
_sources: tuple[Callable[[], Iterable[Sample]], ...] = ()
_cells: dict[tuple[str, Labels], list[Cell]] = {}
_shared_cells: dict[tuple[str, Labels], Cell] = {}


def emit(name: str, /, **attributes: Any) -> None:
    """Tells every listener; one that fails is counted and hinders nobody. A name outside the table is our bug."""
    if name not in EVENTS:
        internal_error("telemetry", "event", KeyError(name))
        return
    event = Event(name, time.time_ns() // 1000, attributes)
    for prefix, callback in _callbacks:
        if name.startswith(prefix):
            try:
                callback(event)
            except Exception as error:  # noqa: BLE001 - a listener's fault must not become the emitter's
                internal_error("telemetry", "listener", error)


def subscribe(callback: Callback, prefix: str = "") -> Callable[[], None]:
    """Calls `callback(event)` in the emitting thread for names that begin with `prefix`; it must be quick. Returns a way out."""
    global _callbacks  # noqa: PLW0603 - one tuple swapped as a whole, so that emit() needs no lock
    entry = (prefix, callback)
    with _lock:
        _callbacks = (*_callbacks, entry)

    def unsubscribe() -> None:
        global _callbacks  # noqa: PLW0603
        with _lock:
            _callbacks = tuple(other for other in _callbacks if other is not entry)

    return unsubscribe


class Queue:
    """A bounded mailbox for a listener that works elsewhere: full, it drops the oldest event and counts it."""

    def __init__(self, size: int = 1_000, prefix: str = "") -> None:
        self._events: deque[Event] = deque()
        self._size = size
        self.dropped = 0
        self.close = subscribe(self._put, prefix)

    def _put(self, event: Event) -> None:
        if len(self._events) >= self._size:
            self._events.popleft()
            self.dropped += 1
            count("resilience_events_dropped_total")
        self._events.append(event)

    def drain(self) -> list[Event]:
        """Everything since the last time, oldest first."""
        taken = []
        while self._events:
            taken.append(self._events.popleft())
        return taken


def count(name: str, *labels: str, by: float = 1) -> None:
    """Adds to a counter of the table."""
    key = (name, labels)
    # Reading, adding and storing are three steps: without the lock two threads lose one of two counts.
    with _lock:
        _values[key] = _values.get(key, 0) + by


def gauge(name: str, value: float, *labels: str) -> None:
    """Sets a gauge of the table."""
    with _lock:
        _values[name, labels] = value


def cell(name: str, *labels: str) -> Cell:
    """A histogram of the table for one thread of a hot path, which adds to it itself; distributions() sums them up."""
    made = Cell(METRICS[name].buckets)
    with _lock:
        _cells.setdefault((name, labels), []).append(made)
    return made


def refill() -> None:
    """Five times a second, by whoever tells of this process."""
    with _lock:
        held = [one for cells in _cells.values() for one in cells]
    for one in held:
        one.left = EACH


def observe(name: str, value: float, *labels: str) -> None:
    """Adds to a histogram of the table."""
    key = (name, labels)
    with _lock:
        shared = _shared_cells.get(key)
        if shared is None:
            shared = _shared_cells[key] = cell(name, *labels)
        shared.add(value)


def distributions() -> dict[str, dict[Labels, Distribution]]:
    """Every histogram of the table by labels."""
    found: dict[str, dict[Labels, Distribution]] = {name: {} for name, metric in METRICS.items() if metric.kind == "histogram"}
    with _lock:
        cells = {key: list(held) for key, held in _cells.items()}
    for (name, labels), held in cells.items():
        counts = tuple(map(sum, zip(*(list(one.counts) for one in held), strict=True)))
        found.setdefault(name, {})[labels] = Distribution(held[0].bounds, counts, sum(one.total for one in held))
    return found


def add_source(source: Callable[[], Iterable[Sample]]) -> Callable[[], None]:
    """For holders of their own integers, as hot paths are: `source()` is read at each collect(). Returns a way out."""
    global _sources  # noqa: PLW0603
    with _lock:
        _sources = (*_sources, source)

    def remove() -> None:
        global _sources  # noqa: PLW0603
        with _lock:
            _sources = tuple(other for other in _sources if other is not source)

    return remove


def collect() -> dict[str, dict[Labels, float]]:
    """Every counter and gauge of the table with its values by labels; several sources of one sample add up."""
    collected: dict[str, dict[Labels, float]] = {name: {} for name, metric in METRICS.items() if metric.kind != "histogram"}
    with _lock:
        # Copied in one step: a finalizer that counts in the middle of a loop would change what is looped over.
        held = _values.copy()
    samples: list[Sample] = [(name, labels, value) for (name, labels), value in held.items()]
    for source in _sources:
        try:
            samples.extend(source())
        except Exception as error:  # noqa: BLE001 - one source's fault must not hide all figures
            internal_error("telemetry", "source", error)
    for name, labels, value in samples:
        values = collected.setdefault(name, {})
        values[labels] = values.get(labels, 0) + value
    return collected


def internal_error(component: str, stage: str, error: BaseException) -> None:
    """A fault of our own that a caller must not see: counted and logged, never raised."""
    count("resilience_internal_errors_total", component, stage)
    with contextlib.suppress(Exception):  # a handler that fails, or an exception that cannot be printed: it is counted already
        log.error("%s failed at %s: %s", component, stage, type(error).__name__, exc_info=error)


def reset() -> None:
    """Forgets every count and listener, for tests. Sources stay: what they tell is their holders' own."""
    global _callbacks  # noqa: PLW0603
    with _lock:
        _values.clear()
        _callbacks = ()
        for one in (one for held in _cells.values() for one in held):
            one.counts[:], one.total = [0] * len(one.counts), 0.0


def _after_fork() -> None:
    """The thread that held the lock while the process forked does not exist in the child."""
    global _lock  # noqa: PLW0603
    _lock = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
