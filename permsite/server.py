"""The ASGI server on a socket that was bound beforehand: its address is known before anything is printed or handed out."""

from __future__ import annotations

import errno
import signal
import socket
from types import FrameType
from typing import Any, Final

import uvicorn

from permsite.quick import connection
from permsite.websocket import MAX_MESSAGE, WebSocket
from permsite.workers import BACKLOG, Server, Supervisor

APPLICATION: Final = "permsite.asgi:application"
DEFAULT_PORT: Final = 8000
TRIES: Final = 100
# Seconds for open requests at the end. uvicorn would wait for ever; a client that keeps one open must not keep the server, and
# Docker kills ten seconds after it asked.
GRACE_S: Final = 7


class PortTakenError(RuntimeError):
    """The port that was asked for, or every one that was tried, belongs to somebody else."""


def bind(host: str, port: int, *, or_next: bool) -> socket.socket:
    """A bound socket on `port`, or on the next free one. Port 0 lets the system choose."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    last = port + TRIES - 1 if or_next and port else port
    for number in range(port, min(last, 65535) + 1):
        bound = socket.socket(family, socket.SOCK_STREAM)
        # Without it a restart would find its own port taken by connections that are still closing.
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            bound.bind((host, number))
            # Two sockets with SO_REUSEADDR may both bind; only one of them may listen. uvicorn listens too late to find out.
            bound.listen(BACKLOG)
        except OSError as error:
            bound.close()
            if error.errno not in {errno.EADDRINUSE, errno.EACCES} or (error.errno == errno.EACCES and not or_next):
                raise
        else:
            return bound
    tried = f"{port}" if last == port else f"{port} to {last}"
    raise PortTakenError(f"port {tried} of {host} is taken; name another with --port")


def address_of(bound: socket.socket) -> str:
    host, port = bound.getsockname()[:2]
    shown = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)  # noqa: S104 - shown, not bound
    return f"http://{shown}:{port}"


def config(application: Any = APPLICATION, *, workers: int = 1) -> uvicorn.Config:
    return uvicorn.Config(
        application,
        workers=workers,
        http=connection,  # type: ignore[arg-type]  # uvicorn only calls it
        log_config=None,  # Django's logging is set up already: JSON lines
        access_log=False,
        server_header=False,
        # X-Forwarded-For is read where NUM_PROXIES is known, never believed here.
        proxy_headers=False,
        timeout_graceful_shutdown=GRACE_S,
        # The one of uvicorn's that websockets 14 and later run without its legacy part, in our own manner.
        ws=WebSocket,
        ws_max_size=MAX_MESSAGE,
        # What goes to all is written once; each socket's own deflate would write it once for each, and hold a window.
        ws_per_message_deflate=False,
        lifespan="on",
        # A request that waited for the one before it on its connection would start in what that one left behind: after a static
        # file in asgiref's executor, gone by then, and so be answered 500.
        reset_contextvars=True,
    )


class Ending:
    """Remembers that SIGINT or SIGTERM came before the server listens to them.

    Python drops an exception that a signal raises inside a callback of its own, and imports are full of them: a Ctrl-C in the
    first half second would be lost.
    """

    def __init__(self) -> None:
        self.was_asked = False

    def listen(self) -> None:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._asked)

    def _asked(self, number: int, frame: FrameType | None) -> None:
        self.was_asked = True
        raise KeyboardInterrupt


class _Server(Server):
    def __init__(self, settings: uvicorn.Config, ending: Ending | None) -> None:
        super().__init__(settings)
        self._ending = ending

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        # By now uvicorn's own handlers are in place: what came earlier is in `ending`, what comes later goes to them.
        if self._ending is not None and self._ending.was_asked:
            self.should_exit = True


def run(bound: socket.socket, *, workers: int = 1, ending: Ending | None = None, application: Any = APPLICATION) -> None:
    """Serves until SIGINT or SIGTERM. Raises WorkersFailedError."""
    settings = config(application, workers=workers)
    if workers > 1:
        if ending is None or not ending.was_asked:
            Supervisor(settings, bound).run()
    else:
        _Server(settings, ending).run(sockets=[bound])
