"""HTTP/1.1 as uvicorn speaks it, save that an offer of another protocol keeps its body, and that an end loses no request.

A WebSocket's handshake goes on to `permsite/websocket.py`; any other offer is declined.

Java's clients offer `Upgrade: h2c` on a plain connection. A server may ignore the offer (RFC 9110, 7.8), and uvicorn does, but
its parser stops at such a head, so that the application sees an empty body and the client a refusal (uvicorn, issue 2722).

At the end of a server uvicorn closes every connection without an open request at once. A client that asks back to back has its
next one on the way by then, and would be reset. Here such a connection is *ending*: the next request is answered, told
`connection: close`; only one on which nothing comes any more is closed untold.
"""

from __future__ import annotations

from typing import Any, Final

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

# Seconds without a byte after which an ending connection is closed, chosen: longer than a request is on its way, and short
# beside what the server gives its open requests.
QUIET_S: Final = 0.3
# For one more turn of reading, see `timeout_keep_alive_handler`.
_TURN_S: Final = 0.05
_FRAMING: Final = frozenset({b"content-length", b"transfer-encoding"})


class Protocol(HttpToolsProtocol):
    """One connection. What it adds is paid for by connections that offer another protocol: a call more for each header of every
    request would take a thirtieth of what HTTP takes."""

    def __init__(self, config: Any, server_state: Any, app_state: Any, _loop: Any = None) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._is_ending = False
        # The request whose answer will say `connection: close`, for no other reason than the end.
        self._last: RequestResponseCycle | None = None

    def _should_upgrade(self) -> bool:
        # Not at the end, of which a socket that is made now would not be told; and not behind a request in hand, whose answer
        # would be written into the socket. Both are answered as if nothing had been offered.
        cycle = self.cycle
        is_idle = cycle is None or cycle.response_complete  # type: ignore[redundant-expr]  # None at first
        return is_idle and not self._is_ending and super()._should_upgrade()

    def shutdown(self) -> None:
        self._is_ending = True
        # uvicorn waits as long after each answer; one that has begun can no longer tell its client of the end.
        self.timeout_keep_alive = QUIET_S  # type: ignore[assignment]  # whole seconds by uvicorn's options, any for the loop
        self._end()

    def _end(self) -> None:
        """After each read too: the newest request is the last, and those before it are answered on an open connection."""
        cycle = self.cycle
        if cycle is None or cycle.response_complete:  # type: ignore[redundant-expr]  # None at first
            self._unset_keepalive_if_required()
            self.timeout_keep_alive_task = self.loop.call_later(self.timeout_keep_alive, self.timeout_keep_alive_handler)
        elif cycle.keep_alive and not cycle.response_started:
            if self._last is not None and not self._last.response_started:
                self._last.keep_alive = True
            self._last = cycle
            cycle.keep_alive = False

    def timeout_keep_alive_handler(self) -> None:
        # A loop that was held up finds its timers due before it reads what has come meanwhile: let it read first.
        self._unset_keepalive_if_required()
        self.timeout_keep_alive_task = self.loop.call_later(_TURN_S, super().timeout_keep_alive_handler)

    def data_received(self, data: bytes) -> None:
        self._unset_keepalive_if_required()
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as offer:
            if self._should_upgrade():
                self.handle_websocket_upgrade()
            else:
                self._read_on(data[offer.args[0] :])
        except httptools.HttpParserError:
            self.send_400_response("Invalid HTTP request received.")
        if self._is_ending:
            self._end()

    def _read_on(self, rest: bytes) -> None:
        """The stopped parser has called the request complete; nobody has seen that yet, since its task starts after this call."""
        framing = b"".join(b"%s: %s\r\n" % (name, value) for name, value in self.headers if name in _FRAMING)
        self.cycle.more_body = True
        reader = _Reader(self)
        self.parser = httptools.HttpRequestParser(reader)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
        try:
            self.parser.feed_data(b"POST / HTTP/1.1\r\n" + framing + b"\r\n")
        except httptools.HttpParserError:
            self.send_400_response("Invalid HTTP request received.")
            return
        reader.is_told = False
        if rest:
            self.data_received(rest)


class _Reader:
    """What a parser tells its connection, save the head that it is itself told of the framing by: that is ours, and no
    request (`is_told`)."""

    def __init__(self, connection: Protocol) -> None:
        self.is_told = True
        self._connection = connection
        self.on_body = connection.on_body
        self.on_message_complete = connection.on_message_complete

    def on_message_begin(self) -> None:
        if not self.is_told:
            self._connection.on_message_begin()

    def on_url(self, url: bytes) -> None:
        if not self.is_told:
            self._connection.on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self.is_told:
            self._connection.on_header(name, value)

    def on_headers_complete(self) -> None:
        if not self.is_told:
            self._connection.on_headers_complete()
