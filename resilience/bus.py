"""Publish and listen: the port, and messages between the threads of one process. Between processes: `redis_bus`."""

from __future__ import annotations

import threading
from collections.abc import Callable
from importlib import import_module
from typing import Any, Protocol

from resilience import telemetry

Listener = Callable[[bytes], object]


class Bus(Protocol):
    """A message is a notice, not the news itself: one may be lost, and one may come twice. Read the state where it is kept."""

    def publish(self, channel: str, message: str | bytes) -> None:
        """Raises StorageError when nobody could be told."""
        ...

    def subscribe(self, channel: str, callback: Listener) -> Callable[[], None]:
        """Calls `callback(message)` in the bus's thread; it must be quick. Returns a way out."""
        ...

    def on_reconnect(self, callback: Callable[[], object]) -> Callable[[], None]:
        """Called whenever listening has begun, at first and after every gap: what was said before may have been missed."""
        ...

    def close(self) -> None: ...


class LocalBus:
    """Within one process; a message is heard before publish() returns."""

    def __init__(self) -> None:
        self._listeners: tuple[tuple[str, Listener], ...] = ()
        self._lock = threading.Lock()

    def publish(self, channel: str, message: str | bytes) -> None:
        name, body = checked_channel(channel), body_of(message)
        for other, callback in self._listeners:
            if other == name:
                tell("listener", callback, body)

    def subscribe(self, channel: str, callback: Listener) -> Callable[[], None]:
        entry = (checked_channel(channel), callback)
        with self._lock:
            self._listeners = (*self._listeners, entry)

        def unsubscribe() -> None:
            with self._lock:
                self._listeners = tuple(other for other in self._listeners if other is not entry)

        return unsubscribe

    def on_reconnect(self, callback: Callable[[], object]) -> Callable[[], None]:
        """A process is never disconnected from itself."""
        return lambda: None

    def close(self) -> None:
        self._listeners = ()


def checked_channel(channel: object) -> str:
    if not isinstance(channel, str) or not channel:
        raise ValueError(f"a channel is a text that is not empty, not {channel!r}")
    return channel


def body_of(message: object) -> bytes:
    if isinstance(message, str):
        return message.encode()
    if isinstance(message, bytes):
        return message
    raise ValueError(f"a message is text or bytes, not {type(message).__name__}")


def tell(stage: str, callback: Callable[..., object], *args: object) -> None:
    """Calls a listener. Its fault becomes neither the publisher's nor the other listeners'."""
    try:
        callback(*args)
    except Exception as error:  # noqa: BLE001 - counted and logged there
        telemetry.internal_error("bus", stage, error)


def __getattr__(name: str) -> Any:
    if name == "RedisBus":
        # On demand: a process without a server need not load the driver.
        return import_module("resilience.redis_bus").RedisBus
    raise AttributeError(f"module 'resilience.bus' has no attribute {name!r}")
