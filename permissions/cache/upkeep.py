"""Upkeep: a second background thread, for what may wait: prefetching, telling the hot list, building filters anew.

Nothing a check needs; the follower, which keeps T young, must not wait for it.
"""

from __future__ import annotations

import logging
import os
import threading
from typing import Final

from django.db import connection

from permissions.cache import catch_up, filling, habits, hot, known_ids
from permissions.cache.reading import boot_ns
from permissions.cache.realm import Kind, RealmCache
from permissions.engine.reasons import Unavailable
from permissions.errors import NotFound
from resilience import telemetry

log = logging.getLogger("permissions.cache")

# Seconds. Prefetching wakes the thread itself.
TICK_S: Final = 1.0
HOT_S: Final = 10.0
HABITS_S: Final = 60.0
# Until a filter that is missing is loaded, and between two rebuilds of one that is crowded with ids long gone.
FILTER_S: Final = 60.0
# Seconds without a check after which a realm is left alone.
IDLE_S: Final = 60.0

KINDS: Final[tuple[Kind, Kind]] = ("s", "r")


class Upkeep:
    """Begun by start(), ended by stop()."""

    def __init__(self) -> None:
        self.begin_anew()

    def begin_anew(self) -> None:
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._stopping = threading.Event()
        self._woken = threading.Event()
        self._hot_ns = 0
        self._habits_ns = boot_ns()
        self._filters_ns: dict[str, int] = {}

    def start(self) -> None:
        with self._lock:
            if self._thread is None:
                self._stopping = threading.Event()
                self._thread = threading.Thread(target=self._run, args=(self._stopping,), name="permissions-upkeep", daemon=True)
                self._thread.start()
                filling.wake_with(self.wake)

    def stop(self) -> None:
        with self._lock:
            thread, self._thread = self._thread, None
            self._stopping.set()
            self._woken.set()
        if thread is not None and thread is not threading.current_thread():
            thread.join(2.0)

    def wake(self) -> None:
        self._woken.set()

    def _run(self, stopping: threading.Event) -> None:
        try:
            while not stopping.is_set():
                self._woken.wait(TICK_S)
                self._woken.clear()
                self.tick()
        finally:
            connection.close()

    def tick(self) -> None:
        since_ns = boot_ns() - int(IDLE_S * 1e9)
        used = [c for c in list(catch_up.caches().values()) if c.used_ns >= since_ns and c.state is not None]
        for cache in used:
            for work in (self._prefetch, self._filters):
                try:
                    work(cache)
                except (Unavailable, NotFound) as error:
                    log.debug("upkeep of realm %s waits: %s", cache.name, error)
                except Exception as error:  # noqa: BLE001 - one realm's fault must not end the thread for all
                    telemetry.internal_error("permission_upkeep", work.__name__, error)
        if boot_ns() - self._hot_ns > int(HOT_S * 1e9):
            self._hot_ns = boot_ns()
            for cache in used:
                self._tell_hot(cache)
        if boot_ns() - self._habits_ns > int(HABITS_S * 1e9):
            self._habits_ns = boot_ns()
            for cache in used:
                self._tell_habits(cache)

    def _prefetch(self, cache: RealmCache) -> None:
        for prefetch in (cache.prefetch_resources, cache.prefetch_subjects):
            if prefetch is not None:
                prefetch.run()

    def _filters(self, cache: RealmCache) -> None:
        state, filters = cache.state, cache.filters
        if state is None or (filters is not None and not (filters.subjects.is_crowded or filters.resources.is_crowded)):
            return
        # Not at first sight: a server that starts has its warm-up load them.
        if boot_ns() - self._filters_ns.setdefault(cache.name, boot_ns()) < int(FILTER_S * 1e9):
            return
        self._filters_ns[cache.name] = boot_ns()
        built_rev, subjects, resources = known_ids.load(state.head.realm_id)
        catch_up.catch_up(cache.name)
        cache.use_filters(built_rev, state.head, subjects, resources)

    def _tell_hot(self, cache: RealmCache) -> None:
        state = cache.state
        if state is not None and cache.hot is not None:
            try:
                hot.flush(state.head.realm_id, cache.hot)
            except Exception as error:  # noqa: BLE001 - as above
                telemetry.internal_error("permission_upkeep", "hot", error)

    def _tell_habits(self, cache: RealmCache) -> None:
        state = cache.state
        if state is None:
            return
        try:
            for kind, prefetch in zip(KINDS, filling.prefetches(cache), strict=True):
                habits.tell(state.head.realm_id, kind, prefetch)
        except Exception as error:  # noqa: BLE001 - as above
            telemetry.internal_error("permission_upkeep", "habits", error)


UPKEEP: Final = Upkeep()
os.register_at_fork(after_in_child=UPKEEP.begin_anew)
