"""Which consumer a socket's path belongs to; every other path is refused."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final

from controlplane.consumers import ControlConsumer

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

CONTROL: Final = "/ws/control/"

_consumers: Final = {CONTROL: ControlConsumer.as_asgi()}


async def application(scope: Scope, receive: Receive, send: Send) -> None:
    consumer = _consumers.get(scope["path"])
    if consumer is None:
        # Closing before accepting answers the handshake with 403.
        await receive()
        await send({"type": "websocket.close", "code": 1000})
    else:
        await consumer(scope, receive, send)
