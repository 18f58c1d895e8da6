"""A WebSocket as uvicorn speaks it, save that one which does not read is let go, costs little, and the end is told first.

uvicorn closes such a connection once its buffer is written, which a client that reads no more puts off for ever: it would hold
its place, and at the end of the server all the time that open requests are given. Here a close waits for nobody's reading.
"""

from __future__ import annotations

import socket
from asyncio import BaseTransport, Transport
from typing import Any, Final, cast

from uvicorn.protocols.utils import ClientDisconnected
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

# An application may leave `scope["extensions"][FAREWELL]["text"]`: a last message, sent when the server ends.
FAREWELL: Final = "permsite.farewell"
# Bytes of a message that is read, and of what waits to be written: here, and in the system, which doubles what it is told.
# Chosen: some seconds of live frames on the way to a slow client; the system's own limit would let 200 of them hold 800 MB.
MAX_MESSAGE: Final = 4_096
HIGH_WATER: Final = 32_768
SEND_BUFFER: Final = 32_768
# Seconds for the other end to answer a close; chosen, as long as the slowest way round the world takes twice.
ANSWER_S: Final = 2.0
RESTART: Final = 1012  # RFC 6455 registry: service restart


class WebSocket(WebSocketsSansIOProtocol):
    """One connection after its handshake began."""

    _is_ended = False

    def connection_made(self, transport: BaseTransport) -> None:
        super().connection_made(transport)
        made = cast(Transport, transport)
        made.set_write_buffer_limits(high=HIGH_WATER)
        wire: socket.socket | None = made.get_extra_info("socket")
        if wire is not None:
            wire.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)

    def handle_connect(self, event: Any) -> None:
        super().handle_connect(event)
        if not self.close_sent:  # the task that reads the scope has not begun yet
            cast(dict[str, Any], self.scope["extensions"])[FAREWELL] = {"text": ""}

    async def send(self, message: Any) -> None:
        is_close = message["type"] == "websocket.close"
        if is_close:
            # Behind what a reader that stopped has not taken, a close would never be sent.
            self.writable.set()
        try:
            await super().send(message)
        except RuntimeError:
            # It was about to write when the server ended: to the application a client who has gone, and no mistake of its own.
            if not self._is_ended:
                raise
            raise ClientDisconnected from None
        if is_close:
            self._let_go()

    def keepalive_timeout(self) -> None:
        super().keepalive_timeout()
        self.transport.abort()

    def shutdown(self) -> None:
        self._is_ended = True
        self.stop_keepalive()
        if self.close_sent or not self.handshake_complete:
            super().shutdown()
        else:
            text = cast(dict[str, Any], self.scope["extensions"])[FAREWELL]["text"]
            if text:
                self.conn.send_text(text.encode())
            self.conn.send_close(RESTART)
            self.transport.write(b"".join(self.conn.data_to_send()))
            self.close_sent = True
            self.queue.put_nowait({"type": "websocket.disconnect", "code": RESTART})
            if self.read_paused:  # or the answer to our close is never seen
                self.read_paused = False
                self.transport.resume_reading()
        self._let_go()

    def _let_go(self) -> None:
        """Once the other end has answered, or soon."""
        if self.close_timer is not None:
            self.close_timer.cancel()
        self.close_timer = self.loop.call_later(ANSWER_S, self.transport.abort)
