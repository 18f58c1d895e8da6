"""The bus between processes: hears and speaks through any live node, and finds another when that one dies or freezes."""

from __future__ import annotations

import contextlib
import logging
import os
import random
import selectors
import socket
import threading
import weakref
from collections.abc import Callable
from typing import Any, Final

from redis.exceptions import AuthenticationError, NoPermissionError, RedisError, ResponseError
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from resilience import telemetry
from resilience.address import Address, Url, resolve
from resilience.bus import Listener, body_of, checked_channel, tell
from resilience.connections import Maker, Timeouts
from resilience.errors import StorageAuthError, StorageError, StorageTimeout, StorageUnavailable
from resilience.redis_client import note_blocking

log = logging.getLogger("resilience.bus")

# Seconds; chosen so that a listener whose node is killed or frozen hears again well within the five that our test allows: silence
# is noticed after PING_S + PONG_S, and a node that does not answer costs TIMEOUT_S before the next one is tried.
TIMEOUT_S: Final = 0.5
PING_S: Final = 1.0
PONG_S: Final = 1.0
MIN_WAIT_S: Final = 0.05
MAX_WAIT_S: Final = 1.0
JOIN_S: Final = 2.0  # a callback that waits for whoever closes the bus must not hold it for ever


class RedisBus:
    """One daemon thread, begun by the first subscribe(); callbacks run in it, one after the other."""

    def __init__(self, url: Url | None = None) -> None:
        self._nodes = _Nodes(resolve(url))
        self._listeners: tuple[tuple[str, Listener], ...] = ()
        self._reconnected: tuple[Callable[[], object], ...] = ()
        self._start_anew()
        _buses.add(self)

    def _start_anew(self) -> None:
        """Without thread and connection: a new bus, or one in a forked child, where the parent's locks may be held for ever."""
        self._lock = threading.Lock()
        self._speaking = threading.Lock()
        self._speaker: Any = None
        self._ear: _Ear | None = None

    def publish(self, channel: str, message: str | bytes) -> None:
        """Tells one node after the other until one has taken it; a node that was silent may have taken it too."""
        command = ("PUBLISH", checked_channel(channel), body_of(message))
        note_blocking()
        if self._listeners and self._ear is None:
            self._listen()  # a forked child hears again from here on
        with self._speaking:
            try:
                self._say(command)
            except RedisError as error:
                raise _translated(error, self._nodes.address) from error

    def _say(self, command: tuple[str, str, bytes]) -> None:
        """The caller holds `_speaking`."""
        if self._speaker is not None:
            try:
                _answer(self._speaker, *command)
                return
            except RedisError as error:
                # A server that restarted has closed the connection; another node of a cluster may be alive. But the only server
                # there is, silent once, would only be silent again.
                self._speaker = None
                if isinstance(error, RedisTimeoutError) and not self._nodes.are_several:
                    raise
        self._speaker = self._nodes.first_live(*command)

    def subscribe(self, channel: str, callback: Listener) -> Callable[[], None]:
        """Returns at once; `on_reconnect` callbacks run when the channel is heard."""
        entry = (checked_channel(channel), callback)
        with self._lock:
            self._listeners = (*self._listeners, entry)
        self._listen()

        def unsubscribe() -> None:
            with self._lock:
                self._listeners = tuple(other for other in self._listeners if other is not entry)
                if self._ear is not None:
                    self._ear.wake()

        return unsubscribe

    def on_reconnect(self, callback: Callable[[], object]) -> Callable[[], None]:
        entry = callback
        with self._lock:
            self._reconnected = (*self._reconnected, entry)

        def remove() -> None:
            with self._lock:
                self._reconnected = tuple(other for other in self._reconnected if other is not entry)

        return remove

    @property
    def is_listening(self) -> bool:
        """Whether every channel subscribed to is heard at this moment."""
        ear = self._ear
        return ear is not None and ear.is_listening

    def close(self) -> None:
        """Ends the thread and forgets the listeners."""
        with self._lock:
            self._listeners = self._reconnected = ()
            ear, self._ear = self._ear, None
        if ear is not None:
            ear.stop()
        with self._speaking:
            speaker, self._speaker = self._speaker, None
        if speaker is not None:
            speaker.disconnect()

    def _listen(self) -> None:
        with self._lock:
            if self._ear is None:
                self._ear = _Ear(self, self._nodes)
            else:
                self._ear.wake()

    # For the thread.

    def channels(self) -> set[str]:
        return {name for name, _ in self._listeners}

    def heard(self, channel: bytes, message: bytes) -> None:
        name = channel.decode(errors="surrogateescape")
        for other, callback in self._listeners:
            if other == name:
                tell("listener", callback, message)

    def began(self) -> None:
        for callback in self._reconnected:
            tell("on_reconnect", callback)


class _Ear:
    """The listening thread: connects, subscribes, reads, notices silence, and begins again, until it is stopped."""

    def __init__(self, bus: RedisBus, nodes: _Nodes) -> None:
        self.is_listening = False
        self._bus = bus
        self._nodes = nodes
        self._is_stopped = False
        self._is_told = False
        self._woken, self._waker = socket.socketpair()
        self._woken.setblocking(False)
        self._waker.setblocking(False)
        self._thread = threading.Thread(target=self._run, name="resilience-bus", daemon=True)
        self._thread.start()

    def wake(self) -> None:
        with contextlib.suppress(OSError):  # full: it is awake already; closed: it has ended
            self._waker.send(b"w")

    def stop(self) -> None:
        self._is_stopped = True
        self.wake()
        if threading.current_thread() is not self._thread:
            self._thread.join(JOIN_S)

    def _run(self) -> None:
        wait_s = MIN_WAIT_S
        with self._woken, self._waker:
            while not self._is_stopped:
                connection = None
                try:
                    connection = self._nodes.first_live()
                    self._hear(connection)
                except Exception as error:  # noqa: BLE001 - whatever it was, the thread goes on: nobody would notice its end
                    self._failed(error)
                finally:
                    if connection is not None:
                        connection.disconnect()
                wait_s = MIN_WAIT_S if self.is_listening else min(wait_s * 2, MAX_WAIT_S)
                self.is_listening = False
                if not self._is_stopped:
                    # Spread over half of the wait, or all processes would come to the one node that is left at the same moment.
                    self._wait(wait_s * random.uniform(0.5, 1.0))  # noqa: S311 - no secret

    def _failed(self, error: Exception) -> None:
        if self.is_listening:
            telemetry.count("resilience_bus_lost_total")
        if not self._is_told:
            self._is_told = True  # once an outage, not once an attempt
            log.warning("the bus does not hear %s: %s", self._nodes.address, type(error).__name__)
        if not isinstance(error, RedisError | OSError):
            telemetry.internal_error("bus", "listen", error)

    def _hear(self, connection: Any) -> None:
        asked: set[str] = set()
        pending: set[bytes] = set()
        is_pinged = False
        with selectors.DefaultSelector() as selector:
            selector.register(self._woken, selectors.EVENT_READ)
            # redis-py has no way to wait for a connection and for something else; its socket, private there, is that way.
            selector.register(connection._sock, selectors.EVENT_READ)
            while not self._is_stopped:
                wanted = self._bus.channels()
                if new := wanted - asked:
                    connection.send_command("SUBSCRIBE", *new)
                    pending.update(name.encode(errors="surrogateescape") for name in new)
                    self.is_listening = False
                if gone := asked - wanted:
                    connection.send_command("UNSUBSCRIBE", *gone)
                asked = wanted
                # The parser may hold several replies of one read, which the selector knows nothing of.
                while connection.can_read(0):
                    is_pinged = False
                    self._take(connection.read_response(), pending)
                if asked and not pending and not self.is_listening:
                    self.is_listening = True
                    if self._is_told:
                        self._is_told = False
                        log.info("the bus hears %s again", self._nodes.address)
                    self._bus.began()
                    continue  # a callback may have subscribed to more
                ready = selector.select(PONG_S if is_pinged else PING_S)
                if any(key.fileobj is self._woken for key, _ in ready):
                    self._drain()
                elif not ready and is_pinged:
                    raise RedisTimeoutError("the node is silent")
                elif not ready:
                    # A frozen node, or a network that swallows packets, closes nothing.
                    connection.send_command("PING")
                    is_pinged = True

    def _take(self, reply: Any, pending: set[bytes]) -> None:
        if not isinstance(reply, list) or len(reply) != 3:
            return  # the PONG, which is a list of two here
        kind, channel, value = reply
        if kind == b"message":
            self._bus.heard(channel, value)
        elif kind == b"subscribe":
            pending.discard(channel)

    def _wait(self, seconds: float) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(self._woken, selectors.EVENT_READ)
            selector.select(seconds)
        self._drain()

    def _drain(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while self._woken.recv(512):
                pass


class _Nodes:
    """The servers of one address, in the order in which to try them."""

    def __init__(self, address: Address) -> None:
        self.address = address
        self._maker = Maker(address, _TIMEOUTS)
        self._known: tuple[tuple[str, int], ...] = ()
        self._silent: tuple[str, int] | None = None

    @property
    def are_several(self) -> bool:
        return len(set(self.address.hosts) | set(self._known)) > 1

    def _places(self) -> list[Address]:
        """Raises RedisError when it is not known yet what the server is, and nobody answers."""
        if not self._maker.is_cluster():
            return [self.address if self.address.kind != "cluster" else self.address.at(*self.address.hosts[0])]
        hosts = list({*self.address.hosts, *self._known})
        random.shuffle(hosts)  # the listeners of many processes spread over the nodes
        hosts.sort(key=lambda host: host == self._silent)  # the one that failed last comes last
        return [self.address.at(*host) for host in hosts]

    def first_live(self, *command: str | bytes) -> Any:
        """A connection to the first node that answers, to the command if one is given. Raises what the first one raised."""
        first: RedisError | None = None
        for place in self._places():
            try:
                connection = self._connect(place)
                if command:
                    _answer(connection, *command)
            except RedisError as error:
                first = first or error
            else:
                return connection
        raise first or RedisConnectionError("the address names no server")

    def _connect(self, place: Address) -> Any:
        """Raises RedisError unless the server answers: a frozen one accepts connections too."""
        connection = Maker(place, _TIMEOUTS).connection()
        try:
            connection.connect()
            if self._maker.is_cluster():
                self._learn(_answer(connection, "CLUSTER", "SLOTS"), place)
            else:
                _answer(connection, "PING")
        except RedisError as error:
            connection.disconnect()
            self._silent = place.hosts[0] if place.hosts else None
            if isinstance(error, ResponseError):
                self._maker.forget()  # it may have become another kind of server
            raise
        return connection

    def _learn(self, slots: Any, place: Address) -> None:
        """All nodes, so that the death of every one that the URL names does not matter."""
        if not isinstance(slots, list):
            return
        found = {
            # A node that knows no name of its own tells an empty one: it is where we found it.
            ((node[0] or b"").decode() or place.hosts[0][0], int(node[1]))
            for _first, _last, *nodes in slots
            for node in nodes
        }
        self._known = tuple(found)


def _answer(connection: Any, *command: str | bytes) -> Any:
    connection.send_command(*command)
    return connection.read_response()


def _translated(error: RedisError, address: Address) -> StorageError:
    if isinstance(error, AuthenticationError | NoPermissionError):
        return StorageAuthError("publish", f"{address} refuses our login, or this channel to it")
    if isinstance(error, RedisTimeoutError):
        return StorageTimeout("publish", f"{address} does not answer")
    return StorageUnavailable("publish", f"{address}: {type(error).__name__}")


_TIMEOUTS: Final = Timeouts(TIMEOUT_S, TIMEOUT_S)
_buses: Final[weakref.WeakSet[RedisBus]] = weakref.WeakSet()


def _after_fork() -> None:
    for bus in list(_buses):
        bus._start_anew()


os.register_at_fork(after_in_child=_after_fork)
