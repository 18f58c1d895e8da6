"""A store on Redis or Valkey, one server or a cluster: EVALSHA packed straight onto a connection of the thread or event loop."""

from __future__ import annotations

import asyncio
import os
import re
import threading
import time
import weakref
from collections.abc import Sequence
from typing import Any, Final, Literal

from resilience import redis_client
from resilience.address import Address, parse
from resilience.bus import Bus
from resilience.errors import StorageError, StorageTimeout
from resilience.laws.keyspace import Reply
from resilience.redis_bus import RedisBus
from resilience.storage.aio import LoopLinks
from resilience.storage.base import Args, Call, Storage, StorageHealth, local_store
from resilience.storage.cluster import Routes, checkup
from resilience.storage.given import address_of
from resilience.storage.threads import ThreadLinks
from resilience.storage.wire import ErrorReply, Node, Unseen, Unsent, complaint, evalsha, noted, recovery

_PREFIX: Final = re.compile(r"[A-Za-z0-9_.:-]{0,100}")
# The connection leads to a server that will not serve for a while, or that no longer knows us: a new one may lead elsewhere.
_DROPPED: Final = frozenset({"READONLY", "LOADING", "MASTERDOWN", "NOAUTH"})


class RedisStore:
    """Connects on first use; a server behind `redis://` that says it is a cluster is used as one.

    `url`: see redis_client(); None means REDIS_URL. `client`, `async_client`: instead of it, clients of redis-py whose address is
    taken over. `prefix`: before every key and channel. `timeout_s`: to connect, and for each reply. Nothing is repeated that may
    have run. After close() the next call connects again. Raises ValueError for an argument that cannot be.
    """

    name: Final[Literal["redis"]] = "redis"

    def __init__(
        self, url: str | None = None, *, client: Any = None, async_client: Any = None, prefix: str = "", timeout_s: float = 0.08
    ) -> None:
        self.prefix = _checked_prefix(prefix)
        self._routes = Routes(_address(url, client, async_client), _checked_timeout(timeout_s))
        self._threads = ThreadLinks(self._routes)
        self._loops: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, LoopLinks] = weakref.WeakKeyDictionary()
        self._lock = threading.Lock()
        self._bus: RedisBus | None = None
        self._state: tuple[bool, float] | None = None
        _stores.add(self)

    @property
    def local(self) -> Storage:
        return local_store()

    @property
    def bus(self) -> Bus:
        with self._lock:
            if self._bus is None:
                self._bus = RedisBus(self._routes.address)
            return self._bus

    def channel(self, name: str) -> str:
        return self.prefix + name

    def run(self, op: str, tag: str, args: Args = (), now: int = 0) -> Reply:
        redis_client.note_blocking()
        packed = evalsha(op, self.prefix, tag, args, now)
        routes = self._routes
        node: Node | None = None
        met: object
        try:
            if not routes.is_known:
                routes.find()
            node = routes.node(tag)
            met = self._threads.ask(node, packed)
            if type(met) is list:
                return met
        except Unsent as error:
            met = error
        except Unseen as error:
            raise _unseen(op, error) from error
        return self._settled(op, tag, args, now, node=node, met=met)

    async def arun(self, op: str, tag: str, args: Args = (), now: int = 0) -> Reply:
        packed = evalsha(op, self.prefix, tag, args, now)
        links = self._links()
        routes = self._routes
        node: Node | None = None
        met: object
        try:
            if not routes.is_known:
                await links.find()
            node = routes.node(tag)
            met = await links.ask(node, packed)
            if type(met) is list:
                return met
        except Unsent as error:
            met = error
        except Unseen as error:
            raise _unseen(op, error) from error
        return await self._asettled(op, tag, args, now, links=links, node=node, met=met)

    def run_many(self, calls: Sequence[Call], now: int = 0) -> list[Reply | StorageError]:
        redis_client.note_blocking()
        packed = [evalsha(op, self.prefix, tag, args, now) for op, tag, args in calls]
        try:
            self._routes.find()
        except Unsent as error:
            return [noted(error.kind(op, str(error))) for op, _, _ in calls]
        nodes = [self._routes.node(tag) for _, tag, _ in calls]
        met = self._threads.ask_many(_groups(nodes), packed)
        return [self._item(call, now, node, one) for call, node, one in zip(calls, nodes, met, strict=True)]

    async def arun_many(self, calls: Sequence[Call], now: int = 0) -> list[Reply | StorageError]:
        packed = [evalsha(op, self.prefix, tag, args, now) for op, tag, args in calls]
        links = self._links()
        try:
            if not self._routes.is_known:
                await links.find()
        except Unsent as error:
            return [noted(error.kind(op, str(error))) for op, _, _ in calls]
        nodes = [self._routes.node(tag) for _, tag, _ in calls]
        met = await links.ask_many(_groups(nodes), packed)
        return [await self._aitem(links, call, now, node, one) for call, node, one in zip(calls, nodes, met, strict=True)]

    attempt = run
    aattempt = arun
    attempt_many = run_many
    aattempt_many = arun_many

    def _item(self, call: Call, now: int, node: Node | None, met: object) -> Reply | StorageError:
        """One reply of a pipeline. What the server did not run is done again by itself, so its error is its own."""
        if type(met) is list:
            return met
        try:
            return self._settled(*call, now, node=node, met=met)
        except StorageError as error:
            return error

    async def _aitem(self, links: LoopLinks, call: Call, now: int, node: Node | None, met: object) -> Reply | StorageError:
        if type(met) is list:
            return met
        try:
            return await self._asettled(*call, now, links=links, node=node, met=met)
        except StorageError as error:
            return error

    def _settled(self, op: str, tag: str, args: Args, now: int, *, node: Node | None, met: object) -> Reply:
        """What becomes of a call that did not get its answer at once."""
        self._take_note(node, met, self._threads)
        try:
            return self._threads.drive(recovery(op, self.prefix, tag, args, now, node=node, met=met))
        except Unseen as error:
            raise _unseen(op, error) from error
        except StorageError as error:
            raise noted(error)  # noqa: B904 - the same error, counted

    async def _asettled(
        self, op: str, tag: str, args: Args, now: int, *, links: LoopLinks, node: Node | None, met: object
    ) -> Reply:
        self._take_note(node, met, links)
        try:
            return await links.drive(recovery(op, self.prefix, tag, args, now, node=node, met=met))
        except Unseen as error:
            raise _unseen(op, error) from error
        except StorageError as error:
            raise noted(error)  # noqa: B904 - the same error, counted

    def _take_note(self, node: Node | None, met: object, links: ThreadLinks | LoopLinks) -> None:
        if isinstance(met, ErrorReply):
            code = met.code
            if code in _DROPPED:
                links.drop(node)
            elif code == "MOVED" and node is None:
                self._routes.forget()  # it has become a cluster

    def health(self) -> StorageHealth:
        """Asks every master, and whether it would take a write. Never raises."""
        took_s = 0.0
        try:
            self._routes.find()
            problem, took_s = self._threads.drive(checkup(self._routes))
        except (Unsent, Unseen) as error:
            problem = complaint(error)
        return self._health(problem, took_s)

    async def ahealth(self) -> StorageHealth:
        took_s = 0.0
        links = self._links()
        try:
            await links.find()
            problem, took_s = await links.drive(checkup(self._routes))
        except (Unsent, Unseen) as error:
            problem = complaint(error)
        return self._health(problem, took_s)

    def _health(self, problem: str, took_s: float) -> StorageHealth:
        is_ok = not problem
        with self._lock:
            if self._state is None or self._state[0] != is_ok:
                self._state = (is_ok, time.time())
            since = self._state[1]
        kind = self._routes.address.kind
        mode = "cluster" if self._routes.is_cluster else "sentinel" if kind == "sentinel" else "standalone"
        return StorageHealth(is_ok, mode, took_s * 1000 if is_ok else None, problem, since)

    def close(self) -> None:
        """Closes the connections of all threads and loops. A call under way is a StorageTimeout, a later one connects anew."""
        self._close_links()
        bus = self._bus_taken()
        if bus is not None:
            bus.close()

    async def aclose(self) -> None:
        self._close_links()
        bus = self._bus_taken()
        if bus is not None:
            await asyncio.to_thread(bus.close)

    def _bus_taken(self) -> RedisBus | None:
        with self._lock:
            bus, self._bus = self._bus, None
        return bus

    def _close_links(self) -> None:
        self._threads.close()
        for loop, links in list(self._loops.items()):
            if loop.is_running() and loop is not asyncio._get_running_loop():
                loop.call_soon_threadsafe(links.close)
            else:
                links.close(loop)

    def _links(self) -> LoopLinks:
        loop = asyncio.get_running_loop()
        links = self._loops.get(loop)
        if links is None:
            with self._lock:
                # Loops that ended without aclose(): their sockets go now.
                for other in [other for other in self._loops if other.is_closed()]:
                    self._loops.pop(other).close(other)
                links = self._loops[loop] = LoopLinks(self._routes)
        return links

    def forget_parent(self) -> None:
        """For a forked child: sockets, locks and loops are its parent's, and stay open there."""
        self._threads = ThreadLinks(self._routes)
        self._loops = weakref.WeakKeyDictionary()
        self._lock = threading.Lock()
        self._bus = None


def _checked_prefix(prefix: object) -> str:
    if not isinstance(prefix, str) or not _PREFIX.fullmatch(prefix):
        # A brace would become the hash tag of every key, and put them all into one slot.
        raise ValueError(f"prefix is {prefix!r:.100}; it takes up to 100 letters, digits, '_', '.', ':' or '-'")
    return prefix


def _checked_timeout(timeout_s: object) -> float:
    if isinstance(timeout_s, bool) or not isinstance(timeout_s, int | float) or not 0.01 <= timeout_s <= 60:
        raise ValueError(f"timeout_s is {timeout_s!r}; it takes 0.01 to 60 seconds (0.05 to 0.1 where requests wait for it)")
    return timeout_s


def _address(url: str | None, client: Any, async_client: Any) -> Address:
    given = [address_of(one) for one in (client, async_client) if one is not None]
    if not given:
        return parse(url if url is not None else redis_client.default_url())
    if url is not None:
        raise ValueError("a store takes a url or a client, not both")
    if given[0] != given[-1]:
        raise ValueError(f"client leads to {given[0]}, async_client to {given[-1]}: a store has one server")
    return given[0]


def _groups(nodes: Sequence[Node | None]) -> dict[Node | None, list[int]]:
    groups: dict[Node | None, list[int]] = {}
    for place, node in enumerate(nodes):
        groups.setdefault(node, []).append(place)
    return groups


def _unseen(op: str, error: Unseen) -> StorageTimeout:
    timeout = StorageTimeout(op, str(error))
    noted(timeout)
    return timeout


# For forks alone; a store that nobody uses may go.
_stores: weakref.WeakSet[RedisStore] = weakref.WeakSet()


def _after_fork() -> None:
    for store in list(_stores):
        store.forget_parent()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
