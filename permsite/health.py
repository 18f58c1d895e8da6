"""The probes: alive, ready, and each component in detail.

They stand here until the control plane, whose health page will replace this module, exists. A background task measures once a
second; the probes themselves read memory only, so that a database that hangs cannot hang the probe that should report it.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Literal

from asgiref.sync import sync_to_async
from django.conf import settings
from django.db import DatabaseError, InterfaceError, connection
from django.http import HttpRequest, JsonResponse
from redis.exceptions import RedisError

from controlplane.loop import lease
from permissions import pdp
from permissions.models import Realm
from permsite.version import VERSION
from resilience import maintenance
from resilience.redis_client import Client, redis_client

EVERY_S: Final = 1.0
# Seconds without a good measurement of the database until we stop taking traffic: long enough for one slow statement, short
# enough that a load balancer reacts before callers give up (chosen).
BOUND_S: Final = 5.0

Word = Literal["ok", "down", "none"]


@dataclass(slots=True)
class Component:
    """`state` none: not configured, so nothing can be wrong with it. `error`: the fault's kind; its text may hold addresses."""

    state: Word
    since: float
    latency_ms: float | None = None
    error: str = ""

    def measured(self, state: Word, latency_ms: float | None, error: str) -> None:
        if state != self.state:
            self.state, self.since = state, time.time()
        self.latency_ms, self.error = latency_ms, error

    def to_dict(self) -> dict[str, Any]:
        shown: dict[str, Any] = {"state": self.state, "since_s": round(time.time() - self.since, 1)}
        if self.latency_ms is not None:
            shown["latency_ms"] = round(self.latency_ms, 2)
        if self.error:
            shown["last_error"] = self.error
        return shown


class Monitor:
    """What the last measurements said. One instance a process; its task runs between start() and stop()."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        now = time.time()
        self.database = Component("down", now, error="not measured yet")
        self.store = Component("none", now)
        self.loop = Component("none", now)
        self.led: lease.Leadership | None = None
        self.realms = 0
        self._good_at: float | None = None
        self._task: asyncio.Task[None] | None = None
        self._lock = threading.Lock()
        self._client: Client | None = None

    async def start(self) -> None:
        await sync_to_async(self.measure, thread_sensitive=False)()
        self._task = asyncio.create_task(self._run(), name="health")

    async def stop(self) -> None:
        self._good_at = None
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
            self._task = None

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

    def readiness(self) -> tuple[int, str]:
        if self._good_at is None:
            return 503, "starting"
        if self._clock() - self._good_at > BOUND_S:
            return 503, "database"
        # Still ready: taken out of service, callers would read the balancer's message instead of ours.
        if maintenance.status().on:
            return 200, "maintenance"
        # Answers are the same without the store, only slower: no reason to send callers elsewhere.
        return 200, "degraded" if self.store.state == "down" else "ok"

    @property
    def is_running(self) -> bool:
        return self._task is not None


monitor: Final = Monitor()


def _current() -> Monitor:
    """Measured now where no task does it: under a server without lifespan, and in tests with Django's client."""
    if not monitor.is_running:
        monitor.measure()
    return monitor


def healthz(request: HttpRequest) -> JsonResponse:
    """Alive: this process answers. Nothing else is looked at, or a lost database would have every process restarted."""
    return JsonResponse({"status": "ok"})


def readyz(request: HttpRequest) -> JsonResponse:
    status, word = _current().readiness()
    return JsonResponse({"status": word}, status=status)


def system_health(request: HttpRequest) -> JsonResponse:
    """Each component. Open like the other probes, so it names no address, no identity and no text of an error."""
    now = _current()
    status, word = now.readiness()
    return JsonResponse(
        {
            "status": word,
            "version": VERSION,
            "components": {
                "database": {**now.database.to_dict(), "vendor": connection.vendor, "realms": now.realms},
                "store": {**now.store.to_dict(), "kind": "redis" if settings.REDIS_URL else "memory"},
                "loop": now.loop_shown(),
                # The page is open: names of realms are nobody's business there.
                "decisions": {"state": "ok", "since_start": {k: v for k, v in pdp.stats().items() if k != "realms"}},
            },
        },
        status=status,
    )
