"""Accepting connections in handfuls: under uvloop a server accepts one in each turn of its loop.

A turn under a thousand busy connections takes some 60 ms, so the last ninety of a thousand that came at once were accepted after
more than two seconds (measured): connected as far as they could tell, their requests sent, and not heard.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
from collections.abc import Callable
from typing import Final

log = logging.getLogger("permsite.accepting")

# In one turn. Of several workers on one socket each takes what it finds: all at once would fall to whoever wakes first.
HANDFUL: Final = 64
# Seconds, as asyncio's own loop waits, for somebody to close a file before the next try.
REST_S: Final = 1.0
_EXHAUSTED: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})


class Acceptor:
    """Accepts on a listening socket, which stays the caller's to close, until `close`. For the thread of its loop alone."""

    def __init__(self, bound: socket.socket, make: Callable[[], asyncio.Protocol]) -> None:
        bound.setblocking(False)
        self._bound, self._make = bound, make
        self._loop = asyncio.get_running_loop()
        self._coming: set[asyncio.Task[object]] = set()
        self._rest: asyncio.TimerHandle | None = None
        self._loop.add_reader(bound.fileno(), self._accept)

    def _accept(self) -> None:
        for _ in range(HANDFUL):
            try:
                client, _address = self._bound.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return  # nobody waits, or who did has gone; another worker may have been quicker
            except OSError as error:
                if error.errno not in _EXHAUSTED:
                    raise
                log.error("no connection can be accepted: %s; tries again in %.0f s", error.strerror, REST_S)
                self._loop.remove_reader(self._bound.fileno())
                self._rest = self._loop.call_later(REST_S, self._go_on)
                return
            self.take(client)

    def _go_on(self) -> None:
        self._rest = None
        self._loop.add_reader(self._bound.fileno(), self._accept)

    def take(self, client: socket.socket) -> None:
        """Makes a connection of an accepted socket."""
        client.setblocking(False)
        task: asyncio.Task[object] = self._loop.create_task(self._connect(client))
        self._coming.add(task)
        task.add_done_callback(self._coming.discard)

    async def _connect(self, client: socket.socket) -> None:
        try:
            await self._loop.connect_accepted_socket(self._make, client)
        except OSError:  # gone again
            client.close()

    async def close(self, *, take_waiting: int = 0) -> None:
        """Accepts no more, but for so many that wait already; returns once all that were accepted are connections."""
        if self._rest is not None:
            self._rest.cancel()
        else:
            self._loop.remove_reader(self._bound.fileno())
        for _ in range(take_waiting):
            try:
                self.take(self._bound.accept()[0])
            except OSError:  # nobody waits
                break
        while self._coming:
            await asyncio.wait(self._coming)
