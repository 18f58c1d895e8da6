"""What stands between a store and its server in tests: servers that say one thing, and wires that lose things."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Callable
from typing import Self


class Middleman:
    """A TCP server on 127.0.0.1, a thread a connection, ended with close()."""

    def __init__(self, context: ssl.SSLContext | None = None) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._context = context
        self._open: list[socket.socket] = []
        self.connections = 0
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}"

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            threading.Thread(target=self._hold, args=(client,), daemon=True).start()

    def _hold(self, client: socket.socket) -> None:
        with contextlib.suppress(OSError):
            if self._context is not None:
                client = self._context.wrap_socket(client, server_side=True)
            self._open.append(client)
            self.serve(client)
        with contextlib.suppress(OSError):
            client.close()

    def serve(self, client: socket.socket) -> None:
        raise NotImplementedError

    def drop_all(self) -> None:
        """Ends every connection, as a server that times out its idle clients."""
        for client in self._open:
            with contextlib.suppress(OSError):
                client.shutdown(socket.SHUT_RDWR)
        self._open.clear()

    def close(self) -> None:
        # A thread that waits in accept() holds the port until it is woken.
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.drop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


class Parrot(Middleman):
    """Says the same to everything, INFO (which tells the mode) excepted."""

    def __init__(self, reply: bytes) -> None:
        self._reply = reply
        super().__init__()

    def serve(self, client: socket.socket) -> None:
        while data := client.recv(65_536):
            info = b"# Cluster\r\ncluster_enabled:0\r\n"
            is_info = b"INFO" in data
            client.sendall(b"$%d\r\n%s\r\n" % (len(info), info) if is_info else self._reply)


class Wire(Middleman):
    """Leads to a real server's unix socket. `replies` may change what comes back: None ends the connection, b"" swallows it."""

    def __init__(self, path: str, *, context: ssl.SSLContext | None = None) -> None:
        self._path = path
        self.replies: Callable[[bytes], bytes | None] = lambda data: data
        self.calls = 0
        super().__init__(context)

    def serve(self, client: socket.socket) -> None:
        with socket.socket(socket.AF_UNIX) as server:
            server.connect(self._path)
            back = threading.Thread(target=self._back, args=(server, client), daemon=True)
            back.start()
            while data := client.recv(65_536):
                self.calls += b"EVAL" in data
                server.sendall(data)
            server.shutdown(socket.SHUT_RDWR)
            back.join()

    def _back(self, server: socket.socket, client: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := server.recv(65_536):
                told = self.replies(data)
                if told is None:
                    break
                client.sendall(told)
            client.shutdown(socket.SHUT_RDWR)
