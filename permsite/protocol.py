"""HTTP/1.1 as uvicorn speaks it, save that a request which offers another protocol keeps its body.

Java's clients offer `Upgrade: h2c` on a plain connection. A server may ignore the offer (RFC 9110, 7.8), and uvicorn does, but
its parser stops at such a head, so that the application sees an empty body and the client a refusal (uvicorn, issue 2722).
"""

from __future__ import annotations

from typing import Final

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

_FRAMING: Final = frozenset({b"content-length", b"transfer-encoding"})


class Protocol(HttpToolsProtocol):
    """One connection. What it adds is paid for by connections that offer another protocol: a call more for each header of every
    request would take a thirtieth of what HTTP takes."""

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
