"""What goes over a socket of the control plane, and the codes that one is closed with."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from resilience.maintenance import TRY_AGAIN_LATER

# Close codes. Below 4000: RFC 6455 and its registry; ours repeat the HTTP status that would be meant.
BINARY: Final = 1003
TOO_BIG: Final = 1009
NO_DECISION: Final = 1011
MAINTENANCE: Final = TRY_AGAIN_LATER
FULL: Final = TRY_AGAIN_LATER
MALFORMED: Final = 4400
SIGNED_OUT: Final = 4401
FORBIDDEN: Final = 4403
TOO_MANY: Final = 4429

# What a socket may be told of, and by which it must be asked for.
TOPICS: Final = frozenset({"frame", "events", "nodes"})
# Of an event that may be chosen by; `name` by how it begins, the others whole.
FILTERS: Final = ("name", "severity", "kind", "realm", "actor", "subject", "permission", "decision")
MAX_VALUES: Final = 20
MAX_VALUE: Final = 256
# Bytes of one message of events, about: as much as a socket's own buffer holds.
MAX_TEXT: Final = 32_768
# Bytes of a reason that a close frame has room for.
MAX_REASON: Final = 120

Filters = tuple[tuple[str, tuple[str, ...]], ...]


class Malformed(ValueError):
    """A message that is none; the text says what would be one."""


def write(message: Mapping[str, Any]) -> str:
    return json.dumps(message, ensure_ascii=False, separators=(",", ":"), default=str)


def close_reason(text: str) -> str:
    return text.encode()[:MAX_REASON].decode(errors="ignore")


def bye(retry_after_s: float, reason: str) -> str:
    return write({"type": "bye", "retry_after": round(retry_after_s, 1), "reason": reason})


@dataclass(frozen=True, slots=True)
class Subscribe:
    """`after`: the id of the last event that was seen; empty: only what comes."""

    topics: frozenset[str]
    filters: Filters
    after: str


@dataclass(frozen=True, slots=True)
class Ping:
    pass


def read(text: str) -> Subscribe | Ping:
    """Raises Malformed."""
    try:
        message = json.loads(text)
    except (ValueError, RecursionError):
        raise Malformed("not JSON") from None
    if not isinstance(message, dict):
        raise Malformed("a message is a JSON object")
    kind = message.get("type")
    if kind == "ping":
        return Ping()
    if kind != "subscribe":
        raise Malformed("type must be subscribe or ping")
    unknown = sorted(set(message) - {"type", "topics", "filters", "after"})
    if unknown:
        raise Malformed(f"subscribe has no {unknown[0][:40]!r}")
    topics, filters, after = message.get("topics", []), message.get("filters") or {}, message.get("after") or ""
    return Subscribe(_topics(topics), _filters(filters), _after(after))


def _topics(given: object) -> frozenset[str]:
    if not isinstance(given, list) or not all(isinstance(topic, str) and topic in TOPICS for topic in given):
        raise Malformed(f"topics must be a list of {', '.join(sorted(TOPICS))}")
    return frozenset(given)


def _after(given: object) -> str:
    if not isinstance(given, str) or len(given) > MAX_VALUE or not given.isascii():
        raise Malformed("after must be the id of an event")
    return given


def _filters(given: object) -> Filters:
    if not isinstance(given, dict):
        raise Malformed("filters must be an object")
    found = []
    for name, value in sorted(given.items()):
        if name not in FILTERS:
            raise Malformed(f"filters.{name[:40]} is none of {', '.join(FILTERS)}")
        values = [value] if isinstance(value, str) else value
        if not isinstance(values, list) or not all(isinstance(one, str) and len(one) <= MAX_VALUE for one in values):
            raise Malformed(f"filters.{name} must be a text, or a list of texts of at most {MAX_VALUE} characters")
        if len(values) > MAX_VALUES:
            raise Malformed(f"filters.{name} has more than {MAX_VALUES} texts")
        kept = tuple(sorted({one for one in values if one}))
        if kept:
            found.append((name, kept))
    return tuple(found)


def matches(event: Mapping[str, Any], filters: Filters) -> bool:
    for name, wanted in filters:
        value = event.get(name)
        if not isinstance(value, str):
            return False
        if not (value.startswith(wanted) if name == "name" else value in wanted):
            return False
    return True


@dataclass(slots=True)
class Message:
    """One message for many sockets: read and written once a process, whoever gets it. `weight`: how much is lost with it."""

    kind: str
    text: str
    _events: list[dict[str, Any]] | None = field(default=None, repr=False)

    @classmethod
    def of(cls, kind: str, payload: bytes) -> Message:
        return cls(kind, payload.decode())

    @classmethod
    def pieces(cls, kind: str, payload: bytes) -> list[Message]:
        """A long message of events in several: what one socket has in its hands is a piece, and its buffer holds no more."""
        whole = cls.of(kind, payload)
        if kind != "events" or len(payload) <= MAX_TEXT:
            return [whole]
        events = whole.events
        share = max(1, len(events) * MAX_TEXT // len(payload))
        return [cls(kind, events_text(events[at : at + share])) for at in range(0, len(events), share)]

    @property
    def events(self) -> list[dict[str, Any]]:
        if self._events is None:
            found = json.loads(self.text).get("events", []) if self.kind == "events" else []
            self._events = [event for event in found if isinstance(event, dict)]
        return self._events

    @property
    def weight(self) -> int:
        return len(self.events) if self.kind == "events" else int(bool(self.text))

    @property
    def last(self) -> str:
        """The id of its last event; empty without any."""
        return str(self.events[-1].get("id", "")) if self.events else ""


def events_text(events: list[dict[str, Any]]) -> str:
    return write({"type": "events", "events": events, "last": events[-1].get("id", "") if events else ""})


def gap(dropped: int | None, last: str) -> str:
    """`dropped` None: nobody knows how many."""
    return write({"type": "gap", "dropped": dropped, "last": last})
