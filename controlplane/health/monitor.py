"""What probes answer from: database, store and loop, measured once a second beside them, and how late the event loop is.

A background task measures; the probes themselves read memory only, so that a database that hangs cannot hang the probe that
should report it.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable
from typing import Any, Final

from asgiref.sync import sync_to_async
from django.conf import settings
from django.db import DatabaseError, InterfaceError, connection
from redis.exceptions import RedisError

from controlplane.health.component import Component
from controlplane.insight.lag import LAG, LoopLag
from controlplane.insight.verdict import BOUND_S, Facts, Verdict, verdict
from controlplane.loop import lease
from permissions import conf, pdp
from permissions.cache import warmup
from permissions.engine.reasons import Unavailable
from permissions.errors import NotFound
from permissions.models import Realm
from resilience import maintenance, telemetry
from resilience.redis_client import Client, redis_client
from resilience.telemetry import Event

__all__ = ["BOUND_S", "Monitor", "monitor"]

EVERY_S: Final = 1.0


class Monitor:
    """What the last measurements said. One instance a process; its task runs between start() and stop()."""

    def __init__(self, clock: Callable[[], float] = time.monotonic, lag: LoopLag = LAG) -> None:
        self._clock = clock
        self.lag = lag
        now = time.time()
        self.database = Component("down", now, error="not measured yet")
        self.store = Component("none", now)
        self.loop = Component("none", now)
        self.led: lease.Leadership | None = None
        self.realms = 0
        self.is_draining = False
        self.is_log_failing = False
        self._is_loaded = False
        self._good_at: float | None = None
        self._task: asyncio.Task[None] | None = None
        self._lock = threading.Lock()
        self._client: Client | None = None
        self._leave: Callable[[], None] | None = None

    async def start(self) -> None:
        self.is_draining = False
        self.lag.start()
        self._leave = telemetry.subscribe(self._log_told, "decision_log.")
        await sync_to_async(self.measure, thread_sensitive=False)()
        self._task = asyncio.create_task(self._run(), name="health")

    async def stop(self) -> None:
        self._good_at, self._is_loaded = None, False
        self.lag.stop()
        if self._leave is not None:
            self._leave()
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
            self._task = None

    def drain(self) -> None:
        """From now on this process answers what is open, and wants nothing new."""
        self.is_draining = True

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(EVERY_S)
            await sync_to_async(self.measure, thread_sensitive=False)()

    def measure(self) -> None:
        with self._lock:
            self._measure_database()
            self._measure_store()

    def _measure_database(self) -> None:
        began = time.perf_counter()
        try:
            self.realms = Realm.objects.count()
        except (DatabaseError, InterfaceError) as error:
            self.database.measured("down", None, type(error).__name__)
            self.loop.measured("down", None, type(error).__name__)
        else:
            self.database.measured("ok", (time.perf_counter() - began) * 1000, "")
            self._good_at = self._clock()
            self._measure_loop()
            self._load()
        finally:
            # This thread belongs to no request: nobody else gives its connection back. Inside a transaction it is a test's.
            if not connection.in_atomic_block:
                connection.close()

    def _measure_loop(self) -> None:
        """No readiness hangs on it: without a leader nothing is pruned or announced, and every answer stays right."""
        try:
            self.led = lease.peek()
        except (DatabaseError, InterfaceError) as error:
            self.loop.measured("down", None, type(error).__name__)
        else:
            is_led = self.led is not None and self.led.is_led
            self.loop.measured("ok" if is_led else "down", None, "" if is_led else "nobody leads")

    def _load(self) -> None:
        """Head and role table, once: the warm-up brings them; where it could not, or none runs, they are asked for here."""
        if self._is_loaded:
            return
        progress = warmup.last()
        if progress is not None and progress.is_ready:
            self._is_loaded = True
        elif progress is None or progress.state != "running":
            try:
                pdp.refresh(conf.django_realm())
            except Unavailable:
                return
            except NotFound:
                pass  # a site without that realm has nothing to load
            self._is_loaded = True

    def loop_shown(self) -> dict[str, Any]:
        """Who leads, by the random part of its name, since when, under which fence."""
        led = self.led if self.led is not None and self.loop.state == "ok" else None
        known = {"leader": led.leader, "fence": led.fence, "led_for_s": round(led.led_for_s, 1)} if led is not None else {}
        return {**self.loop.to_dict(), **known}

    def _measure_store(self) -> None:
        if not settings.REDIS_URL:
            return
        began = time.perf_counter()
        try:
            if self._client is None:
                self._client = redis_client(settings.REDIS_URL, timeout_s=0.2)
            self._client.ping()
        except (RedisError, ValueError) as error:
            self.store.measured("down", None, type(error).__name__)
        else:
            self.store.measured("ok", (time.perf_counter() - began) * 1000, "")

    def _log_told(self, event: Event) -> None:
        if event.name != "decision_log.lost":
            self.is_log_failing = event.name == "decision_log.failing"

    @property
    def away_s(self) -> float | None:
        """Since when the database has not answered; 0 while it does, None before it ever has."""
        if self._good_at is None:
            return None
        return max(0.0, self._clock() - self._good_at) if self.database.state == "down" or self._is_overdue else 0.0

    @property
    def _is_overdue(self) -> bool:
        """A measurement that hangs tells nothing, which is told too."""
        return self._good_at is not None and self._clock() - self._good_at > BOUND_S

    def facts(self) -> Facts:
        """What decides whether callers should come here, from memory. How late the loop is says /healthz."""
        return Facts(
            database_away_s=self.away_s,
            store_up=None if self.store.state == "none" else self.store.state == "ok",
            log_failing=self.is_log_failing,
        )

    def judged(self) -> Verdict:
        return verdict(self.facts())

    def readiness(self) -> tuple[int, str]:
        if self.is_draining:
            return 503, "draining"
        if self._good_at is None or not self._is_loaded:
            return 503, "starting"
        told = self.judged()
        if told.state == "down":
            return 503, "database"
        # Still ready: taken out of service, callers would read the balancer's message instead of ours.
        if maintenance.status().on:
            return 200, "maintenance"
        # Answers are the same, only slower: no reason to send callers elsewhere.
        return 200, told.state

    @property
    def is_running(self) -> bool:
        return self._task is not None


monitor: Final = Monitor()


def current() -> Monitor:
    """Measured now where no task does it: under a server without lifespan, and in tests with Django's client."""
    if not monitor.is_running:
        monitor.measure()
    return monitor
