"""The writer of the second cache layer: a bounded queue and one daemon thread, which also finds out when a lost store is back.

Nobody waits for it: a full queue drops what comes, a snapshot is encoded in the thread, and what was dropped is merely a miss.
"""

from __future__ import annotations

import random
import threading
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from permissions.cache.codec import Kind, Snapshot, encode
from permissions.cache.codec_model import encode_model
from permissions.cache.l2_link import Link
from permissions.engine.types import ModelFacts
from permissions.revisions import Head
from resilience import telemetry

# Its own, for a thread of ours must not move the sequence that a program has seeded for itself.
_draw = random.Random()  # noqa: S311 - it spreads a load, it guards nothing

# Snapshots waiting: some seconds of a busy process's fills (chosen). They are held by reference, so it is hardly any memory.
MAX_QUEUED: Final = 5_000
BATCH: Final = 200
# For memory alone, never for correctness. Drawn, so that what one warm-up wrote does not go all at once.
TTL_S: Final = 3_600.0
TTL_SPREAD: Final = 0.1


@dataclass(frozen=True, slots=True)
class Job:
    """`built_rev`: taken when it was given, for a snapshot in memory may be stamped anew while it waits."""

    head: Head
    kind: Kind
    snapshot: Snapshot
    built_rev: int
    stamp: int
    now_us: int


@dataclass(frozen=True, slots=True)
class ModelJob:
    head: Head
    facts: ModelFacts
    built_rev: int
    stamp: int


def ttl_ms(until_us: int | None, now_us: int) -> int:
    """At most an hour, more or less, and never past the moment at which the snapshot must be built again."""
    ttl = round(_draw.uniform(1 - TTL_SPREAD, 1 + TTL_SPREAD) * TTL_S * 1_000)
    return ttl if until_us is None else min(ttl, (until_us - now_us) // 1_000)


class Writer:
    """The thread starts with the first thing to do, and ends with `close()`."""

    def __init__(self, link: Link, *, max_queued: int = MAX_QUEUED) -> None:
        self._link = link
        self._max_queued = max_queued
        self.begin_anew()

    def begin_anew(self) -> None:
        """At first, and in a forked child, which has neither the thread nor a use for the parent's queue."""
        self._changed = threading.Condition()
        self._jobs: deque[Job] = deque()
        # A realm's role table is large: only its newest waits.
        self._models: dict[int, ModelJob] = {}
        self._thread: threading.Thread | None = None
        self._is_closed = False
        self._is_busy = False

    def offer(self, jobs: Sequence[Job]) -> None:
        with self._changed:
            room = 0 if self._is_closed or self._link.is_down else max(0, self._max_queued - len(self._jobs))
            self._jobs.extend(jobs[:room])
            self._wake()
        _counted("dropped", len(jobs) - min(room, len(jobs)))

    def offer_model(self, job: ModelJob) -> None:
        with self._changed:
            takes = not (self._is_closed or self._link.is_down)
            if takes:
                self._models[job.head.realm_id] = job
            self._wake()
        _counted("dropped", 0 if takes else 1)

    def store_lost(self) -> None:
        """What waits would be old news by the time anybody could take it. The thread looks for the store from now on."""
        with self._changed:
            lost = len(self._jobs) + len(self._models)
            self._jobs.clear()
            self._models.clear()
            self._wake()
        _counted("dropped", lost)

    def settle(self, timeout_s: float) -> bool:
        """Waits until everything given so far is stored or lost: for commands that end, and for tests."""
        with self._changed:
            return self._changed.wait_for(lambda: not (self._jobs or self._models or self._is_busy), timeout_s)

    def close(self) -> None:
        with self._changed:
            self._is_closed = True
            self._jobs.clear()
            self._models.clear()
            thread, self._thread = self._thread, None
            self._changed.notify_all()
        if thread is not None and thread is not threading.current_thread():
            thread.join(timeout=5)

    # The thread

    def _wake(self) -> None:
        """The caller holds the lock."""
        if self._thread is None and not self._is_closed:
            thread = threading.Thread(target=self._run, name="permission-cache-writer", daemon=True)
            try:
                thread.start()
            except RuntimeError as error:  # the interpreter is ending, or the machine has no more threads: asked again next time
                telemetry.internal_error("permission_cache", "writer", error)
                return
            self._thread = thread
        self._changed.notify_all()

    def _run(self) -> None:
        while True:
            with self._changed:
                self._is_busy = False
                self._changed.notify_all()
                while not self._is_closed and not self._is_due():
                    wait_s = self._link.retry_at_s - time.monotonic() if self._link.is_down else None
                    self._changed.wait(wait_s)
                if self._is_closed:
                    return
                self._is_busy = True
                jobs = [self._jobs.popleft() for _ in range(min(BATCH, len(self._jobs)))]
                models = [] if jobs else [self._models.popitem()[1] for _ in range(min(1, len(self._models)))]
            try:
                if self._link.is_down:
                    _counted("dropped", len(jobs) + len(models))
                    self._link.probe()
                else:
                    self._store([*map(_entry, jobs), *map(_entry, models)])
            except Exception as error:  # noqa: BLE001 - the thread outlives every fault: without it nothing is ever stored again
                telemetry.internal_error("permission_cache", "writer", error)

    def _is_due(self) -> bool:
        if self._link.is_down:
            return time.monotonic() >= self._link.retry_at_s
        return bool(self._jobs or self._models)

    def _store(self, made: list[tuple[bytes, bytes, int] | None]) -> None:
        entries = [entry for entry in made if entry is not None]
        _counted("refused", len(made) - len(entries))
        if entries:
            stored = self._link.put(entries)
            _counted("stored", stored)
            _counted("failed", len(entries) - stored)


def _entry(job: Job | ModelJob) -> tuple[bytes, bytes, int] | None:
    """Key, value and milliseconds to live; None for what cannot be stored. A fault costs this one job, not all of its batch."""
    try:
        if isinstance(job, ModelJob):
            ttl, made = ttl_ms(None, 0), encode_model(job.head, job.facts, job.built_rev, job.stamp)
        else:
            ttl = ttl_ms(getattr(job.snapshot, "until_us", None), job.now_us)
            made = encode(job.head, job.kind, job.snapshot, job.built_rev, job.stamp) if ttl > 0 else None
    except Exception as error:  # noqa: BLE001 - as it says
        telemetry.internal_error("permission_cache", "encode", error)
        return None
    return None if made is None else (*made, ttl)


def _counted(result: str, number: int) -> None:
    if number:
        telemetry.count("permission_cache_l2_writes_total", result, by=number)
