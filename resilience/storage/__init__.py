"""Stores: Redis of every kind, memory, and the one that goes from the first to the second. Importing it connects to nothing."""

from __future__ import annotations

import threading

from resilience.storage import base
from resilience.storage.base import Storage, StorageHealth
from resilience.storage.memory import MemoryStore

__all__ = ["MemoryStore", "Storage", "StorageHealth", "close_default", "use_default"]

_lock = threading.Lock()
_local: MemoryStore | None = None
_default: Storage | None = None


def _local_store() -> Storage:
    global _local  # noqa: PLW0603 - one a process, made on first use
    with _lock:
        if _local is None:
            _local = MemoryStore()
        return _local


def _default_store() -> Storage:
    global _default  # noqa: PLW0603
    if _default is not None:
        return _default
    local = _local_store()
    with _lock:
        if _default is None:
            _default = _make(local)
        return _default


def _make(local: Storage) -> Storage:
    # Imported here, since without a server its client is not needed, and a process starts faster.
    from resilience.redis_client import default_url  # noqa: PLC0415

    url = default_url()
    if not url:
        return local
    from resilience.storage.failover import FailoverStore  # noqa: PLC0415
    from resilience.storage.redis import RedisStore  # noqa: PLC0415

    return FailoverStore(RedisStore(url), local)


def use_default(store: Storage | None) -> None:
    """Names the store of strategies that were given none; None lets REDIS_URL decide again. Strategies in use keep theirs."""
    global _default  # noqa: PLW0603
    with _lock:
        _default = store


def close_default() -> None:
    """Closes the default store, if one was ever used."""
    global _default
    with _lock:
        store, _default = _default, None
    if store is not None:
        store.close()


base.provide(_default_store, _local_store)
