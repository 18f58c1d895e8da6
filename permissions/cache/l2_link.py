"""The line to the store of the second cache layer: its raw commands behind a breaker, and a flag while nobody should ask.

A store that is dead, frozen or slow must leave a miss as fast as no store at all. So while the breaker is open callers only look
at `is_down`, which costs nothing; the probe that finds out when it works again is the writer thread's, never a check's.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, Final, TypeVar

from django_redis.exceptions import ConnectionInterrupted
from redis.exceptions import RedisError, ResponseError

from resilience import registry, telemetry
from resilience.circuit_breaker.breaker import CircuitBreaker
from resilience.errors import CircuitOpen
from resilience.storage.base import local_store

log = logging.getLogger("permissions.cache")
T = TypeVar("T")

# In one command, or one pipeline a node: what fits well into the time-out, and the size in which a warm-up asks.
BATCH: Final = 500
# How long the thread rests before it asks the breaker again. At most: a person who holds it open may let it go at any time. At
# least: another's probe may be out, and nobody knows when that ends.
RETRY_S: Final = 1.0
SOON_S: Final = 0.02
# States in which callers may ask; whoever forces it closed wants every call made.
_ADMITTING: Final = ("closed", "forced_closed")
_EXPECTED: Final = (ConnectionInterrupted, RedisError, OSError)
_PROBED: Final = 8
FEW: Final = 8


def breaker() -> CircuitBreaker:
    """Configured as `permission_cache`. Kept in this process alone: it must not ask the store that it guards against."""
    return registry.breaker(
        "permission_cache",
        consecutive=3,
        failure_ratio=0.25,  # one frozen master of a cluster is a third of the calls, each at the price of its time-out
        slow_call_s=0.05,  # far more than the database takes for the same rows: such a store helps nobody
        slow_ratio=0.5,
        open_s=0.5,
        open_backoff=1.5,
        open_max_s=5.0,  # a store that came back is used again after this at the latest
        store=local_store(),
    )


class Link:
    """`connect()` gives the client, django-redis's own over ours; `on_down()` is called when `is_down` becomes True."""

    def __init__(self, connect: Callable[[], Any], on_down: Callable[[], None]) -> None:
        self._connect = connect
        self._on_down = on_down
        self.begin_anew()

    def begin_anew(self) -> None:
        """At first, and in a forked child: the parent's lock may have been held by a thread that is not there any more."""
        self._lock = threading.Lock()
        self.is_down = False
        self.retry_at_s = 0.0
        self._last_lost: list[bytes] = []

    def get(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """The values, None for what is not there or was not answered."""
        found: list[bytes | None] | None = None
        if not self.is_down:
            found = self._guarded(lambda client: _get(client, keys), keys, is_timed=len(keys) <= FEW)
        return [None] * len(keys) if found is None else found

    def put(self, entries: Sequence[tuple[bytes, bytes, int]]) -> int:
        """Key, value, milliseconds to live. How many were stored."""
        if self.is_down:
            return 0
        return self._guarded(lambda client: _put(client, entries), [key for key, _, _ in entries]) or 0

    def peek(self, key: bytes) -> tuple[bytes | None, int] | None:
        """The value and its milliseconds to live (-1: no end, -2: not there), for an operator; None where nobody answered."""
        return None if self.is_down else self._guarded(lambda client: _peek(client, key), [key])

    def probe(self) -> None:
        """Asks once whether the store answers again, for the keys that were lost last: of a cluster only some masters may be
        gone."""
        keys = self._last_lost or [b"{ps:probe}"]
        found = self._guarded(lambda client: _get(client, keys), keys, is_timed=True)
        if found is not None and breaker().state in _ADMITTING:
            self._rise()

    # Behind the breaker

    def _guarded(
        self, call: Callable[[Any], tuple[T, Exception | None]], keys: Sequence[bytes], *, is_timed: bool = False
    ) -> T | None:
        """What `call` gives beside its fault; None where nobody was asked, or nobody answered. Never raises.

        `is_timed`: whether it may count as slow. A large batch is slow on a busy machine, which is no fault of the store's; to
        skip the store then would send all its load to the database.
        """
        guard = breaker()
        try:
            permit = guard.acquire() if is_timed else guard.acquire().untimed()
        except CircuitOpen as error:
            self._fall(error.retry_after_s, error)
            return None
        found: T | None = None
        try:
            found, fault = call(self._connect())
        except Exception as error:  # noqa: BLE001 - whatever fails here is a miss
            fault = error
        if fault is None:
            permit.success()
            return found
        telemetry.count("permission_cache_l2_errors_total")
        if not isinstance(fault, _EXPECTED):
            telemetry.internal_error("permission_cache", "l2", fault)
        self._last_lost = list(keys[:_PROBED])
        permit.failure(fault)
        if guard.state not in _ADMITTING:
            self._fall(guard.options["open_s"], fault)
        return found

    def _fall(self, retry_s: float | None, error: Exception) -> None:
        with self._lock:
            self.retry_at_s = time.monotonic() + (RETRY_S if retry_s is None else min(max(retry_s, SOON_S), RETRY_S))
            if self.is_down:
                return
            self.is_down = True
        reason = type(error.__cause__ or error).__name__
        log.warning("the second cache layer is skipped: %s", reason)
        telemetry.emit("cache.l2_down", reason=reason)
        self._on_down()

    def _rise(self) -> None:
        with self._lock:
            self.is_down, self._last_lost = False, []
        log.info("the second cache layer is used again")
        telemetry.emit("cache.l2_up")


def _get(client: Any, keys: Sequence[bytes]) -> tuple[list[bytes | None], Exception | None]:
    """On a cluster one pipeline a node: one command over several slots is refused there. For one key a pipeline is too dear."""
    if not client.is_cluster():
        found: list[bytes | None] = client.mget(keys)
        return found, None
    replies: list[Any]
    if len(keys) == 1:
        try:
            replies = [client.get(keys[0])]
        except ResponseError as error:
            replies = [error]
    else:
        pipeline = client.pipeline(transaction=False)
        for key in keys:
            pipeline.get(key)
        replies = pipeline.execute(raise_on_error=False)
    lost = [reply for reply in replies if isinstance(reply, Exception)]
    others = [reply for reply in lost if _is_other_type(reply)]
    if others:
        telemetry.count("permission_cache_l2_rejected_total", "shape", by=len(others))
    fault = next((reply for reply in lost if reply not in others), None)
    return [None if isinstance(reply, Exception) else reply for reply in replies], fault


def _peek(client: Any, key: bytes) -> tuple[tuple[bytes | None, int], Exception | None]:
    try:
        return (client.get(key), int(client.pttl(key))), None
    except ResponseError as error:
        if _is_other_type(error):
            return (None, -2), None
        raise


def _is_other_type(reply: Exception) -> bool:
    """Somebody put a list or the like under our key. MGET itself passes over such a thing."""
    return isinstance(reply, ResponseError) and str(reply).startswith("WRONGTYPE")


def _put(client: Any, entries: Sequence[tuple[bytes, bytes, int]]) -> tuple[int, Exception | None]:
    pipeline = client.pipeline(transaction=False)
    for key, value, ttl_ms in entries:
        pipeline.set(key, value, px=ttl_ms)
    replies = pipeline.execute(raise_on_error=False)
    lost = [reply for reply in replies if isinstance(reply, Exception)]
    # A store that is full, or a replica, refuses to write and may still be read: that is no reason to skip it.
    fault = next((reply for reply in lost if not isinstance(reply, ResponseError)), None)
    return len(replies) - len(lost), fault
