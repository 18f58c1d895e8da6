"""A proxy in front of a server, for what no server does when asked: swallow replies, speak TLS, close the line, send garbage."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from pathlib import Path
from typing import Self

from resilience.redis_client import Address, parse

TLS = Path(__file__).resolve().parents[2] / "data" / "tls"


class Proxy:
    """Listens on the loopback and passes everything on to `target`, a URL of one server.

    `is_mute`: replies are swallowed while requests still arrive. `accepted`: connections so far. `tls`: it speaks TLS with the
    certificate of tests/data/tls, whatever the server does.
    """

    def __init__(self, target: str, *, tls: bool = False, host: str = "127.0.0.1") -> None:
        self._target: Address = parse(target)
        self._context: ssl.SSLContext | None = None
        if tls:
            self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self._context.load_cert_chain(TLS / "server.crt", TLS / "server.key")
        self.is_mute = False
        self.garbage = b""
        self.accepted = 0
        self._lines: list[socket.socket] = []
        self._listener = socket.create_server((host, 0))
        self.port: int = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._accept, name="proxy", daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        if self._context is not None:
            return f"rediss://localhost:{self.port}/0?ssl_ca_certs={TLS / 'server.crt'}"
        return f"redis://127.0.0.1:{self.port}/0"

    def cut(self) -> None:
        """Closes every line; new ones are accepted."""
        lines, self._lines = self._lines, []
        for line in lines:
            with contextlib.suppress(OSError):
                line.shutdown(socket.SHUT_RDWR)
            line.close()

    def close(self) -> None:
        # On Linux a thread in accept() is woken by shutdown, not by close.
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(5)
        self.cut()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _accept(self) -> None:
        while True:
            try:
                line, _ = self._listener.accept()
            except OSError:
                return
            self.accepted += 1
            threading.Thread(target=self._serve, args=(line,), name="proxy-line", daemon=True).start()

    def _serve(self, line: socket.socket) -> None:
        with contextlib.suppress(OSError):
            if self._context is not None:
                line = self._context.wrap_socket(line, server_side=True)
            server = self._connect()
            self._lines += [line, server]
            threading.Thread(target=self._pass_on, args=(server, line, True), name="proxy-back", daemon=True).start()
            self._pass_on(line, server, False)

    def _connect(self) -> socket.socket:
        if self._target.kind == "unix":
            server = socket.socket(socket.AF_UNIX)
            server.connect(self._target.path)
            return server
        return socket.create_connection(self._target.hosts[0])

    def _pass_on(self, source: socket.socket, target: socket.socket, is_reply: bool) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                if is_reply and self.is_mute:
                    continue
                if is_reply and self.garbage:
                    data, self.garbage = self.garbage, b""
                target.sendall(data)
        for end in (source, target):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()
