"""What a process has to tell as it happens: a bounded buffer between whoever emits and the thread that hands over.

Putting never waits and never raises; full, the oldest goes and is counted. Of an event's attributes only those named here leave
the process: others may hold keys of callers, addresses or text of errors.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, Final

from resilience import telemetry, trace
from resilience.telemetry import Event as Emitted

SIZE: Final = 2_000
MAX_TEXT: Final = 200
DROPPED: Final = "permsite_live_dropped_total"
SEVERITIES: Final = ("info", "warning", "critical")
# What is no news of good order. An event that says its own severity is believed.
SEVERITY: Final[Mapping[str, str]] = {
    "circuit_breaker.opened": "warning",
    "circuit_breaker.solo": "warning",
    "circuit_breaker.forced": "warning",
    "rate_limiter.refused": "warning",
    "bulkhead.full": "warning",
    "bulkhead.lease_lost": "warning",
    "lock.lost": "warning",
    "fallback.used": "warning",
    "storage.down": "critical",
    "config.rejected": "warning",
    "maintenance.on": "warning",
    "cache.reset": "warning",
    "cache.stale": "critical",
    "cache.l2_down": "warning",
    "decision_log.lost": "warning",
    "decision_log.failing": "warning",
    "loop.lost": "warning",
    "job.failed": "warning",
    "job.lost": "warning",
    "audit.broken": "critical",
}
# Attributes that leave the process, of any event.
SHOWN: Final = frozenset(
    {
        *("action", "affected", "age_s", "by", "cause", "code", "component", "count", "dropped", "duration_s", "epoch", "error"),
        *("expr", "fence", "from", "how", "id", "incident", "in_flight", "job", "kind", "layer", "limit", "mode", "name"),
        *("number", "outcome", "path", "policy", "problem", "progress", "reason", "refused", "result", "retry_after_s", "rev"),
        *("revision", "rule", "severity", "since", "sink", "source", "stage", "state", "step", "store", "tag", "task", "to"),
        *("again", "attempt", "done", "total", "worker", "seq", "trace_id"),
        *("until", "until_us", "value", "version", "why", "down_s", "subjects", "resources", "seconds"),
    }
)
# Attributes that are fields of every event.
FIELDS: Final = ("realm", "actor", "subject", "permission", "decision", "request_id")
# Texts of errors may name addresses and hosts: the kind of error is told by `reason` there.
WITHOUT: Final[Mapping[str, frozenset[str]]] = {"storage.down": frozenset({"error"}), "cache.flushed": frozenset({"value"})}


class Outbox:
    """`node`: short name of the process, which every event carries."""

    def __init__(self, node: str = "", size: int = SIZE) -> None:
        self.node = node
        self._events: deque[dict[str, Any]] = deque()
        self._size = size
        self._close: Callable[[], None] | None = None

    def start(self) -> None:
        """Hears the telemetry from now on."""
        if self._close is None:
            self._close = telemetry.subscribe(self.take)

    def stop(self) -> None:
        close, self._close = self._close, None
        if close is not None:
            close()

    def take(self, event: Emitted) -> None:
        # In the thread that tells: the request, or the job, that it tells of is this context's.
        attributes = event.attributes
        known = trace.current()
        if known is not None:
            attributes = {"request_id": known.request_id, "trace_id": known.trace_id, **attributes}
        severity = attributes.get("severity")
        self.put(
            {
                "at": event.at_us / 1e6,
                "name": event.name,
                "severity": severity if severity in SEVERITIES else SEVERITY.get(event.name, "info"),
                "kind": "event",
                **{field: _text(attributes.get(field)) for field in FIELDS},
                "data": shown(event.name, attributes),
            }
        )

    def put(self, event: dict[str, Any]) -> None:
        event["node"] = self.node
        if len(self._events) >= self._size:
            try:
                self._events.popleft()
            except IndexError:  # the reader was quicker
                pass
            else:
                telemetry.count(DROPPED, "events")
        self._events.append(event)

    def give_back(self, events: list[dict[str, Any]]) -> None:
        """What could not be handed over: it waits again, in front, as far as there is room."""
        room = max(0, self._size - len(self._events))
        if len(events) > room:
            telemetry.count(DROPPED, "events", by=len(events) - room)
        self._events.extendleft(reversed(events[len(events) - room :] if room else []))

    def drain(self, most: int = SIZE) -> list[dict[str, Any]]:
        taken: list[dict[str, Any]] = []
        while self._events and len(taken) < most:
            taken.append(self._events.popleft())
        return taken


def shown(name: str, attributes: Mapping[str, Any]) -> dict[str, Any]:
    """The attributes that may leave, each a number, a flag or a short text."""
    without = WITHOUT.get(name, frozenset())
    found = {}
    for key, value in attributes.items():
        if key not in SHOWN or key in without or key in FIELDS or value is None:
            continue
        plain = _plain(value)
        if plain is not None:
            found[key] = plain
    return found


def _plain(value: object) -> Any:
    if isinstance(value, bool):
        return value
    if isinstance(value, int):
        return value if abs(value) < 2**53 else str(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else None  # JSON has no word for it
    return _text(value)


def _text(value: object) -> str:
    """Short, and without what ends a line or a text of JSON half way."""
    if not isinstance(value, str):
        return ""
    return value[:MAX_TEXT].encode("utf-8", "replace").decode()
