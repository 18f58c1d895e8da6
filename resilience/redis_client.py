"""The one maker of Redis clients: any kind of server, time-outs by role, no retries, nothing connected before its first use."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import threading
import types
import weakref
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, Literal

from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import MovedError, RedisClusterException

from resilience import telemetry
from resilience.address import Address, Url, default_url, masked, parse, resolve
from resilience.connections import Maker, Timeouts, is_awaited, is_called
from resilience.redis_report import ConnectionReport, check_connection, connection_info

__all__ = [
    "Address",
    "AsyncClient",
    "Client",
    "ConnectionReport",
    "ais_cluster",
    "check_connection",
    "connection_info",
    "default_url",
    "is_cluster",
    "masked",
    "new_connection",
    "node_client",
    "note_blocking",
    "parse",
    "redis_client",
]

log = logging.getLogger("resilience.redis")

Role = Literal["decision", "general", "pubsub"]


@dataclass(frozen=True, slots=True)
class _Bounds:
    """Seconds."""

    default_s: float
    min_s: float
    max_s: float


# A decision is waited for by a request: what a slow round trip within one data centre takes, no more (the design's 50-100 ms).
# The others serve a page or a job: chosen.
ROLES: Final[dict[str, _Bounds]] = {
    "decision": _Bounds(0.08, 0.05, 0.1),
    "general": _Bounds(1.0, 0.01, 60.0),
    "pubsub": _Bounds(1.0, 0.01, 60.0),
}


def redis_client(
    url: Url | None = None, *, role: Role = "general", asynchronous: bool = False, timeout_s: float | None = None
) -> Any:
    """A client that acts as redis-py's `Redis` or `RedisCluster` (`asynchronous`: their twins), whichever the server needs.

    It connects on first use; that use raises what redis-py raises. `timeout_s`: connect and read, within the role's bounds.
    Raises ValueError for a URL, a role or a time-out that cannot be.
    """
    maker = Maker(resolve(url), _timeouts(role, timeout_s))
    return AsyncClient(maker) if asynchronous else Client(maker)


def new_connection(address: Url | tuple[str, int], *, timeout_s: float = 0.08, asynchronous: bool = False) -> Any:
    """One unpooled redis-py connection to one server, with a decision's time-out. Call `connect()` first and after each error.

    For a node of a cluster: `address.at(host, port)`. Behind sentinels connect() asks them who the master is.
    """
    place = Address("standalone", (address,)) if isinstance(address, tuple) else parse(address)
    return Maker(place, _timeouts("decision", timeout_s)).connection(asynchronous=asynchronous)


def node_client(url: Url, *, timeout_s: float | None = None, as_text: bool = False) -> Any:
    """A plain client of one server, whatever it is or shall become: for tools that set servers up. Never redirected."""
    return Maker(parse(url), _timeouts("general", timeout_s)).client(cluster=False, as_text=as_text)


def is_cluster(url: Url | None = None, *, timeout_s: float = 0.08) -> bool:
    """Whether the server runs as a cluster: asked once an address and process. Raises redis.RedisError when nobody answers."""
    return Maker(resolve(url), _timeouts("general", timeout_s)).is_cluster()


async def ais_cluster(url: Url | None = None, *, timeout_s: float = 0.08) -> bool:
    return await Maker(resolve(url), _timeouts("general", timeout_s)).ais_cluster()


def note_blocking() -> None:
    """To be called before a blocking call: on a thread that runs an event loop it is counted, and logged once a process."""
    global _has_warned  # noqa: PLW0603 - once a process; a second line by a race does no harm
    if asyncio._get_running_loop() is None:
        return
    telemetry.count("resilience_blocking_calls_total")
    if not _has_warned:
        _has_warned = True
        log.warning("a blocking call to Redis holds up this event loop: use the asynchronous twin", stack_info=True)


_has_warned = False


class Client:
    """A blocking client: redis-py's own, made on first use. `native()` is that object itself."""

    def __init__(self, maker: Maker) -> None:
        self._maker = maker
        self._native: Any = None
        self._lock = threading.Lock()
        _clients.add(self)

    @property
    def address(self) -> Address:
        return self._maker.address

    def native(self) -> Any:
        """redis-py's `Redis` or `RedisCluster`. Raises redis.RedisError when it is not known yet which, and nobody answers."""
        if self._native is not None:
            return self._native
        # Not under the lock: while a server is silent each thread waits for one time-out, not for all threads' before it.
        made = self._maker.client(cluster=self._maker.is_cluster())
        with self._lock:
            if self._native is None:
                self._native = made
        if self._native is not made:
            made.close()
        return self._native

    def is_cluster(self) -> bool:
        """Whether the server runs as a cluster. Raises redis.RedisError when it is not known yet, and nobody answers."""
        return self._maker.is_cluster()

    def close(self) -> None:
        with self._lock:
            native, self._native = self._native, None
        if native is not None:
            native.close()

    def _call(self, name: str, /, *args: Any, **kwargs: Any) -> Any:
        note_blocking()
        try:
            return getattr(self.native(), name)(*args, **kwargs)
        except MovedError:
            # A plain client was told of another node: the server has become a cluster since it was asked.
            self._maker.forget()
            self.close()
            raise
        except RedisClusterException as error:
            raise RedisConnectionError(str(error)) from error  # as when a slot has no master; it is no RedisError itself

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)  # copy and pickle look for these, and must not connect
        if is_called(name):
            return partial(self._call, name)
        return getattr(self.native(), name)

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Client of {self.address}>"

    def _forget_parent(self) -> None:
        """In a forked child: the parent's connections stay the parent's, and its threads may have held the lock."""
        if self._native is not None:
            _parents.append(self._native)
        self._native, self._lock = None, threading.Lock()


class AsyncClient:
    """The same for one event loop: redis-py's asynchronous client, made on first use.

    What returns at once (`pipeline()`, `pubsub()`, `scan_iter()`, attributes) must know what the server is: `await initialize()`
    or any awaited command before it asks without blocking; otherwise it is asked there and then, for at most two time-outs.
    """

    def __init__(self, maker: Maker) -> None:
        self._maker = maker
        self._native: Any = None
        _clients.add(self)

    @property
    def address(self) -> Address:
        return self._maker.address

    async def initialize(self) -> AsyncClient:
        """Learns what the server is. Raises redis.RedisError when nobody answers."""
        if self._native is None:
            cluster = await self._maker.ais_cluster()
            self._keep(cluster)
        try:
            await self._native.initialize()
        except RedisClusterException as error:
            self._maker.forget()
            raise RedisConnectionError(str(error)) from error
        return self

    def native(self) -> Any:
        """redis-py's own object."""
        if self._native is None:
            note_blocking()
            self._keep(self._maker.is_cluster())
        return self._native

    def _keep(self, cluster: bool) -> None:
        if self._native is None:  # two tasks may have asked at the same time; the first one's client serves both
            self._native = self._maker.client(cluster=cluster, asynchronous=True)

    async def aclose(self) -> None:
        native, self._native = self._native, None
        if native is not None:
            await native.aclose()

    async def _call(self, name: str, /, *args: Any, **kwargs: Any) -> Any:
        if self._native is None:
            self._keep(await self._maker.ais_cluster())
        try:
            return await getattr(self._native, name)(*args, **kwargs)
        except MovedError:
            self._maker.forget()
            await self.aclose()
            raise
        except RedisClusterException as error:
            self._maker.forget()
            raise RedisConnectionError(str(error)) from error

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return partial(self._call, name) if is_awaited(name) else getattr(self.native(), name)

    async def __aenter__(self) -> AsyncClient:
        return await self.initialize()

    async def __aexit__(self, *error: object) -> None:
        await self.aclose()

    def __repr__(self) -> str:
        return f"<AsyncClient of {self.address}>"

    def _forget_parent(self) -> None:
        if self._native is not None:
            _parents.append(self._native)
        self._native = None


def _timeouts(role: str, timeout_s: object) -> Timeouts:
    if role not in ROLES:
        raise ValueError(f"role is {role!r}; it takes {', '.join(ROLES)}")
    bounds = ROLES[role]
    if timeout_s is None:
        seconds = bounds.default_s
    elif isinstance(timeout_s, bool) or not isinstance(timeout_s, int | float) or not bounds.min_s <= timeout_s <= bounds.max_s:
        raise ValueError(f"timeout_s is {timeout_s!r}; for the role {role} it takes {bounds.min_s:g} to {bounds.max_s:g} seconds")
    else:
        seconds = float(timeout_s)
    return Timeouts(seconds, None if role == "pubsub" else seconds)  # a listener reads until there is news


_clients: Final[weakref.WeakSet[Client | AsyncClient]] = weakref.WeakSet()
# What a child was born with. It is never closed here: closing takes the driver's locks, which a parent's thread may have held.
_parents: Final[list[Any]] = []


def _after_fork() -> None:
    for client in list(_clients):
        client._forget_parent()


os.register_at_fork(after_in_child=_after_fork)


class _Callable(types.ModuleType):
    """`resilience.redis_client` is this module wherever it was imported, and the published name of the function: both work."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return redis_client(*args, **kwargs)


sys.modules[__name__].__class__ = _Callable
