"""The port to where processes meet: beats, frames, events and messages between them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, Protocol

Event = dict[str, Any]
Heard = Callable[[str, bytes], object]

# Kinds of messages. `events` says only that there are new ones; `rights` and `watch` go to no socket.
FRAME: Final = "frame"
NODES: Final = "nodes"
EVENTS: Final = "events"
NOTICE: Final = "notice"
RIGHTS: Final = "rights"
WATCH: Final = "watch"
KINDS: Final = frozenset({FRAME, NODES, EVENTS, NOTICE, RIGHTS, WATCH})

# Kept of events, and of frames (one a second): a quarter of an hour.
KEPT_EVENTS: Final = 10_000
KEPT_FRAMES: Final = 900
# The first event after a clearing: whoever comes with an older id learns by it that there is a gap.
CLEARED: Final = "events.cleared"


class LiveError(Exception):
    """The store does not answer. What was to be stored is not, or may be."""


class LiveStore(Protocol):
    """`beat_s`: seconds between two beats of a process. Every method may block for a time-out, and raises LiveError."""

    @property
    def name(self) -> str: ...

    @property
    def beat_s(self) -> float: ...

    def beat(self, node: str, figures: bytes) -> None: ...

    def leave(self, node: str) -> None:
        """An ordinary end: the process is gone at once, not when its beat has grown old."""
        ...

    def nodes(self) -> dict[str, bytes]:
        """The last beat of each process that beat lately, by the store's own clock: three beats, at least 5 s."""
        ...

    def publish(self, kind: str, payload: bytes) -> None:
        """Tells all processes, this one too. A message may be lost, and may come twice."""
        ...

    def listen(self, heard: Heard) -> Callable[[], None]:
        """Calls `heard(kind, payload)` in a thread of the store; it must be quick. Returns a way out."""
        ...

    def append(self, events: Sequence[Event]) -> list[str]:
        """Adds them in order; their ids. An id, `<milliseconds, 13 digits>-<number, 6 digits>`, sorts as text."""
        ...

    def events(self, after: str = "", limit: int = 200) -> list[Event]:
        """Oldest first: those after an id, else the newest."""
        ...

    def clear_events(self, marker: Event) -> str:
        """Drops all; `marker` is then the only one. Its id."""
        ...

    def put_frame(self, at_ms: int, frame: bytes) -> None: ...

    def frames(self, since_s: float) -> list[bytes]:
        """Of the last so many seconds, at most a quarter of an hour, oldest first."""
        ...

    def close(self) -> None: ...


def event_id(at_ms: int, number: int) -> str:
    return f"{at_ms:013d}-{number:06d}"


def split_id(event: str) -> tuple[int, int]:
    """Raises ValueError for what is no id of an event."""
    at_ms, mark, number = event.partition("-")
    if not (mark and at_ms.isascii() and at_ms.isdigit() and number.isascii() and number.isdigit()):
        raise ValueError(f"{event[:40]!r} is no id of an event: it is such as {event_id(1_700_000_000_000, 0)}")
    if len(at_ms) > 13 or len(number) > 6:
        raise ValueError(f"{event[:40]!r} is no id of an event: its numbers are too long")
    return int(at_ms), int(number)
