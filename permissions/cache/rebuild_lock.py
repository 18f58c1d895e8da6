"""Rebuild lock: of many processes that begin the same costly work, one does it and the others find what it left in Redis.

Double-checked locking: look; take the process's lock, look again; take the lease in Redis, look into the second layer; else do
the work and write it through. An optimisation and never a gate: after WAIT_S everybody goes on without it, so two at once must do
no harm. Where there is no second layer there is nothing to find, and Redis is not asked. Source: consistency, section 9.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, Literal

from permissions.cache import l2
from resilience import registry, telemetry
from resilience.circuit_breaker.breaker import CircuitBreaker
from resilience.errors import CircuitOpen, StorageError
from resilience.lock import DistributedLock, LockFactory
from resilience.storage.base import Storage, default_store, local_store

Work = Literal["table", "warmup"]

# All that anybody ever waits: for a thread of this process and for other processes together.
WAIT_S: Final = 0.1
# A table of thousands of roles compiles in less; a holder that was killed holds nobody up for longer than WAIT_S anyway.
LEASE_S: Final = 5.0
RETRY_S: Final = 5.0
_LEAST_S: Final = 0.001
# A lock that is free costs a round trip; one that took longer was waited for (chosen: the first look again is 5 ms later).
WAITED_S: Final = 0.004

_guard = threading.Lock()
_in_process: dict[str, threading.Lock] = {}


@contextmanager
def rebuild_lock(realm_id: int, work: Work = "table", *, store: Storage | None = None) -> Iterator[bool]:
    """True where nobody else, in any process that shares our Redis, is at the same work. Raises nothing of Redis.

    Whoever entered looks for the result again before working: it may have been made while this one waited. Not reentrant: a
    thread that asks for what it holds waits WAIT_S and goes on. `store`: another than the default, for tests.
    """
    name = _name(realm_id, work)
    until_s = time.monotonic() + WAIT_S
    local = _lock_of(name)
    is_local = local.acquire(timeout=WAIT_S)
    leased: DistributedLock | None = None
    try:
        # A thread that waited in vain for one of its own process learns nothing from Redis: that one holds the lease.
        if is_local:
            leased = _leased(name, until_s, store)
        else:
            _waited("gave_up")
        yield leased is not None
    finally:
        try:
            if leased is not None:
                leased.release()
        finally:
            if is_local:
                local.release()


def breaker() -> CircuitBreaker:
    """Configured as `permission_cache_lock`. A lost Redis costs one call without an answer every RETRY_S."""
    return registry.breaker("permission_cache_lock", consecutive=1, open_s=RETRY_S, store=local_store())


def _leased(name: str, until_s: float, store: Storage | None) -> DistributedLock | None:
    store = default_store() if store is None else store
    # In the memory of one process the lock above does it all, and without a second layer nobody leaves anything to be found.
    if store.name == "memory" or not l2.second_layer().is_up:
        return None
    began_s = time.monotonic()
    wait_s = max(until_s - began_s, 0.0)
    lock = LockFactory(store).create(name, ttl_s=LEASE_S, renew=False)
    try:
        taken = breaker().call(lock.acquire, wait_s if wait_s > _LEAST_S else 0.0)
    except (CircuitOpen, StorageError):
        _waited("without")
        return None
    had_to_wait = until_s - began_s < WAIT_S - WAITED_S or time.monotonic() - began_s > WAITED_S
    _waited(("waited" if had_to_wait else "at_once") if taken else "gave_up")
    return lock if taken else None


def _waited(result: Literal["at_once", "waited", "gave_up", "without"]) -> None:
    """`without`: Redis did not answer, or was not asked because it did not lately."""
    telemetry.count("permission_cache_lock_waits_total", result)


def _name(realm_id: object, work: str) -> str:
    if isinstance(realm_id, bool) or not isinstance(realm_id, int) or realm_id < 1:
        raise ValueError(f"realm_id is {realm_id!r}; it takes the number of a realm")
    if work not in ("table", "warmup"):
        raise ValueError(f"work is {work!r}; it takes table or warmup")
    return f"permission_cache.{work}.{realm_id}"


def _lock_of(name: str) -> threading.Lock:
    with _guard:
        return _in_process.setdefault(name, threading.Lock())


def _after_fork() -> None:
    """What threads of the parent hold is never released here. The lease stays the parent's."""
    global _guard  # noqa: PLW0603
    _guard = threading.Lock()
    _in_process.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
