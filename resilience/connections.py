"""redis-py's objects for an address: connections, pools, clients; without retries, after asking the server what it is."""

from __future__ import annotations

import inspect
from dataclasses import dataclass, replace
from functools import cache
from types import MethodType
from typing import Any, Final

import redis
import redis.asyncio
import redis.asyncio.cluster
import redis.asyncio.connection
import redis.asyncio.retry
import redis.asyncio.sentinel
import redis.connection
import redis.sentinel
from redis.backoff import NoBackoff
from redis.cluster import ClusterNode
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import NoPermissionError, RedisClusterException, RedisError, ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError
from redis.retry import Retry

from resilience.address import Address, connection_options
from resilience.redis_cluster import Cluster

# Frozen servers are asked one after the other, each for a whole time-out; after this many the caller has waited enough.
MAX_SILENT: Final = 2

# What each address turned out to be. Only what a server answered is kept, never a failure.
_is_cluster: Final[dict[Address, bool]] = {}


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds; `read_s` None waits for ever, as a listener does."""

    connect_s: float
    read_s: float | None


def no_retry(*, asynchronous: bool) -> Any:
    """redis-py's own default repeats a call that may have run: it counted one twice, and made 6 s of a pause of 0.3 s."""
    return redis.asyncio.retry.Retry(NoBackoff(), 0) if asynchronous else Retry(NoBackoff(), 0)


class _Sentinel(redis.sentinel.Sentinel):
    """Asked once in a while, when a connection to the master is made: so it keeps none of its own, which nobody would close."""

    def discover_master(self, service_name: str) -> Any:
        stock: Any = super()
        try:
            return stock.discover_master(service_name)
        finally:
            self.close()


class _AsyncSentinel(redis.asyncio.sentinel.Sentinel):
    async def discover_master(self, service_name: str) -> Any:
        stock: Any = super()
        try:
            return await stock.discover_master(service_name)
        finally:
            await self.aclose()


def _greet(connection: Any) -> None:
    """At the end of a connect over TLS.

    Version 1.3 sends session tickets behind the handshake. A pool takes them for a forgotten reply and refuses the connection
    (redis-py 8.1 with hiredis), unless something has been read since; its own first commands would, and we send none of them.
    """
    if not isinstance(connection.redis_connect_func, MethodType):  # a cluster's client has done this already, and calls us then
        connection.on_connect()
    connection.send_command("PING", check_health=False)
    connection.read_response()


class WrongServerError(RedisConnectionError):
    """The server is not of the kind that its URL says, and no client could make up for it."""


class Maker:
    """Turns an address and time-outs into redis-py's objects."""

    def __init__(self, address: Address, timeouts: Timeouts) -> None:
        self.address = address
        self._timeouts = timeouts

    def _options(self, *, asynchronous: bool) -> dict[str, Any]:
        return {
            **({"redis_connect_func": _greet} if self.address.tls and not asynchronous else {}),
            **connection_options(self.address),
            "socket_connect_timeout": self._timeouts.connect_s,
            "socket_timeout": self._timeouts.read_s,
            # RESP2: version 3 would add a HELLO to each connect and switch on the driver's own time-outs during maintenance.
            "protocol": 2,
            "driver_info": None,  # its two CLIENT SETINFO are two round trips of each connect, inside a decision's time-out
        }

    def _pool_options(self, *, asynchronous: bool) -> dict[str, Any]:
        address = self.address
        library: Any = redis.asyncio.connection if asynchronous else redis.connection
        options = {**self._options(asynchronous=asynchronous), "db": address.db, "retry": no_retry(asynchronous=asynchronous)}
        if address.kind == "unix":
            return {**options, "connection_class": library.UnixDomainSocketConnection, "path": address.path}
        host, port = address.hosts[0]
        kind = library.SSLConnection if address.tls else library.Connection
        return {**options, "connection_class": kind, "host": host, "port": port, "socket_keepalive": True}

    def _sentinel(self, *, asynchronous: bool) -> Any:
        address = self.address
        library: Any = redis.asyncio.sentinel if asynchronous else redis.sentinel
        kind: Any = _AsyncSentinel if asynchronous else _Sentinel
        login = {"username": address.sentinel_username, "password": address.sentinel_password}
        own = {
            **self._options(asynchronous=asynchronous),
            **login,
            "retry": no_retry(asynchronous=asynchronous),
            "ssl": address.tls,
        }
        # A sentinel answers at once or not at all; without a bound a listener would wait for a frozen one for ever.
        own["socket_timeout"] = self._timeouts.connect_s
        manager = kind(address.hosts, sentinel_kwargs=own)
        options = {
            **self._options(asynchronous=asynchronous),
            "db": address.db,
            "retry": no_retry(asynchronous=asynchronous),
            "ssl": address.tls,
        }
        return library.SentinelConnectionPool(address.service, manager, **options)

    def connection(self, *, asynchronous: bool = False) -> Any:
        if self.address.kind == "cluster":
            raise ValueError("a connection leads to one server: name a node of the cluster, address.at(host, port)")
        if self.address.kind == "sentinel":
            pool = self._sentinel(asynchronous=asynchronous)
            made = pool.make_connection()
            made.permsite_pool = pool  # the connection refers to its pool weakly, and asks it for the master at each connect()
            return made
        options = self._pool_options(asynchronous=asynchronous)
        return options.pop("connection_class")(**options)

    def client(self, *, cluster: bool, asynchronous: bool = False, as_text: bool = False) -> Any:
        """`as_text`: replies are str, not bytes; for one server only."""
        address = self.address
        library: Any = redis.asyncio if asynchronous else redis
        if cluster:
            node: Any = redis.asyncio.cluster.ClusterNode if asynchronous else ClusterNode
            kind: Any = redis.asyncio.RedisCluster if asynchronous else Cluster
            try:
                return kind(
                    startup_nodes=[node(host, port) for host, port in address.hosts],
                    retry=no_retry(asynchronous=asynchronous),
                    require_full_coverage=False,  # slots whose master is gone must not refuse all the others
                    ssl=address.tls,
                    **self._options(asynchronous=asynchronous),
                )
            except RedisClusterException as error:
                # The blocking one connects here, and raises what is no RedisError; it may no longer be a cluster, too.
                self.forget()
                raise RedisConnectionError(str(error)) from error
        if address.kind == "sentinel":
            return library.Redis.from_pool(self._sentinel(asynchronous=asynchronous))
        options = {**self._pool_options(asynchronous=asynchronous), "decode_responses": as_text}
        return library.Redis.from_pool(library.ConnectionPool(**options))

    # What it is.

    def is_cluster(self) -> bool:
        """Whether the server runs as a cluster, whatever its URL says. Raises RedisError when nobody answers."""
        known = self._known()
        if known is not None:
            return known
        failed: list[RedisError] = []
        for seed in self._seeds():
            connection = seed.connection()
            try:
                connection.connect()
                return self._learnt(_ask(connection))
            except RedisError as error:
                failed.append(error)
            finally:
                connection.disconnect()
            if _has_waited_enough(failed):
                break
        raise failed[0]

    async def ais_cluster(self) -> bool:
        known = self._known()
        if known is not None:
            return known
        failed: list[RedisError] = []
        for seed in self._seeds():
            connection = seed.connection(asynchronous=True)
            try:
                await connection.connect()
                return self._learnt(await _aask(connection))
            except RedisError as error:
                failed.append(error)
            finally:
                await connection.disconnect()
            if _has_waited_enough(failed):
                break
        raise failed[0]

    def forget(self) -> None:
        """The next use asks the server again: it behaved as another kind than it said."""
        _is_cluster.pop(self.address, None)

    def _known(self) -> bool | None:
        if self.address.kind == "sentinel":
            return False  # sentinels watch over single masters only
        return _is_cluster.get(self.address)

    def _seeds(self) -> list[Maker]:
        timeouts = replace(self._timeouts, read_s=self._timeouts.connect_s)  # a listener's endless read is not for this
        address = replace(self.address, db=0)  # a cluster refuses to SELECT another, before it says that it is one
        if address.kind == "unix":
            return [Maker(address, timeouts)]
        return [Maker(address.at(*host), timeouts) for host in address.hosts]

    def _learnt(self, told: bool | None) -> bool:
        address = self.address
        found = address.kind == "cluster" if told is None else told
        problem = ""
        if found and address.kind == "unix":
            problem = "the server on this socket is a node of a cluster; its clients need addresses: redis+cluster://host:port,…/"
        elif found and address.db:
            problem = f"the server is a node of a cluster, which has no databases but 0; the URL names {address.db}"
        elif not found and len(address.hosts) > 1:
            problem = "the URL names several nodes of a cluster, but the one that answered has its cluster mode off"
        if problem:
            raise WrongServerError(problem)
        _is_cluster[address] = found
        return found


def _has_waited_enough(failed: list[RedisError]) -> bool:
    silent = sum(isinstance(error, RedisTimeoutError) for error in failed)
    return silent >= MAX_SILENT or isinstance(failed[-1], WrongServerError)


# The user of a restricted login may not be allowed INFO, or CLUSTER either: then None, and the URL is believed.


def _ask(connection: Any) -> bool | None:
    try:
        connection.send_command("INFO", "cluster")
        return b"cluster_enabled:1" in connection.read_response()
    except NoPermissionError:
        pass
    try:
        connection.send_command("CLUSTER", "INFO")
        connection.read_response()
    except NoPermissionError:
        return None
    except ResponseError:
        return False  # "This instance has cluster support disabled"
    return True


async def _aask(connection: Any) -> bool | None:
    try:
        await connection.send_command("INFO", "cluster")
        return b"cluster_enabled:1" in await connection.read_response()
    except NoPermissionError:
        pass
    try:
        await connection.send_command("CLUSTER", "INFO")
        await connection.read_response()
    except NoPermissionError:
        return None
    except ResponseError:
        return False
    return True


# What a client does, told by redis-py's classes alone: asking an object for it would connect.


@cache
def is_called(name: str) -> bool:
    """Whether the name is a method of one of the blocking clients."""
    return any(callable(getattr(kind, name, None)) for kind in (redis.Redis, redis.RedisCluster))


@cache
def is_awaited(name: str) -> bool:
    """Whether the name is a method of one of the asynchronous clients that returns an awaitable."""
    for kind in (redis.asyncio.Redis, redis.asyncio.RedisCluster):
        for base in kind.__mro__:
            found = vars(base).get(name)
            if found is not None:
                # Commands are plain functions that return an awaitable; scan_iter and register_script do not.
                is_command = base.__module__ in _COMMANDS and callable(found) and not inspect.isasyncgenfunction(found)
                return inspect.iscoroutinefunction(found) or (is_command and name != "register_script")
    return False


_COMMANDS: Final = frozenset({"redis.commands.core", "redis.commands.cluster"})
