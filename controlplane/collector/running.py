"""Two threads of every process: one writes its figures down each second, one looks at what all share where nobody else does.

The second may wait for a database or a Redis that hangs; the first never does, so that a scrape always finds figures.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Final

import psutil
from django.conf import settings
from django.db import DatabaseError, InterfaceError
from redis.exceptions import RedisError

from controlplane.collector import merging, slots
from controlplane.collector.histograms import histograms
from controlplane.collector.slots import Figures, Series, Slot
from controlplane.insight import database, host, process, store
from resilience import telemetry
from resilience.telemetry import Sample

log = logging.getLogger("controlplane.metrics")

EVERY_S: Final = 1.0
# Seconds between two looks at host, Redis and database: scrapes come every 15.
LOOK_S: Final = 5.0
# A process that has not written for so long stands still: the next slot looks instead of it.
SILENT_S: Final = 3.0
STOP_S: Final = 2.0
ERRORS: Final = "permsite_scrape_errors_total"


def folder() -> Path:
    """One a site and host: what runs with the same PERMSITE_VAR adds up."""
    return Path(settings.VAR) / "metrics"


def own() -> Figures:
    """What this process counts. Nothing here waits for another process."""
    found = Figures()
    for name, by_labels in telemetry.collect().items():
        metric = telemetry.METRICS.get(name)
        if metric is None or metric.kind == "histogram":
            continue
        held = found.counters if metric.kind == "counter" else found.gauges
        for labels, value in by_labels.items():
            held[name, labels] = value
    _add(found, "process", process.samples)
    _add(found, "database", database.pool_samples)
    found.gauges["permsite_build_info", process.version_labels(settings.VERSION)] = 1
    found.histograms = histograms()
    return found


def _add(found: Figures, source: str, samples: Callable[[], Iterable[Sample]]) -> None:
    try:
        for name, labels, value in list(samples()):
            (found.counters if name.endswith("_total") else found.gauges)[name, labels] = value
    except (psutil.Error, OSError):
        telemetry.count(ERRORS, source)


class Collector:
    """`start` and `stop` count: a server and its control loop may live in one process."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._begin_anew()

    def _begin_anew(self) -> None:
        self._lock = threading.Lock()
        self._users = 0
        self._stopping = threading.Event()
        self._threads: list[threading.Thread] = []
        self._slot: Slot | None = None
        self._looker = store.Looker()
        self._looked: Mapping[Series, float] = {}
        self._looked_s = 0.0
        self._may_not_write = False

    @property
    def is_running(self) -> bool:
        return self._users > 0

    def start(self, kind: str) -> None:
        """Without a folder it can write to, a process tells its own figures alone, and says so once."""
        with self._lock:
            self._users += 1
            if self._users > 1:
                return
            self._stopping = threading.Event()
            try:
                self._slot = Slot(folder(), kind, self._clock)
            except OSError as error:
                self._cannot_write(error)
            self.write()
            self._threads = [
                threading.Thread(target=self._run, args=(work, every_s, self._stopping), name=name, daemon=True)
                for name, work, every_s in (("metrics", self.write, EVERY_S), ("metrics-look", self.look, LOOK_S))
            ]
            for thread in self._threads:
                thread.start()

    def stop(self) -> None:
        with self._lock:
            self._users = max(0, self._users - 1)
            if self._users:
                return
            self._stopping.set()
            for thread in self._threads:
                thread.join(STOP_S)  # a daemon: a look that hangs must not keep the process from ending
            self._threads = []
            self.write()
            slot, self._slot = self._slot, None
        if slot is not None:
            slot.close()

    def _run(self, work: Callable[[], None], every_s: float, stopping: threading.Event) -> None:
        while True:
            try:
                work()
            except Exception as error:  # noqa: BLE001 - a dead thread would leave figures that never change, and tell nobody
                telemetry.internal_error("metrics", threading.current_thread().name, error)
            if stopping.wait(every_s):
                return

    def write(self) -> None:
        slot = self._slot
        if slot is None:
            return
        try:
            slot.write(own(), self._looked, self._looked_s)
        except OSError as error:
            self._cannot_write(error)
        else:
            self._may_not_write = False

    def _cannot_write(self, error: OSError) -> None:
        telemetry.count(ERRORS, "slots")
        if not self._may_not_write:
            log.error("figures cannot be written to %s (%s): others do not see this process's", folder(), type(error).__name__)
        self._may_not_write = True

    def look(self) -> None:
        """At what all processes of the host share, unless one with a lower slot does."""
        if self._slot is not None and self._is_looked_for(self._slot.number):
            self._looked = {}
            return
        found = look_around(self._looker)
        self._looked, self._looked_s = found, self._clock()

    def _is_looked_for(self, number: int) -> bool:
        now_s = self._clock()
        with contextlib.suppress(OSError):
            return any(
                each.is_held and each.slot < number and now_s - each.page.written_s < SILENT_S for each in slots.read(folder())
            )
        return False

    def gather(self) -> Figures:
        """Of all processes of this host, this one as of now. Raises OSError."""
        self.write()
        reads = slots.read(folder()) if self._slot is not None else []
        found = merging.merged(reads, self._clock())
        if self._slot is None or self._may_not_write:
            return self._alone()
        return found

    def _alone(self) -> Figures:
        """This process's own, where there are no files: a folder that cannot be written, or a server without lifespan."""
        figures = own()
        page = slots.Page(
            version=slots.VERSION,
            kind="server",
            pid=os.getpid(),
            written_s=self._clock(),
            counters=[(*series, value) for series, value in figures.counters.items()],
            gauges=[(*series, value) for series, value in figures.gauges.items()],
            histograms=[slots.Histogram(*series, *value) for series, value in figures.histograms.items()],
            looked=[(*series, value) for series, value in self._looked.items()],
            looked_s=self._looked_s,
        )
        number = 0 if self._slot is None else self._slot.number
        return merging.merged([slots.Read(number, page, is_held=True)], self._clock())

    def forget(self) -> None:
        """In a forked child: threads, slot and connections are the parent's."""
        slot = self._slot
        self._begin_anew()
        if slot is not None:
            slot.forget()


def look_around(looker: store.Looker) -> dict[Series, float]:
    """Each for itself: one that does not answer hides no other."""
    found: dict[Series, float] = {}

    def take(samples: Iterable[Sample]) -> None:
        for name, labels, value in samples:
            found[name, labels] = value

    try:
        take(host.samples(host.look()))
    except (psutil.Error, OSError):
        telemetry.count(ERRORS, "host")
    try:
        told = looker.look()
        if told is not None:
            take(store.samples(told))
    except (RedisError, ValueError, OSError):
        telemetry.count(ERRORS, "redis")
        found["permsite_redis_up", ()] = 0
    try:
        take(database.samples(database.look()))
    except (DatabaseError, InterfaceError):
        telemetry.count(ERRORS, "database")
        found["permsite_database_up", ()] = 0
    return found


COLLECTOR: Final = Collector()
os.register_at_fork(after_in_child=COLLECTOR.forget)


def wipe() -> None:
    """For whoever starts the processes of this site: what was counted before its start is not its own."""
    with contextlib.suppress(OSError):  # told by start(), which needs the folder too
        slots.wipe(folder())


@contextlib.contextmanager
def beside(kind: str = "loop") -> Iterator[None]:
    """Figures of this process while the block runs."""
    COLLECTOR.start(kind)
    try:
        yield
    finally:
        COLLECTOR.stop()


@contextlib.contextmanager
def beside_jobs() -> Iterator[None]:
    """The same, named for a process that makes background jobs."""
    with beside("jobs"):
        yield
