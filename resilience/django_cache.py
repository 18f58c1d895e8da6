"""Django's cache on any Redis, a cluster too: django-redis over our clients. A store that is gone or hangs is a miss."""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterator
from functools import partial
from typing import Any, Final

from django_redis.client.default import DefaultClient, glob_escape
from django_redis.exceptions import ConnectionInterrupted
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisClusterException
from redis.exceptions import TimeoutError as RedisTimeoutError

from resilience import telemetry
from resilience.redis_client import Client, redis_client

# Seconds, unless OPTIONS of the alias say otherwise. A page asks the cache several times, so a store that hangs must cost each of
# them little: chosen, a hundred times a local round trip.
TIMEOUT_S: Final = 0.1

_GONE: Final = (RedisConnectionError, RedisTimeoutError, RedisClusterException)
_lock = threading.Lock()
# One a process: Django makes a new cache object for each thread and request.
_clients: dict[tuple[str, float], Client] = {}


class ConnectionFactory:
    """What django-redis asks for connections."""

    def __init__(self, options: dict[str, Any]) -> None:
        self._timeout_s: float = options.get("TIMEOUT_S", TIMEOUT_S)

    def connect(self, url: str) -> _Guarded:
        key = (url, self._timeout_s)
        with _lock:
            client = _clients.get(key)
            if client is None:
                client = _clients[key] = redis_client(url, timeout_s=self._timeout_s)
        return _Guarded(client)

    def disconnect(self, connection: _Guarded) -> None:
        """Its next use connects again."""
        connection.close()


class _Guarded:
    """A client, or a pipeline of one, whose every lost connection is the error that django-redis may ignore.

    Several of its methods (touch, ttl, expire, hset, sadd …) let the driver's own errors through to the page.
    """

    def __init__(self, target: Any) -> None:
        self._target = target

    def pipeline(self, *args: Any, **kwargs: Any) -> _Guarded:
        return _Guarded(self._call("pipeline", *args, **kwargs))

    def scan_iter(self, *args: Any, **kwargs: Any) -> Iterator[Any]:
        try:
            yield from self._target.scan_iter(*args, **kwargs)
        except _GONE as error:
            raise _interrupted() from error

    def lock(self, *args: Any, **kwargs: Any) -> Any:
        """Not guarded: a lock that nobody holds must not look like one that was taken."""
        return self._target.lock(*args, **kwargs)

    def _call(self, name: str, /, *args: Any, **kwargs: Any) -> Any:
        try:
            return getattr(self._target, name)(*args, **kwargs)
        except _GONE as error:
            raise _interrupted() from error

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return partial(self._call, name)


class CacheClient(DefaultClient):  # type: ignore[misc]  # untyped
    """django-redis's client, with the three things that it does otherwise on a cluster, or to a store that others share."""

    def get_many(self, keys: Collection[str], version: int | None = None, client: Any = None) -> dict[str, Any]:
        client = client or self.get_client(write=False)
        made = {self.make_key(key, version=version): key for key in keys}
        if not made:
            return {}
        # On a cluster one MGET over several slots is refused.
        found = client.mget_nonatomic(*made) if client.is_cluster() else client.mget(*made)
        return {made[key]: self.decode(value) for key, value in zip(made, found, strict=True) if value is not None}

    def keys(self, search: str, version: int | None = None, client: Any = None) -> list[str]:
        # KEYS asks one node of a cluster, and holds up every other caller of that node meanwhile.
        return list(self.iter_keys(search, version=version, client=client))

    def iter_keys(
        self, search: str, itersize: int | None = None, client: Any = None, version: int | None = None
    ) -> Iterator[str]:
        try:
            yield from super().iter_keys(search, itersize=itersize, client=client, version=version)
        except ConnectionInterrupted as error:
            # It runs after django-redis's own handler has returned, so it must know by itself whether to ignore this.
            if not self._backend._ignore_exceptions:
                raise error.__cause__ or error from None

    def clear(self, client: Any = None) -> None:
        """This cache's own keys, of every version. The stock client empties the server: limits, locks, breakers are there too."""
        client = client or self.get_client(write=True)
        pipeline = client.pipeline()
        for key in client.scan_iter(match=f"{glob_escape(self._backend.key_prefix)}:*", count=1000):
            pipeline.unlink(key)
        pipeline.execute()


def _interrupted() -> ConnectionInterrupted:
    telemetry.count("resilience_cache_errors_total")
    return ConnectionInterrupted(connection=None)
