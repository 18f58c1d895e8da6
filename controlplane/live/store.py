"""Which store the processes of this site meet in: Redis where REDIS_URL names one, else rows, else one process's memory."""

from __future__ import annotations

import os
import threading
from importlib import import_module
from typing import Final

from django.conf import settings

from controlplane.live.failover import FailoverStore
from controlplane.live.memory import MemoryStore
from controlplane.live.port import LiveStore


class _Chosen:
    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.is_alone = False
        self.store: LiveStore | None = None
        self.memory = MemoryStore()


_chosen: Final = _Chosen()


def alone() -> None:
    """This process is the whole site, as in `demo`: what needs no other process needs no rows either. Before the first use."""
    _chosen.is_alone = True


def current() -> LiveStore:
    """One a process, made on first use."""
    with _chosen.lock:
        if _chosen.store is None:
            _chosen.store = _made()
        return _chosen.store


def _made() -> LiveStore:
    # It needs the models, and this module is imported where they may not be loaded yet.
    behind: LiveStore = _chosen.memory if _chosen.is_alone else import_module("controlplane.live.rows").RowsStore()
    if not settings.REDIS_URL:
        return behind
    first: LiveStore = import_module("controlplane.live.redis").RedisStore(settings.REDIS_URL)
    return FailoverStore(first, behind)


def reset() -> None:
    """Closes and forgets it: at the end of a server, and for tests, which change settings."""
    with _chosen.lock:
        store, _chosen.store, _chosen.is_alone = _chosen.store, None, False
        _chosen.memory = MemoryStore()
    if store is not None:
        store.close()


def use(store: LiveStore) -> None:
    """For tests: this one, until `reset()`."""
    with _chosen.lock:
        _chosen.store = store


def _after_fork() -> None:
    """In a forked child the parent's connections and threads are the parent's."""
    _chosen.lock = threading.Lock()
    _chosen.store = None
    _chosen.memory = MemoryStore()


os.register_at_fork(after_in_child=_after_fork)
