"""The HTTP of the application: headers read once, a body that is capped however it comes, and answers."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any, Final

from permissions.authzen.messages import encode
from resilience import trace

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Header = tuple[bytes, bytes]

MAX_REQUEST_ID: Final = 200  # chosen: a UUID, a trace parent and a sentence fit; a log line stays a line
JSON_TYPE: Final = b"application/json"
JSON: Final = (b"content-type", JSON_TYPE)
# Sent twice, each of these lets two readers of one request see different ones.
_SINGLE: Final = frozenset({b"authorization", b"content-type", b"content-length", b"x-request-id", b"x-permission-token"})
_charset: Final = re.compile(r';\s*charset\s*=\s*"?([^";\s]*)"?', re.IGNORECASE)
_controls: Final = re.compile(rb"[\x00-\x1f\x7f]")
_unprintable: Final = re.compile(rb"[^\x20-\x7e]")


class HttpError(Exception):
    """An answer other than 200: `status`, the message that is its body, further headers."""

    def __init__(self, status: int, message: str, *headers: Header) -> None:
        super().__init__(message)
        self.status = status
        self.headers = headers


class Disconnected(Exception):
    """The client left before its request was whole; nobody is there to be answered."""


def refuse_doubles(pairs: Iterable[Header]) -> None:
    seen: set[bytes] = set()
    for name, _ in pairs:
        if name in seen and name in _SINGLE:
            raise HttpError(400, f"the header {name.decode('latin-1')} is sent more than once")
        seen.add(name)


def echo_of(headers: dict[bytes, bytes]) -> tuple[Header, ...]:
    """The request id to send back: the same value, without what could end a header line, and capped."""
    value = headers.get(b"x-request-id")
    kept = _controls.sub(b"", value)[:MAX_REQUEST_ID] if value else b""
    return ((b"x-request-id", kept),) if kept else ()


def begin_trace(headers: dict[bytes, bytes]) -> None:
    """Goes on with the caller's trace, or begins one, for what is told of this request from here on."""
    echoed = echo_of(headers)
    # As Django's share has it: the printable ones of ASCII, or an id of our own.
    request_id = _unprintable.sub(b"", echoed[0][1]).decode("ascii").strip() if echoed else ""
    trace.begin(headers.get(b"traceparent", b"").decode("latin-1"), request_id)


def check_content_type(headers: dict[bytes, bytes]) -> None:
    """JSON by any of its spellings. 400, not 415: the certification scenario wants it so."""
    text = headers.get(b"content-type", b"").decode("latin-1")
    media_type = text.partition(";")[0].strip().lower()
    if media_type != "application/json":
        raise HttpError(400, f"Content-Type must be application/json, not {media_type[:60] or 'absent'!r}")
    charset = _charset.search(text)
    if charset is not None and charset[1].lower() not in ("utf-8", "utf8"):
        raise HttpError(400, f"the charset of the body must be utf-8, not {charset[1][:60]!r}")


async def read_body(headers: dict[bytes, bytes], receive: Receive, max_bytes: int) -> bytes:
    """The whole body. 413 from what the client declares, and again from what really comes, since neither needs the other."""
    declared = headers.get(b"content-length", b"")
    if declared.isdigit() and int(declared[:20]) > max_bytes:
        raise _too_large(max_bytes)
    return await rest_of_body(await receive(), receive, max_bytes)


async def rest_of_body(event: MutableMapping[str, Any], receive: Receive, max_bytes: int) -> bytes:
    """The body that begins with `event`."""
    if event["type"] == "http.disconnect":
        raise Disconnected
    body: bytes = event.get("body", b"")
    if event.get("more_body"):
        chunks, size = [body], len(body)
        while event.get("more_body"):
            if size > max_bytes:
                break
            event = await receive()
            if event["type"] == "http.disconnect":
                raise Disconnected
            chunks.append(event.get("body", b""))
            size += len(chunks[-1])
        body = b"".join(chunks)
    if len(body) > max_bytes:
        raise _too_large(max_bytes)
    return body


def _too_large(max_bytes: int) -> HttpError:
    return HttpError(413, f"the request body is larger than {max_bytes} bytes")


async def answer(send: Send, status: int, body: bytes, headers: Iterable[Header] = (), *, with_body: bool = True) -> None:
    await send(
        {
            "type": "http.response.start",
            "status": status,
            "headers": [JSON, (b"content-length", b"%d" % len(body)), *headers],
        }
    )
    await send({"type": "http.response.body", "body": body if with_body else b""})


def error_body(message: str) -> bytes:
    """AuthZEN defines the body of an error as an error message string; ours is a JSON string."""
    return encode(message)
