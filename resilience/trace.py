"""Which request is being answered: its id, its trace (W3C Trace Context), its realm and actor, carried in a context variable.

Whoever receives something from outside begins a trace: a request, a socket, a job. Whoever tells of something, a log line, an
event, a statement, reads it. Ids that came from outside are believed only where they are well-formed: 32 and 16 hex digits.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Final, NamedTuple

TRACEPARENT: Final = "traceparent"
_W3C: Final = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?\Z", re.ASCII)
_NO_TRACE: Final = "0" * 32
_NO_SPAN: Final = "0" * 16
# The longest that is looked at: a future version may say more after its flags, nobody needs to send kilobytes.
MAX_HEADER: Final = 200


class Parent(NamedTuple):
    """What a valid `traceparent` says."""

    trace_id: str
    span_id: str
    is_sampled: bool


class Trace(NamedTuple):
    """`span_id`: our own part of the trace. `is_sampled`: somebody keeps it, by the flag that came with it or by our tracer."""

    request_id: str
    trace_id: str
    span_id: str
    is_sampled: bool = False
    realm: str = ""
    actor: str = ""

    @property
    def traceparent(self) -> str:
        return f"00-{self.trace_id}-{self.span_id}-{'01' if self.is_sampled else '00'}"


# A tracer's own span, where one runs: then its ids are told, not ours.
Source = Callable[[], "Parent | None"]

_current: ContextVar[Trace | None] = ContextVar("resilience_trace", default=None)
_source: Source | None = None


def parse(header: str) -> Parent | None:
    """None for what is no valid traceparent: another trace is begun then, as the specification asks."""
    if len(header) > MAX_HEADER:
        return None
    found = _W3C.match(header)
    if found is None:
        return None
    version, trace_id, span_id, flags, more = found.groups()
    if version == "ff" or trace_id == _NO_TRACE or span_id == _NO_SPAN or (version == "00" and more is not None):
        return None
    return Parent(trace_id, span_id, bool(int(flags, 16) & 1))


def begin(traceparent: str = "", request_id: str = "") -> Trace:
    """The trace of what comes in now, from here on the current one of this context. `request_id` must be harmless already.

    Without a request id the trace's own becomes it, with the span where the trace is older than this request: so an audit entry,
    which keeps the request's id alone, leads to the trace.
    """
    parent = parse(traceparent) if traceparent else None
    own = _source() if _source is not None else None
    if own is not None:
        trace_id, span_id, is_sampled = own
    else:
        trace_id = parent.trace_id if parent is not None else secrets.token_hex(16)
        span_id = secrets.token_hex(8)
        is_sampled = parent is not None and parent.is_sampled
    if not request_id:
        request_id = trace_id if parent is None else f"{trace_id}-{span_id}"
    trace = Trace(request_id, trace_id, span_id, is_sampled)
    _current.set(trace)
    return trace


@contextmanager
def going_on(traceparent: str, request_id: str = "", *, realm: str = "", actor: str = "") -> Iterator[Trace]:
    """A trace for the block alone: work that was asked for earlier, elsewhere. The one before is back afterwards."""
    token = _current.set(None)
    try:
        begin(traceparent, request_id)
        note(realm=realm, actor=actor)
        yield current() or Trace("", "", "")
    finally:
        _current.reset(token)


def current() -> Trace | None:
    return _current.get()


def clear() -> None:
    _current.set(None)


def note(*, realm: str = "", actor: str = "") -> None:
    """Who asks, and of which realm, once that is known. Without a trace nothing is noted."""
    trace = _current.get()
    if trace is not None and ((realm and realm != trace.realm) or (actor and actor != trace.actor)):
        _current.set(trace._replace(realm=realm or trace.realm, actor=actor or trace.actor))


def fields() -> dict[str, str]:
    """For a log line or an event: what is known, nothing empty."""
    trace = _current.get()
    if trace is None:
        return {}
    told = {"request_id": trace.request_id, "trace_id": trace.trace_id, "span_id": trace.span_id}
    if trace.realm:
        told["realm"] = trace.realm
    if trace.actor:
        told["actor"] = trace.actor
    return told


def traceparent() -> str:
    """To hand on with a call or a job; empty without a trace."""
    trace = _current.get()
    return "" if trace is None else trace.traceparent


def set_source(source: Source | None) -> None:
    """A tracer that makes spans of its own (`permsite.tracing`)."""
    global _source  # noqa: PLW0603 - one a process
    _source = source
