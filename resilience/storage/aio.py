"""The connections of one event loop: many calls in flight on one connection a node, each reply to its own caller."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections import deque
from collections.abc import Callable, Generator, Mapping, Sequence
from typing import Any, Final, TypeVar

import hiredis

from resilience.storage.cluster import ASK_FOR_SLOTS, Routes
from resilience.storage.link import news_of, opened, why
from resilience.storage.wire import (
    ASKING,
    MISSING,
    Ask,
    Moved,
    Node,
    Pause,
    Reload,
    Stale,
    Step,
    Unseen,
    Unsent,
    gathered,
    reader,
)

T = TypeVar("T")

_CHUNK: Final = 65_536  # bytes a read
# Calls waiting on one connection. A server that stops answering is given up after a time-out; this bounds the memory until then.
MAX_WAITING: Final = 10_000

Waiting = tuple[asyncio.Future[Any], float, int]  # who waits, until when, for how many replies


class AsyncLink:
    """One socket, watched by the running loop. Replies come in the order of the calls, so a caller who went away (cancelled,
    timed out) keeps its place in the queue, and its reply is read and thrown away: nothing is ever left half read.

    It never holds the loop itself: a loop that ended without aclose() must be able to go, and its sockets with it.
    """

    def __init__(self, connection: Any, timeout_s: float) -> None:
        self._connection = connection
        self._sock: socket.socket = connection._sock
        self._sock.settimeout(0)
        self._is_tls = isinstance(self._sock, ssl.SSLSocket)
        self._has_news = news_of(self._sock)
        self._timeout_s = timeout_s
        parser = reader()
        self._feed = parser.feed
        self._gets = parser.gets
        self._waiting: deque[Waiting] = deque()
        self._partial: list[object] = []
        self._outbox = bytearray()
        self._timer: asyncio.TimerHandle | None = None
        self.is_usable = True  # False: takes no further call, and closes when nobody waits any more
        self._is_closed = False
        asyncio.get_running_loop().add_reader(self._sock.fileno(), self._readable)

    def ask(self, packed: bytes, number: int = 1) -> asyncio.Future[Any]:
        """The reply (`number` > 1: a list of so many) to come; it may fail with Unseen. Raises Unsent at once."""
        if not self._waiting and self._has_news(0):
            # Also when the loop was too busy to notice: a connection that ended while idle has run nothing.
            self.close("the server closed the idle connection")
            raise Stale("the server closed the idle connection")
        if len(self._waiting) >= MAX_WAITING:
            raise Unsent(f"{MAX_WAITING} calls are waiting already")
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._timeout_s
        future = loop.create_future()
        self._waiting.append((future, deadline, number))
        if self._timer is None:
            self._timer = loop.call_at(deadline, self._check)
        self._write(packed)
        return future

    def _write(self, packed: bytes) -> None:
        if not self._outbox:
            try:
                sent = self._sock.send(packed)
            except (BlockingIOError, InterruptedError, ssl.SSLWantWriteError, ssl.SSLWantReadError):
                sent = 0
            except OSError as error:
                # Perhaps nothing of it left, perhaps all of it before the reset: with other calls in flight nobody can tell.
                self._lost(error)
                return
            if sent == len(packed):
                return
            packed = packed[sent:]
            asyncio.get_running_loop().add_writer(self._sock.fileno(), self._writable)
        self._outbox += packed

    def _writable(self) -> None:
        try:
            # TLS wants the same bytes again after "try later", not the same object.
            del self._outbox[: self._sock.send(self._outbox)]
        except (BlockingIOError, InterruptedError, ssl.SSLWantWriteError, ssl.SSLWantReadError):
            return
        except OSError as error:
            self._lost(error)
            return
        if not self._outbox:
            asyncio.get_running_loop().remove_writer(self._sock.fileno())

    def _readable(self) -> None:
        try:
            while True:
                data = self._sock.recv(_CHUNK)
                if not data:
                    self._lost(ConnectionResetError("the server closed the connection"))
                    return
                self._feed(data)
                self._deliver()
                # Decrypted bytes wait inside the TLS layer, where no selector sees them: read until it has none.
                if not self._is_tls or self._is_closed:
                    break
        except (BlockingIOError, InterruptedError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            pass
        except (OSError, hiredis.HiredisError) as error:
            self._lost(error)
        if not self.is_usable and not self._waiting:
            self.close("it is no longer used")

    def _deliver(self) -> None:
        waiting = self._waiting
        while (reply := self._gets()) is not MISSING:
            if not waiting:
                self._lost(ConnectionError("a reply that nobody asked for"))
                return
            future, _, number = waiting[0]
            if number > 1:
                self._partial.append(reply)
                if len(self._partial) < number:
                    continue
                reply, self._partial = self._partial, []
            waiting.popleft()
            if not future.done():
                future.set_result(reply)

    def _check(self) -> None:
        """One timer for all: it looks at who has waited too long, and sets itself to the next one."""
        loop = asyncio.get_running_loop()
        self._timer = None
        now = loop.time()
        late = [item for item in self._waiting if item[1] <= now and not item[0].done()]
        for future, _, number in late:
            seen = self._partial if number > 1 and self._waiting[0][0] is future else ()
            future.set_exception(Unseen(f"sent, {why(TimeoutError(), self._timeout_s)}", seen))
        if late:
            # The next call opens a new connection; this one waits for the others in its queue, and ends.
            self.is_usable = False
        left = next((deadline for future, deadline, _ in self._waiting if not future.done()), None)
        if left is not None:
            self._timer = loop.call_at(left, self._check)
        elif not self.is_usable:
            self.close("nothing came back")

    def retire(self) -> None:
        self.is_usable = False
        if not self._waiting:
            self.close("it is no longer used")

    def is_made_of(self, connection: Any) -> bool:
        return self._connection is connection

    def _lost(self, error: Exception) -> None:
        self.close(why(error, self._timeout_s))

    def close(self, reason: str = "the store was closed", loop: asyncio.AbstractEventLoop | None = None) -> None:
        """In the loop's own thread, or with a `loop` that does not run. Whoever still waits gets an Unseen."""
        self.is_usable = False
        if self._is_closed:
            return
        self._is_closed = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        loop = loop or asyncio._get_running_loop()
        if loop is not None and not loop.is_closed():
            # Before the socket goes: its number is soon another socket's, and the loop would take that for this one.
            loop.remove_reader(self._sock.fileno())
            loop.remove_writer(self._sock.fileno())
        self._connection.disconnect()
        waiting, self._waiting = self._waiting, deque()
        for position, (future, _, number) in enumerate(waiting):
            if not future.done():
                future.set_exception(Unseen(f"sent, no reply: {reason}", self._partial if number > 1 and position == 0 else ()))


class LoopLinks:
    """The links of one event loop, a node each. Used in that loop alone."""

    def __init__(self, routes: Routes) -> None:
        self._routes = routes
        self._links: dict[Node | None, AsyncLink] = {}
        self._under_way: dict[object, asyncio.Task[Any]] = {}

    async def find(self) -> None:
        """As Routes.find(), off the loop."""
        await self._once("find", self._routes.find)

    async def ask(self, node: Node | None, packed: bytes, number: int = 1) -> Any:
        """The reply or replies. Raises Unsent, after one new connection where the old one had ended, or Unseen."""
        return await (await self._sent(node, packed, number))

    async def _sent(self, node: Node | None, packed: bytes, number: int = 1) -> asyncio.Future[Any]:
        link = self._links.get(node)
        if link is not None and link.is_usable:
            try:
                return link.ask(packed, number)
            except Stale:
                pass
        return (await self._opened(node)).ask(packed, number)

    async def _opened(self, node: Node | None) -> AsyncLink:
        # redis-py's handshake waits, so it runs in a thread; the socket that it leaves is ours.
        connection = await self._once(node, lambda: opened(self._routes.connection(node)))
        link = self._links.get(node)
        if link is None or not link.is_made_of(connection):
            link = self._links[node] = AsyncLink(connection, self._routes.timeout_s)
        return link

    async def _once(self, key: object, work: Callable[[], Any]) -> Any:
        """Does it in a thread; all who ask meanwhile wait for the same."""
        task = self._under_way.get(key)
        if task is None:
            task = self._under_way[key] = asyncio.ensure_future(asyncio.to_thread(work))
            task.add_done_callback(lambda done: self._done(key, done))
        bound_s = 5 * self._routes.timeout_s
        try:
            # Shielded: one caller's cancellation must not take the connection from the others. Bounded: the threads are the
            # loop's, and somebody else's work may fill them all.
            async with asyncio.timeout(bound_s):
                return await asyncio.shield(task)
        except TimeoutError as error:
            raise Unsent(f"no connection within {bound_s * 1000:.0f} ms") from error

    def _done(self, key: object, task: asyncio.Task[Any]) -> None:
        self._under_way.pop(key, None)
        if not task.cancelled():
            task.exception()  # retrieved here, since all who waited may have gone

    async def ask_many(self, groups: Mapping[Node | None, Sequence[int]], packed: Sequence[bytes]) -> list[object]:
        """As ThreadLinks.ask_many()."""
        met: list[object] = [None] * len(packed)
        sent: list[tuple[Sequence[int], asyncio.Future[Any]]] = []
        try:
            for node, places in groups.items():
                try:
                    sent.append((places, await self._sent(node, b"".join(packed[place] for place in places), len(places))))
                except Unsent as error:
                    gathered(met, places, (), error)
            for places, future in sent:
                try:
                    replies = await future
                    gathered(met, places, replies if len(places) > 1 else [replies])
                except Unseen as error:
                    gathered(met, places, error.seen, error)
        finally:
            for _, future in sent:
                future.cancel()  # when this call is cancelled: nobody would take their errors
        return met

    async def drive(self, steps: Generator[Step, Any, T]) -> T:
        """Does what a procedure asks for, to its end. Raises what it raises, and Unseen."""
        answer: object = None
        while True:
            try:
                step = steps.send(answer)
            except StopIteration as end:
                return end.value  # type: ignore[no-any-return]  # what a generator returns has no type here
            answer = await self._do(step)

    async def _do(self, step: Step) -> object:
        match step:
            case Ask(node, packed, asking):
                try:
                    return (await self.ask(node, ASKING + packed, 2))[1] if asking else await self.ask(node, packed)
                except Unsent as error:
                    return error
            case Pause(seconds):
                await asyncio.sleep(seconds)
            case Moved(slot, node):
                self._routes.moved(slot, node)
            case Reload(slot):
                await self._reload()
                return self._routes.owner(slot)
        return None

    async def _reload(self) -> None:
        for node in self._routes.to_ask():
            try:
                if self._routes.load(await self.ask(node, ASK_FOR_SLOTS), node):
                    return
            except (Unsent, Unseen):
                continue

    def drop(self, node: Node | None) -> None:
        """The next call connects anew; those in flight still get their replies."""
        link = self._links.pop(node, None)
        if link is not None:
            link.retire()

    def close(self, loop: asyncio.AbstractEventLoop | None = None) -> None:
        """In the loop's own thread, or with a `loop` that does not run."""
        for task in list(self._under_way.values()):
            task.cancel()
        for link in self._links.values():
            link.close(loop=loop)
        self._links.clear()
