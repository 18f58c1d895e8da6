"""Bodies that come in from anyone: read up to a limit, whoever sends them, and not at all where nothing is done with them.

Django's ASGI handler and asgiref write a body to a temporary file, whole, before any view can look at who is calling. A client
that sends for ever would fill the disk; what Django limits (`DATA_UPLOAD_MAX_MEMORY_SIZE`) it limits after that.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

# Bytes. Twice the wire's limit of 1 MiB, so that a body a little over it is refused by the view, in that view's own words.
LIMIT: Final = 2_097_152


class Capped:
    """Answers 413 for a larger body: at once where the client declares it, else as soon as that much has come."""

    def __init__(self, application: Application, limit: int = LIMIT) -> None:
        self._application = application
        self._limit = limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if _declared(scope) > self._limit:
            await _refuse(send, self._limit)
            return
        size = 0
        is_answered = False

        async def counted() -> Message:
            nonlocal size
            if size > self._limit:
                return {"type": "http.disconnect"}
            message = await receive()
            size += len(message.get("body", b""))
            # To the application it is a client that went away, which every one of them ends on.
            return {"type": "http.disconnect"} if size > self._limit else message

        async def watched(message: Message) -> None:
            nonlocal is_answered
            is_answered = True
            await send(message)

        await self._application(scope, counted, watched)
        if size > self._limit and not is_answered:
            await _refuse(send, self._limit)


def unread(application: Application) -> Application:
    """For what has no use for a body: it sees none, and whatever the client sends is not asked for."""

    async def nothing() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def deaf(scope: Scope, receive: Receive, send: Send) -> None:
        await application(scope, nothing, send)

    return deaf


def _declared(scope: Scope) -> int:
    """What Content-Length says; 0 where it says nothing that is a number."""
    for name, value in scope["headers"]:
        if name == b"content-length" and value.isdigit():
            return int(value[:20])
    return 0


async def _refuse(send: Send, limit: int) -> None:
    told = {
        "type": "/problems/too_large",
        "title": "The body is too large",
        "status": 413,
        "detail": f"the body is larger than {limit} bytes",
    }
    body = json.dumps(told).encode()
    headers = [
        (b"content-type", b"application/problem+json"),
        (b"content-length", str(len(body)).encode()),
        # What still comes is not a next request.
        (b"connection", b"close"),
    ]
    await send({"type": "http.response.start", "status": 413, "headers": headers})
    await send({"type": "http.response.body", "body": body})
