"""The follower: one background thread a server process, which keeps every realm in use caught up, so that checks do no I/O.

Every POLL_S it asks one statement for all realms asked for lately; in between, events of other processes move W. Nothing depends
on it: a check whose State is too old catches up itself. Source: consistency, sections 5 and 7.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
from typing import Final

from django.db import DatabaseError, connection

from permissions.cache import catch_up, invalidation
from permissions.cache.reading import boot_ns
from permissions.cache.realm import STATES
from permissions.cache.upkeep import UPKEEP
from permissions.engine.reasons import Unavailable
from permissions.errors import NotFound
from resilience import telemetry

log = logging.getLogger("permissions.cache")

# Seconds: 0.4 of the bound, so that one poll may be lost before a check must ask itself.
POLL_S: Final = 0.2
LEAST_POLL_S: Final = 0.05
SHARE: Final = 0.4
# Seconds without a check after which a realm is no longer followed.
IDLE_S: Final = 5.0


class Follower:
    """Begun by start(), ended by stop(); both may be called again."""

    def __init__(self) -> None:
        self._begin_anew()

    def _begin_anew(self) -> None:
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()
        self.is_away = False
        self.polls = 0

    def start(self) -> None:
        with self._lock:
            if self._thread is not None:
                return
            self._stopping = threading.Event()
            self._thread = threading.Thread(target=self._run, args=(self._stopping,), name="permissions-follower", daemon=True)
            self._thread.start()
        UPKEEP.start()
        invalidation.start(catch_up.apply_event, self._pull, _followed)

    def stop(self) -> None:
        with self._lock:
            thread, self._thread = self._thread, None
            self._stopping.set()
        invalidation.stop()
        UPKEEP.stop()
        if thread is not None and thread is not threading.current_thread():
            thread.join(2.0)

    @property
    def is_running(self) -> bool:
        return self._thread is not None and self._thread.is_alive()

    def _run(self, stopping: threading.Event) -> None:
        try:
            while not stopping.wait(self._interval_s()):
                self.poll()
        finally:
            connection.close()

    def poll(self) -> None:
        """Catches up every realm in use. What goes wrong is told once, and tried again at the next poll."""
        self.polls += 1
        try:
            catch_up.catch_up_all(_followed())
        except Unavailable as error:
            if not self.is_away:
                log.warning("realms are not followed for the moment: %s", error)
            self.is_away = True
        except Exception as error:  # noqa: BLE001 - the thread must go on: nobody would notice its end but the bound
            telemetry.internal_error("permission_follower", "poll", error)
        else:
            if self.is_away:
                log.info("realms are followed again")
            self.is_away = False

    def _pull(self, realm: str) -> None:
        """For an event that could not be applied as it is."""
        with contextlib.suppress(Unavailable, NotFound, DatabaseError):
            catch_up.catch_up(realm)

    def _interval_s(self) -> float:
        bounds = [state.max_age_ns for state in list(STATES.values())]
        return max(LEAST_POLL_S, min(POLL_S, *(SHARE * bound / 1e9 for bound in bounds))) if bounds else POLL_S

    def forget(self) -> None:
        """In a forked child: the parent's thread is not here."""
        self._begin_anew()


def _followed() -> list[str]:
    """Names of the realms that a check needed in the last IDLE_S seconds."""
    since_ns = boot_ns() - int(IDLE_S * 1e9)
    return [name for name, cache in list(catch_up.caches().items()) if cache.used_ns >= since_ns and cache.state is not None]


FOLLOWER: Final = Follower()
os.register_at_fork(after_in_child=FOLLOWER.forget)


def start() -> None:
    """Follows from now on, in this process."""
    FOLLOWER.start()


def stop() -> None:
    FOLLOWER.stop()
