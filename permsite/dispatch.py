"""Which application answers: AuthZEN's own paths, exactly, then files under /static/, then Django; behind limits and the gate."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Awaitable, Callable, Iterable, MutableMapping, Sequence
from time import perf_counter
from typing import Any, Final, Protocol

from asgiref.sync import sync_to_async
from django.conf import settings

from controlplane.collector.running import COLLECTOR
from controlplane.health.monitor import monitor
from controlplane.live.heartbeat import HEARTBEAT
from controlplane.live.hub import HUB
from controlplane.middleware import MaintenanceGate
from controlplane.routing import application as sockets
from controlplane.services.following import Share
from controlplane.sockets.room import ROOM
from permissions.cache import serving
from permissions.identity import uses
from permsite import protection, requests, workers
from permsite.middleware import request_id_of
from permsite.protection import OptionalLimit
from resilience import registry, trace
from resilience.maintenance import SWITCH

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

Header = tuple[bytes, bytes]


class Wire(Protocol):
    """AuthZEN's application, which can also answer some questions outright."""

    @property
    def plain_paths(self) -> frozenset[str]: ...
    def plainly(self, path: str, pairs: Sequence[Header], message: bytes) -> tuple[Sequence[Header], bytes] | None: ...
    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None: ...


STATIC: Final = "/static/"
API: Final = "/api/"
# They are asked by whoever runs us, at an address: an unknown name in Host is refused everywhere else.
PROBES: Final = frozenset({"/healthz", "/readyz", "/metrics"})
# Never behind a limit: whoever measures the health of a site under load must be answered, and whoever would end a maintenance or
# lift a limit that was set too low.
UNLIMITED: Final = ("/api/v1/system/", "/api/v1/maintenance")


class Site:
    """Dispatches by path. A path that AuthZEN does not name exactly (a trailing slash is another path) is Django's to refuse."""

    def __init__(self, *, authzen: Wire, authzen_paths: Iterable[str], static: Application, django: Application) -> None:
        self._wire = OptionalLimit(authzen, protection.WIRE, protection.plain_string)
        self._api = OptionalLimit(django, protection.API)
        self._authzen = authzen
        self._exact = frozenset(authzen_paths)
        self.plain_paths: Final = frozenset(path.encode() for path in authzen.plain_paths)
        self._static = static
        self._django = django
        self._gate = MaintenanceGate(self._dispatch, num_proxies=settings.NUM_PROXIES)
        self._socket_gate = MaintenanceGate(sockets, num_proxies=settings.NUM_PROXIES)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        kind = scope["type"]
        if kind == "http":
            path = scope["path"]
            is_wire = path in self._exact
            began_s = perf_counter()
            try:
                # Both looked at here, so that a warm check enters no gate that stands open, and one coroutine less.
                if SWITCH.on is None:
                    await (self._wire.app if is_wire else self._dispatch)(scope, receive, send)
                else:
                    await self._gate(scope, receive, send)
            finally:
                way = "wire" if is_wire else _way_of(path)
                if way is not None:
                    requests.cell(way).add(perf_counter() - began_s)
        elif kind == "lifespan":
            await _lifespan(receive, send)
        else:
            _begin_trace(scope)
            await self._socket_gate(scope, receive, send)

    async def _dispatch(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope["path"]
        if path in self._exact:
            await self._wire.app(scope, receive, send)
        elif path.startswith(STATIC):
            await self._static(scope, receive, send)
        elif path.startswith(API) and not path.startswith(UNLIMITED):
            await self._api.app(scope, receive, send)
        else:
            await self._django(_by_our_name(scope) if path in PROBES else scope, receive, send)

    def plainly(self, path: str, headers: Sequence[Header], body: bytes) -> tuple[Sequence[Header], bytes] | None:
        """For `permsite/quick.py`: answers a plain question at one of `plain_paths`, while nothing stands in front of it."""
        if SWITCH.on is not None or self._wire.is_set:
            return None
        return self._authzen.plainly(path, headers, body)

    def close(self) -> None:
        """Follows the configuration no more: for tests, which build many."""
        self._wire.close()
        self._api.close()


def _begin_trace(scope: Scope) -> None:
    """A socket is one trace for as long as it is open; what it is told tells its own."""
    headers = dict(scope["headers"])
    sent = headers.get(b"x-request-id", b"").decode("latin-1")
    trace.begin(headers.get(b"traceparent", b"").decode("latin-1"), request_id_of(sent))


def _way_of(path: str) -> requests.Way | None:
    """None: no figure of it, since files and probes are no measure of the site."""
    if path.startswith(API):
        return "api"
    return None if path.startswith(STATIC) or path in PROBES else "page"


def _by_our_name(scope: Scope) -> Scope:
    """As if it had been asked by a name of ours, which these answers do not repeat."""
    name = settings.ALLOWED_HOSTS[0].lstrip(".*") if settings.ALLOWED_HOSTS else ""
    others = [header for header in scope["headers"] if header[0] != b"host"]
    return {**scope, "headers": [*others, (b"host", (name or "localhost").encode("idna"))]}


def _end_with_the_parent() -> None:
    """A worker whose supervisor was killed would go on serving, and hold the port, for ever: it ends as if told to."""
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def watch() -> None:
        parent.join()
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, name="parent", daemon=True).start()


def _start_live() -> None:
    HEARTBEAT.start("server")
    HUB.start()
    ROOM.open()


def _stop_live() -> None:
    ROOM.close()
    HUB.stop()
    HEARTBEAT.stop()


async def _lifespan(receive: Receive, send: Send) -> None:
    """Readiness is measured, and the live configuration followed, while the server runs.

    A stopping one need not say so: uvicorn closes its socket first.
    """
    while True:
        message = await receive()
        if message["type"] == "lifespan.startup":
            _end_with_the_parent()
            workers.when_leaving(monitor.drain)
            await monitor.start()
            await sync_to_async(lambda: registry.start(Share()), thread_sensitive=False)()
            await sync_to_async(serving.start, thread_sensitive=False)()
            await sync_to_async(uses.start, thread_sensitive=False)()
            await sync_to_async(_start_live, thread_sensitive=False)()
            await sync_to_async(COLLECTOR.start, thread_sensitive=False)("server")
            await send({"type": "lifespan.startup.complete"})
        else:
            await sync_to_async(COLLECTOR.stop, thread_sensitive=False)()
            await sync_to_async(_stop_live, thread_sensitive=False)()
            await sync_to_async(uses.stop, thread_sensitive=False)()
            await sync_to_async(serving.stop, thread_sensitive=False)()
            await sync_to_async(registry.stop, thread_sensitive=False)()
            await monitor.stop()
            await send({"type": "lifespan.shutdown.complete"})
            return
