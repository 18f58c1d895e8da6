"""The ASGI server on a socket that was bound beforehand: its address is known before anything is printed or handed out."""

from __future__ import annotations

import errno
import socket
from typing import Final

import uvicorn
from uvicorn.supervisors import Multiprocess

DEFAULT_PORT: Final = 8000
TRIES: Final = 100
# Seconds. uvicorn would wait for open connections for ever; a client that keeps one open must not keep the server.
GRACE_S: Final = 3


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
            bound.listen(2048)
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


def config(application: str = "permsite.asgi:application", *, workers: int = 1) -> uvicorn.Config:
    return uvicorn.Config(
        application,
        workers=workers,
        log_config=None,  # Django's logging is set up already: JSON lines
        access_log=False,
        server_header=False,
        # X-Forwarded-For is read where NUM_PROXIES is known, never believed here.
        proxy_headers=False,
        timeout_graceful_shutdown=GRACE_S,
        ws="none",
        lifespan="on",
    )


def run(bound: socket.socket, *, workers: int = 1) -> None:
    """Serves until SIGINT or SIGTERM."""
    settings = config(workers=workers)
    if workers > 1:
        Multiprocess(settings, sockets=[bound]).run()
    else:
        uvicorn.Server(settings).run(sockets=[bound])
