"""The whole site under the real server, in a thread of the test's own process, on a socket bound beforehand."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Any

import uvicorn
from django.db import connections

from permsite import server


@dataclass(slots=True)
class LiveServer:
    """`url` without a slash at its end."""

    url: str
    _server: uvicorn.Server
    _thread: threading.Thread

    def stop(self) -> None:
        self._server.should_exit = True
        self._thread.join(timeout=15)
        assert not self._thread.is_alive(), "the server did not stop"


def start(settings: Any) -> LiveServer:
    """`settings`: pytest-django's, so that PUBLIC_URL is put back; it is known only once the socket is bound."""
    bound = server.bind("127.0.0.1", 0, or_next=False)
    url = server.address_of(bound)
    settings.PUBLIC_URL = url
    from permsite import asgi

    config = server.config()
    config.app = asgi.build()
    running = uvicorn.Server(config)
    # In a thread uvicorn must leave the process's signals alone, which it does by itself.
    thread = threading.Thread(target=_serve, args=(running, bound), name="live-server")
    thread.start()
    while not running.started and thread.is_alive():
        thread.join(0.01)
    assert running.started, "the server did not start"
    return LiveServer(url, running, thread)


def _serve(running: uvicorn.Server, bound: Any) -> None:
    try:
        with bound:
            running.run(sockets=[bound])
    finally:
        connections.close_all()
