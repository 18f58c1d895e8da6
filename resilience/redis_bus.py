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

from redis.exceptions import AuthenticationError, NoPermissionError, RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError

from resilience import telemetry
from resilience.address import Address, Url, resolve
from resilience.bus import Listener, body_of, checked_channel, tell
from resilience.errors import StorageAuthError, StorageError, StorageTimeout, StorageUnavailable
from resilience.redis_client import note_blocking
from resilience.redis_nodes import Nodes, answer

# Its own, for a thread of ours must not move the sequence that a program has seeded for itself.
_draw = random.Random()  # noqa: S311 - it spreads a load, it guards nothing

log = logging.getLogger("resilience.bus")

# Seconds; chosen so that a listener whose node is killed or frozen hears again well within the five that our test allows: silence
# is noticed after PING_S + PONG_S.
PING_S: Final = 1.0
PONG_S: Final = 1.0
MIN_WAIT_S: Final = 0.05
MAX_WAIT_S: Final = 1.0
MAX_TAKEN: Final = 1_000  # replies in a row: a busy channel must not keep a new subscription waiting
JOIN_S: Final = 2.0  # a callback that waits for whoever closes the bus must not hold it for ever


class RedisBus:
    """One daemon thread, begun by the first subscribe(); callbacks run in it, one after the other."""

    def __init__(self, url: Url | None = None) -> None:
        self._nodes = Nodes(resolve(url))
        self._listeners: dict[str, tuple[Listener, ...]] = {}
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
                answer(self._speaker, *command)
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
        name = checked_channel(channel)

        def once(message: bytes) -> None:  # an object of its own, so that the same callback may listen twice
            callback(message)

        with self._lock:
            self._listeners[name] = (*self._listeners.get(name, ()), once)
        self._listen()

        def unsubscribe() -> None:
            with self._lock:
                left = tuple(other for other in self._listeners.pop(name, ()) if other is not once)
                if left:
                    self._listeners[name] = left
                elif self._ear is not None:
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

    def is_heard(self, channel: str) -> bool:
        """Whether a message to the channel would be heard at this moment."""
        ear = self._ear
        return ear is not None and channel in ear.heard

    def close(self) -> None:
        """Ends the thread and forgets the listeners."""
        with self._lock:
            self._listeners.clear()
            self._reconnected = ()
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
        with self._lock:
            return set(self._listeners)

    def tell(self, channel: str, message: bytes) -> None:
        for callback in self._listeners.get(channel, ()):
            tell("listener", callback, message)

    def began(self) -> None:
        for callback in self._reconnected:
            tell("on_reconnect", callback)


class _Ear:
    """The listening thread: connects, subscribes, reads, notices silence, and begins again, until it is stopped."""

    def __init__(self, bus: RedisBus, nodes: Nodes) -> None:
        self.is_listening = False
        self.heard: frozenset[str] = frozenset()
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
                self.is_listening, self.heard = False, frozenset()
                if not self._is_stopped:
                    # Spread over half of the wait, or all processes would come to the one node that is left at the same moment.
                    self._wait(wait_s * _draw.uniform(0.5, 1.0))

    def _failed(self, error: Exception) -> None:
        if self.is_listening:
            telemetry.count("resilience_bus_lost_total")
        if not self._is_told:
            self._is_told = True  # once an outage, not once an attempt
            log.warning("the bus does not hear %s: %s", self._nodes.address, type(error).__name__)
        if not isinstance(error, RedisError | OSError):
            telemetry.internal_error("bus", "listen", error)

    def _hear(self, connection: Any) -> None:
        pending: set[str] = set()  # asked for, and not confirmed yet
        asked: set[str] = set()
        is_pinged = False
        with selectors.DefaultSelector() as selector:
            selector.register(self._woken, selectors.EVENT_READ)
            # redis-py has no way to wait for a connection and for something else; its socket, private there, is that way.
            selector.register(connection._sock, selectors.EVENT_READ)
            while not self._is_stopped:
                wanted = self._bus.channels()
                if gone := asked - wanted:
                    connection.send_command("UNSUBSCRIBE", *gone)
                if new := wanted - asked:
                    connection.send_command("SUBSCRIBE", *new)
                    pending |= new
                    self.is_listening = False
                asked = wanted
                taken = self._take_all(connection, pending)
                is_pinged = is_pinged and not taken
                if not pending and (not self.is_listening or gone):
                    self.heard = frozenset(asked)
                if asked and not pending and not self.is_listening:
                    self._begin()
                    continue  # a callback may have subscribed to more
                ready = selector.select(0 if taken == MAX_TAKEN else PONG_S if is_pinged else PING_S)
                if any(key.fileobj is self._woken for key, _ in ready):
                    self._drain()
                elif not ready and is_pinged:
                    raise RedisTimeoutError("the node is silent")
                elif not ready and taken < MAX_TAKEN:
                    # A frozen node, or a network that swallows packets, closes nothing.
                    connection.send_command("PING")
                    is_pinged = True

    def _take_all(self, connection: Any, pending: set[str]) -> int:
        """How many replies were there. The parser may hold several of one read, which a selector knows nothing of."""
        for taken in range(MAX_TAKEN):
            if not connection.can_read(0):
                return taken
            reply = connection.read_response()
            if not isinstance(reply, list) or len(reply) != 3:
                continue  # the PONG, which is a list of two here
            kind, channel, value = reply
            if kind == b"message":
                self._bus.tell(channel.decode(), value)
            elif kind == b"subscribe":
                pending.discard(channel.decode())
        return MAX_TAKEN

    def _begin(self) -> None:
        self.is_listening = True
        if self._is_told:
            self._is_told = False
            log.info("the bus hears %s again", self._nodes.address)
        self._bus.began()

    def _wait(self, seconds: float) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(self._woken, selectors.EVENT_READ)
            selector.select(seconds)
        self._drain()

    def _drain(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while self._woken.recv(512):
                pass


def _translated(error: RedisError, address: Address) -> StorageError:
    if isinstance(error, AuthenticationError | NoPermissionError):
        return StorageAuthError("publish", f"{address} refuses our login, or this channel to it")
    if isinstance(error, RedisTimeoutError):
        return StorageTimeout("publish", f"{address} does not answer")
    return StorageUnavailable("publish", f"{address}: {type(error).__name__}")


_buses: Final[weakref.WeakSet[RedisBus]] = weakref.WeakSet()


def _after_fork() -> None:
    for bus in list(_buses):
        bus._start_anew()


os.register_at_fork(after_in_child=_after_fork)
