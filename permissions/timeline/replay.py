"""Replay of a decision log: every line is decided once more, with the rows of its revision and at its instant."""

from __future__ import annotations

import datetime as dt
import json
import uuid
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from permissions import revisions, selectors
from permissions.engine.questions import question
from permissions.engine.reasons import InvalidRequestError
from permissions.engine.types import Decision, Request
from permissions.models import Realm
from permissions.selectors import to_us
from permissions.timeline.asking import Timeline, decide, refusals
from permissions.timeline.floor import Floor, NotKept, check_kept, floor_of

VERSION: Final = 1
# What became of a line. `skipped`: it does not say enough, or its rows cannot be read back.
Result = Literal["same", "different", "skipped", "unreadable"]
# Bytes. A line holds at most 16 KiB of context and properties; far longer ones are not ours.
MAX_LINE: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class Outcome:
    """Of line `number` (from 1). `told`: why it was skipped or cannot be read, or what differs; empty where nothing does."""

    number: int
    result: Result
    told: str = ""


class _BadLine(ValueError):
    """The line is none of a decision log; the text says why."""


@dataclass(frozen=True, slots=True)
class Logged:
    """A line as it was read: the question, the answer, and the position it was given at."""

    request: Request
    allowed: bool
    reason: str
    epoch: str
    revision: int
    at_us: int
    slack_us: int
    superuser_allowed: bool
    skipped: str


def _take(line: Mapping[str, Any], name: str, kind: type, default: Any = ...) -> Any:
    value = line.get(name, default)
    if value is ...:
        raise _BadLine(f"{name} is missing")
    # A flag is no number here, though Python has it so.
    if value is not default and (not isinstance(value, kind) or (kind is int and isinstance(value, bool))):
        raise _BadLine(f"{name} must be {_KINDS[kind]}, not {type(value).__name__}")
    return value


_KINDS: Final = {str: "a text", bool: "true or false", int: "a whole number", dict: "an object", list: "a list"}


def _instant(text: str) -> int:
    try:
        at = dt.datetime.fromisoformat(text)
    except ValueError:
        raise _BadLine(f"at is {text[:40]!r}, which is no time such as 2026-01-31T12:00:00.000000Z") from None
    if at.tzinfo is None:
        raise _BadLine("at names no zone")
    return to_us(at) or 0


def _epoch(text: str) -> str:
    try:
        return uuid.UUID(text).hex
    except ValueError:
        raise _BadLine(f"epoch is {text[:40]!r}, not 32 hex digits") from None


def read_line(text: str) -> Logged:
    """Raises ValueError for what is no line of a decision log."""
    if len(text) > MAX_LINE:
        raise _BadLine(f"it is longer than {MAX_LINE} characters")
    try:
        line = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise _BadLine(f"it is not JSON: {error}") from error
    if not isinstance(line, dict):
        raise _BadLine(f"it must be an object, not {type(line).__name__}")
    if line.get("v") is True or line.get("v") != VERSION:
        raise _BadLine(f"v is {str(line.get('v'))[:40]!r}; this version reads {VERSION}")
    skipped = _skipped(line)
    asserted = _take(line, "asserted", str, "fill")
    if asserted not in ("override", "fill", "ignore"):
        raise _BadLine(f"asserted is {asserted[:40]!r}; it takes override, fill or ignore")
    subject, resource = _take(line, "subject", str), _take(line, "resource", str, None)
    request = question(
        subject,
        _take(line, "permission", str),
        resource,
        context=_take(line, "context", dict, None),
        subject_properties=_take(line, "subject_properties", dict, None),
        resource_properties=_take(line, "resource_properties", dict, None),
        action_properties=_take(line, "action_properties", dict, None),
        asserted=asserted,
    )
    return Logged(
        request,
        _take(line, "allowed", bool),
        _take(line, "reason", str),
        _epoch(_take(line, "epoch", str)),
        _take(line, "revision", int),
        _instant(_take(line, "at", str)),
        _take(line, "slack_us", int, 0),
        _take(line, "superuser_allowed", bool, False),
        skipped,
    )


def _skipped(line: Mapping[str, Any]) -> str:
    """Why the line cannot be decided once more; empty where it can."""
    for name, told in (
        ("hashed", "is hashed"),
        ("redacted", "is redacted"),
        ("omitted", "was left out"),
    ):
        parts = _take(line, name, list, [])
        if parts:
            return f"{', '.join(map(str, parts))[:200]} {told}"
    return "it was asked inside a transaction" if _take(line, "uncommitted", bool, False) else ""


@dataclass(slots=True)
class Replay:
    """All lines of a log against one snapshot of the database, which stays open for the `with` block.

    `needed`: by epoch, the oldest revision that a line names, as `surveyed` finds them.
    """

    needed: Mapping[str, int]
    counts: dict[Result, int] = field(default_factory=lambda: {"same": 0, "different": 0, "skipped": 0, "unreadable": 0})
    _lines: dict[str, tuple[Timeline, Floor] | str] = field(default_factory=dict)
    _open: ExitStack = field(default_factory=ExitStack)

    def __enter__(self) -> Replay:
        self._open.enter_context(refusals("default"))
        self._open.enter_context(selectors.one_snapshot())
        return self

    def __exit__(self, *error: Any) -> bool | None:
        return self._open.__exit__(*error)

    def outcomes(self, lines: Iterable[str]) -> Iterator[Outcome]:
        for number, text in enumerate(lines, 1):
            if not text.strip():
                continue
            outcome = self._outcome(number, text)
            self.counts[outcome.result] += 1
            yield outcome

    def _outcome(self, number: int, text: str) -> Outcome:
        try:
            logged = read_line(text)
        except (_BadLine, InvalidRequestError) as error:
            return Outcome(number, "unreadable", str(error))
        if logged.skipped:
            return Outcome(number, "skipped", logged.skipped)
        try:
            decision = self._decided(logged)
        except InvalidRequestError as error:
            return Outcome(number, "skipped", str(error))
        if (decision.allowed, decision.reason) == (logged.allowed, logged.reason):
            return Outcome(number, "same")
        asked = logged.request
        return Outcome(
            number,
            "different",
            f"{asked.subject} {asked.permission} {asked.resource or 'realm'} at revision {logged.revision}: logged "
            f"{_word(logged.allowed)} {logged.reason!r}, replayed {_word(decision.allowed)} {decision.reason!r}",
        )

    def _decided(self, logged: Logged) -> Decision:
        found = self._lines.get(logged.epoch)
        if found is None:
            found = self._lines[logged.epoch] = self._opened(logged.epoch)
        if isinstance(found, str):
            raise NotKept(found)
        line, floor = found
        check_kept(line.head, floor, logged.revision)
        pinned = line.pinned(logged.revision, [logged.request], logged.at_us)
        return decide(pinned, logged.request, superuser=logged.superuser_allowed, slack_us=logged.slack_us)

    def _opened(self, epoch: str) -> tuple[Timeline, Floor] | str:
        # By its epoch: the realm may have another name by now.
        realm = Realm.objects.filter(epoch=uuid.UUID(epoch)).first()
        if realm is None:
            return "it belongs to another history: its realm is gone, or began anew"
        head = revisions.head_of(realm)
        try:
            floor = floor_of(head)
        except NotKept as error:
            return str(error)
        return Timeline(head, min(max(floor.rev, self.needed.get(epoch, head.rev)), head.rev)), floor


def _word(allowed: bool) -> str:
    return "allowed" if allowed else "denied"


def surveyed(lines: Iterable[str]) -> tuple[int, dict[str, int]]:
    """How many lines there are, and by epoch the oldest revision that one of them names."""
    number, needed = 0, dict[str, int]()
    for text in lines:
        number += 1
        try:
            logged = read_line(text)
        except (_BadLine, InvalidRequestError):
            continue
        needed[logged.epoch] = min(needed.get(logged.epoch, logged.revision), logged.revision)
    return number, needed
