"""Bar 2: an application that decides nothing, on the very configuration of uvicorn that the site has: what HTTP alone costs."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

BODY = b'{"decision":true}'
HEADERS = [(b"content-type", b"application/json"), (b"content-length", str(len(BODY)).encode())]


async def application(
    scope: MutableMapping[str, Any],
    receive: Callable[[], Awaitable[MutableMapping[str, Any]]],
    send: Callable[[MutableMapping[str, Any]], Awaitable[None]],
) -> None:
    """Not even the body is taken from the server: nothing that answers at all can be quicker."""
    if scope["type"] == "lifespan":
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.complete"})
        return
    if scope["path"] == "/read":
        await receive()
    await send({"type": "http.response.start", "status": 200, "headers": HEADERS})
    await send({"type": "http.response.body", "body": BODY})


def main() -> None:
    from permsite import server  # noqa: PLC0415 - uvicorn is loaded for this process alone

    bound = server.bind("127.0.0.1", 0, or_next=False)
    print(server.address_of(bound))
    sys.stdout.flush()
    server.run(bound, application=application)


if __name__ == "__main__":
    main()
