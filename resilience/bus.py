"""Publish and listen: messages between threads here, through any live node between processes."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Protocol

from resilience import telemetry

Listener = Callable[[bytes], object]


class Bus(Protocol):
    def publish(self, channel: str, message: str | bytes) -> None: ...
    def subscribe(self, channel: str, callback: Listener) -> Callable[[], None]: ...
    def on_reconnect(self, callback: Callable[[], object]) -> Callable[[], None]: ...
    def close(self) -> None: ...


class LocalBus:
    """Within one process; a message is heard before publish() returns."""

    def __init__(self) -> None:
        self._listeners: tuple[tuple[str, Listener], ...] = ()
        self._lock = threading.Lock()

    def publish(self, channel: str, message: str | bytes) -> None:
        body = message.encode() if isinstance(message, str) else message
        for name, callback in self._listeners:
            if name == channel:
                try:
                    callback(body)
                except Exception as error:  # noqa: BLE001 - a listener's fault must not become the publisher's
                    telemetry.internal_error("bus", "listener", error)

    def subscribe(self, channel: str, callback: Listener) -> Callable[[], None]:
        entry = (channel, callback)
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
