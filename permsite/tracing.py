"""Spans for whoever traces: OpenTelemetry around the site, in each worker; without it the ids of `resilience.trace` stand.

The packages (group `otel`) are imported here alone, and only where OTEL asks for them.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

from permsite.logging import instance
from permsite.version import VERSION
from resilience import trace

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import SpanProcessor, TracerProvider

    from permsite.dispatch import Site

log = logging.getLogger("permsite.tracing")

# Probes and metrics would be most of what is kept, and say nothing; an open socket would be one request that never ends.
EXCLUDED: Final = r"/healthz$,/readyz$,/metrics$,/ws/"
HINT: Final = "install the packages of the group otel (uv sync --group otel), or unset OTEL"
# Seconds for the last spans at the end: a collector that is away must not keep the server.
FLUSH_S: Final = 2.0

Header = tuple[bytes, bytes]
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

_provider: TracerProvider | None = None


def start(processor: SpanProcessor | None = None) -> bool:
    """Before Django's handler is built, which reads its middleware then. False: nobody traces. Once a process.

    Raises ImproperlyConfigured where OTEL=1 and the packages are missing; where only the variables of a collector are set, as
    platforms do for every container, that is said once, and the site runs without spans.
    """
    global _provider  # noqa: PLW0603 - one a process
    if processor is None and not settings.OTEL:
        return False
    if _provider is not None:
        return True
    try:
        from opentelemetry.instrumentation.django import DjangoInstrumentor  # noqa: PLC0415
        from opentelemetry.sdk.resources import Resource  # noqa: PLC0415
        from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
    except ImportError as error:
        if settings.OTEL_ASKED:
            raise ImproperlyConfigured(f"OTEL is set, and there is no {error.name}: {HINT}") from error
        log.warning("a collector is named, and there is no %s: no spans; %s", error.name, HINT)
        return False
    about = {"service.version": VERSION, "service.instance.id": instance()}
    if not os.environ.get("OTEL_SERVICE_NAME"):
        about["service.name"] = "permsite"
    _provider = TracerProvider(resource=Resource.create(about))
    _provider.add_span_processor(processor or _exporting())
    DjangoInstrumentor().instrument(tracer_provider=_provider, excluded_urls=EXCLUDED)
    trace.set_source(_own)
    return True


def _exporting() -> SpanProcessor:
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415
    from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415

    return BatchSpanProcessor(OTLPSpanExporter())


def stop() -> None:
    """Sends what is left, for as long as that may take at the end of a server; then ours alone are the ids again."""
    global _provider
    provider, _provider = _provider, None
    if provider is None:
        return
    from opentelemetry.instrumentation.django import DjangoInstrumentor  # noqa: PLC0415

    trace.set_source(None)
    DjangoInstrumentor().uninstrument()
    # A daemon: the exporter tries again for longer than anybody waits.
    last = threading.Thread(target=provider.shutdown, name="last-spans", daemon=True)
    last.start()
    last.join(FLUSH_S)


def _own() -> trace.Parent | None:
    from opentelemetry.trace import get_current_span  # noqa: PLC0415 - it is loaded by now

    span = get_current_span().get_span_context()
    if not span.is_valid:
        return None
    return trace.Parent(format(span.trace_id, "032x"), format(span.span_id, "016x"), span.trace_flags.sampled)


class Traced:
    """The site with a span around each request. A plain question without `traceparent` is answered as ever, untraced."""

    def __init__(self, site: Site) -> None:
        from opentelemetry.instrumentation.asgi import OpenTelemetryMiddleware  # noqa: PLC0415

        self._site = site
        self._http: Any = OpenTelemetryMiddleware(
            site, excluded_urls=EXCLUDED, tracer_provider=_provider, exclude_spans=["receive", "send"]
        )

    def __getattr__(self, name: str) -> Any:
        return getattr(self._site, name)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await self._http(scope, receive, send)
            return
        try:
            await self._site(scope, receive, send)
        finally:
            if scope["type"] == "lifespan":
                stop()

    def plainly(self, path: str, headers: Sequence[Header], body: bytes) -> tuple[Sequence[Header], bytes] | None:
        if any(name == b"traceparent" for name, _ in headers):
            return None
        return self._site.plainly(path, headers, body)


def around(site: Site) -> Site | Traced:
    return site if _provider is None else Traced(site)
