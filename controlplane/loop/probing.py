"""Does the database answer, does Redis, and how fast: asked each second in threads of their own, while this process leads.

A server that hangs holds up its own thread; who asks for the result never waits, and a question open for too long is a no.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

from django.conf import settings
from django.db import DatabaseError, InterfaceError, connection
from redis.exceptions import RedisClusterException, RedisError

from resilience.clock import SYSTEM, Clock
from resilience.redis_client import redis_client

EVERY_S: Final = 1.0
# Without a good answer: longer than a slow statement, shorter than people take to notice.
BOUND_S: Final = 3.0
REDIS_TIMEOUT_S: Final = 0.25
# Beside the keys of the live page.
REDIS_KEY: Final = "ps:{control}:probe"
REDIS_KEPT_MS: Final = 5_000


@dataclass(slots=True)
class Probe:
    """`ask` raises one of `faults` where nobody answers."""

    name: str
    ask: Callable[[], object]
    faults: tuple[type[Exception], ...]
    clock: Clock = SYSTEM
    _ms: float | None = None
    _good_at: float | None = None
    _began_at: float | None = None
    _failed: bool = False
    _ended: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def start(self) -> None:
        if self._thread is None:
            self._began_at = self.clock.monotonic()
            self._ended = threading.Event()
            self._thread = threading.Thread(target=self._run, args=(self._ended,), name=f"live-probe-{self.name}", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """Without waiting: it may hang for as long as its server does."""
        self._ended.set()
        self._thread = None
        self._good_at = self._began_at = self._ms = None
        self._failed = False

    def _run(self, ended: threading.Event) -> None:
        while not ended.is_set():
            self.turn()
            ended.wait(EVERY_S)
        if self.name == "database" and not connection.in_atomic_block:
            connection.close()

    def turn(self) -> None:
        began = time.perf_counter()
        try:
            self.ask()
        except self.faults:
            self._failed, self._ms = True, None
        else:
            self._ms, self._good_at, self._failed = (time.perf_counter() - began) * 1000, self.clock.monotonic(), False

    @property
    def up(self) -> int | None:
        """1, 0, or None before anything is known."""
        now = self.clock.monotonic()
        if self._failed:
            return 0
        if self._good_at is not None:
            return int(now - self._good_at <= BOUND_S)
        return 0 if self._began_at is not None and now - self._began_at > BOUND_S else None

    @property
    def ms(self) -> float | None:
        return self._ms if self.up else None


def database(clock: Clock = SYSTEM) -> Probe:
    def ask() -> None:
        try:
            with connection.cursor() as cursor:
                cursor.execute("SELECT 1")
                cursor.fetchone()
        finally:
            # Back to the pool, or closed where it broke.
            if not connection.in_atomic_block:
                connection.close_if_unusable_or_obsolete()

    return Probe("database", ask, (DatabaseError, InterfaceError, OSError), clock)


def redis(clock: Clock = SYSTEM) -> Probe | None:
    """None where there is none."""
    if not settings.REDIS_URL:
        return None
    client: Any = redis_client(settings.REDIS_URL, timeout_s=REDIS_TIMEOUT_S)

    def ask() -> None:
        # Written: one that is full, or a replica, answers a PING, and takes nothing of what it is there for.
        client.set(REDIS_KEY, b"", px=REDIS_KEPT_MS)

    return Probe("redis", ask, (RedisError, RedisClusterException, OSError), clock)
