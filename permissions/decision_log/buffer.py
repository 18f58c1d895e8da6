"""The bounded buffer between checks and the writer: the flag they look at, and what one decision leaves behind."""

from __future__ import annotations

import json
import threading
import time
from collections import deque
from collections.abc import Callable
from random import Random
from typing import Any, Final, NamedTuple

import msgspec

from permissions.engine.types import Decision, Request

# Decisions that wait for the writer. It looks twenty times a second, so this is 400,000 a second: more than a process decides.
MOST: Final = 20_000
# Bytes of context and properties, encoded: of one decision (more is left out, and the line says so), and of all that wait.
MOST_OF_ONE: Final = 16_384
MOST_BYTES: Final = 32 * 1024 * 1024
# In their place: nobody wants them, or they make no JSON.
LEFT_OUT: Final = b"!"
UNWATCHED: Final = 63


class Entry(NamedTuple):
    """One decision as it waits. `given`: [context, subject, resource, action properties] as JSON, LEFT_OUT where they are not."""

    realm: str
    epoch: str
    subject: str
    permission: str
    resource: str | None
    decision: Decision
    at_us: int
    slack_us: int
    asserted: str
    given: bytes
    is_superuser_allowed: bool
    is_uncommitted: bool


# (realm, subject, permission, resource, decision); it must be quick.
Tapped = Callable[[str, str, str, "str | None", Decision], None]
# The same with a reason, for a question that got no decision.
Failed = Callable[[str, str, str, "str | None", str], None]


class On:
    """Looked at by each check: one flag; the rest is for `note`.

    `mask`: a warm check whose number has none of its bits is looked at once more. All are while the log or the tap is on, else
    one in 64. `is_on`: either is. `is_logged`: the log is.
    """

    __slots__ = ("are_denials_sure", "failed", "has_attributes", "is_logged", "is_on", "mask", "ratio", "tap")

    def __init__(self) -> None:
        self.is_on = False
        self.is_logged = False
        self.tap: Tapped | None = None
        self.failed: Failed | None = None
        self.mask = UNWATCHED
        self.ratio = 1.0
        self.are_denials_sure = True
        self.has_attributes = True

    def set(self) -> None:
        """After `is_logged` or `tap` has changed."""
        # Of two threads the later one must write last, or what the other had seen before would stand.
        with BUFFER.lock:
            self.is_on = self.is_logged or self.tap is not None
            self.mask = 0 if self.is_on else UNWATCHED


class Buffer:
    """`wake` begins the writer where none runs (a forked child). `dropped` and `bytes` are written under the lock."""

    def __init__(self) -> None:
        self.entries: deque[Entry] = deque()
        self.lock = threading.Lock()
        self.bytes = 0
        self.dropped = 0
        self.wake: Callable[[], None] | None = None

    def begin_anew(self) -> None:
        """In a forked child: what the parent holds the parent writes, and its threads may have held the lock."""
        self.entries = deque()
        self.lock = threading.Lock()
        self.bytes = self.dropped = 0

    def take(self, most: int) -> list[Entry]:
        """For the one writer: the oldest, at most so many."""
        taken: list[Entry] = []
        freed = 0
        while self.entries and len(taken) < most:
            entry = self.entries.popleft()
            freed += len(entry.given)
            taken.append(entry)
        if freed:
            with self.lock:
                self.bytes -= freed
        return taken

    def drop(self, number: int = 1) -> None:
        with self.lock:
            self.dropped += number

    def take_dropped(self) -> int:
        """How many were dropped since the last time."""
        with self.lock:
            number, self.dropped = self.dropped, 0
        return number

    def reserve(self, size: int) -> bool:
        with self.lock:
            if self.bytes + size > MOST_BYTES:
                return False
            self.bytes += size
            return True


ON: Final = On()
BUFFER: Final = Buffer()
_encode: Final = msgspec.json.Encoder().encode
_draw: Final = Random().random  # noqa: S311 - which decisions are kept is no secret; a generator of our own moves no program's


def note(  # noqa: PLR0917 - by place: a name for each would cost a check more than the rest of the call
    realm: str,
    epoch: str,
    subject: str,
    permission: str,
    resource: str | None,
    decision: Decision,
    at_us: int = 0,
    slack_us: int = 0,
    request: Request | None = None,
    is_superuser_allowed: bool = False,
    is_uncommitted: bool = False,
) -> None:
    """Keeps one decision for the log, if it is drawn. Never raises, never waits. To be called where `ON.is_on`.

    `at_us`: the instant it was evaluated at; 0: the answer hangs on no clock, so now will do. `request`: the question, where it
    brings context or properties; what they hold is encoded here, since the caller may change its own dictionaries later.
    `is_uncommitted`: it was asked inside a transaction, whose rows may never be.
    """
    try:
        tapped = ON.tap
        if tapped is not None:
            tapped(realm, subject, permission, resource, decision)
        if not ON.is_logged:
            return
        if ON.ratio < 1.0 and (decision.allowed or not ON.are_denials_sure) and _draw() >= ON.ratio:
            return
        if len(BUFFER.entries) >= MOST:
            BUFFER.drop()
            return
        asserted, given = "fill", b""
        if request is not None:
            asserted = request.asserted
            if _has_any(request):
                given = _given(request) if ON.has_attributes else LEFT_OUT
                if not BUFFER.reserve(len(given)):
                    BUFFER.drop()
                    return
        BUFFER.entries.append(
            Entry(
                realm,
                epoch,
                subject,
                permission,
                resource,
                decision,
                at_us or time.time_ns() // 1000,
                slack_us,
                asserted,
                given,
                is_superuser_allowed,
                is_uncommitted,
            )
        )
        if BUFFER.wake is not None:
            BUFFER.wake()
    except Exception:  # noqa: BLE001 - a fault of the log must not become a check's; it counts as one more that is missing
        BUFFER.drop()


def fail(realm: str, subject: str, permission: str, resource: str | None, reason: str) -> None:
    """A question that got no decision: it is no line of the log, which holds decisions. Never raises."""
    failed = ON.failed
    if failed is not None:
        try:
            failed(realm, subject, permission, resource, reason)
        except Exception:  # noqa: BLE001 - a fault of whoever looks on must not become a check's
            BUFFER.drop()


def tap(tapped: Tapped | None) -> None:
    """Shows every decision to `tapped`, in the thread of its check, until another or None is named."""
    ON.tap = tapped
    ON.set()


def tap_failures(failed: Failed | None) -> None:
    ON.failed = failed


def _has_any(request: Request) -> bool:
    return bool(request.context or request.subject_properties or request.resource_properties or request.action_properties)


def _given(request: Request) -> bytes:
    parts: list[Any] = [
        request.context,
        request.subject_properties,
        request.resource_properties,
        request.action_properties,
    ]
    try:
        return _encode(parts)
    except (ValueError, TypeError, OverflowError, RecursionError, msgspec.MsgspecError):
        return _given_slowly(parts)


def _given_slowly(parts: list[Any]) -> bytes:
    """Takes whole numbers beyond 64 bits and halves of surrogates, too."""
    try:
        return json.dumps(parts, allow_nan=False).encode()
    except (TypeError, ValueError, RecursionError):
        return LEFT_OUT
