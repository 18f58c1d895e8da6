"""What people type about alerts, checked at one place: every mistake with its field, nothing half taken."""

from __future__ import annotations

import datetime as dt
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from controlplane.models.alerts import SEVERITIES
from controlplane.services.alert_expressions import checked
from permissions.engine.types import ConditionSyntaxError
from permissions.errors import Conflict, Invalid, Problem

MAX_NAME: Final = 60
MAX_TEXT: Final = 500
MAX_REASON: Final = 1000
MAX_LABELS: Final = 10
MAX_FOR_S: Final = 86_400.0
MIN_REPEAT_S: Final = 60.0
MAX_REPEAT_S: Final = 604_800.0
MAX_SILENCE: Final = dt.timedelta(days=7)
# Names of incidents that no rule makes: a rule of that name would be taken for them.
RESERVED: Final = frozenset({"rule_error", "handler_failed"})
RULE_FIELDS: Final = (
    "name",
    "expr",
    "for_s",
    "severity",
    "labels",
    "handlers",
    "text_en",
    "text_zh",
    "repeat_s",
    "enabled",
)
_NAME: Final = re.compile(rf"[A-Za-z0-9_.-]{{1,{MAX_NAME}}}\Z")
_LABEL: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,39}\Z")


class Stale(Conflict):
    """It was changed since it was looked at."""


class Reader:
    """Reads one field after the other and gathers every mistake."""

    def __init__(self, data: Mapping[str, Any]) -> None:
        self.data = data
        self.problems: list[Problem] = []

    def wrong(self, where: str, message: str) -> None:
        self.problems.append(Problem(where, message))

    def done(self) -> None:
        """Raises Invalid."""
        if self.problems:
            raise Invalid(self.problems)

    def name(self, where: str = "name") -> str:
        found = self.data.get(where)
        if not isinstance(found, str) or not _NAME.match(found):
            self.wrong(where, f"must be 1 to {MAX_NAME} of the characters A-Z a-z 0-9 _ . -")
            return ""
        return found

    def text(self, where: str, most: int = MAX_TEXT) -> str:
        found = self.data.get(where, "")
        if not isinstance(found, str) or len(found) > most or not found.isprintable():
            self.wrong(where, f"must be a text of at most {most} characters on one line")
            return ""
        return found.strip()

    def flag(self, where: str, default: bool) -> bool:
        found = self.data.get(where, default)
        if not isinstance(found, bool):
            self.wrong(where, "must be true or false")
            return default
        return found

    def seconds(self, where: str, default: float | None, least: float, most: float) -> float | None:
        """`default` None: null is a value too."""
        found = self.data.get(where, default)
        if found is None and default is None:
            return None
        if (
            isinstance(found, bool)
            or not isinstance(found, int | float)
            or not math.isfinite(found)
            or not least <= found <= most
        ):
            self.wrong(where, f"must be a number of seconds from {least:g} to {most:g}{', or null' if default is None else ''}")
            return default
        return float(found)

    def choice(self, where: str, default: str, among: Sequence[str]) -> str:
        found = self.data.get(where, default)
        if not isinstance(found, str) or found not in among:
            self.wrong(where, f"must be one of {', '.join(among)}")
            return default
        return found

    def names(self, where: str, known: Sequence[str]) -> list[str]:
        found = self.data.get(where, [])
        if not isinstance(found, list) or len(found) > len(known) or any(not isinstance(name, str) for name in found):
            self.wrong(where, "must be a list of names of handlers, each once; an empty one means those that are on by default")
            return []
        for n, name in enumerate(found):
            if name not in known:
                self.wrong(f"{where}[{n}]", f"there is no such handler; known are {', '.join(known)}")
            elif name in found[:n]:
                self.wrong(f"{where}[{n}]", "is named twice")
        return list(found)

    def labels(self, where: str = "labels") -> dict[str, str]:
        found = self.data.get(where, {})
        if not isinstance(found, Mapping) or len(found) > MAX_LABELS:
            self.wrong(where, f"must be an object of at most {MAX_LABELS} names and texts")
            return {}
        for name, value in found.items():
            if not isinstance(name, str) or not _LABEL.match(name):
                self.wrong(f"{where}.{str(name)[:60]}", "a label's name is a letter or _, then up to 39 letters, digits and _")
            elif not isinstance(value, str) or not 1 <= len(value) <= 100 or not value.isprintable():
                self.wrong(f"{where}.{name}", "must be a text of 1 to 100 characters")
        return dict(found)


def rule_values(data: Mapping[str, Any], handlers: Sequence[str]) -> dict[str, Any]:
    """As the row's columns. `handlers`: the names there are. Raises Invalid with every mistake."""
    read = Reader(data)
    for unknown in [name for name in data if name not in RULE_FIELDS]:
        read.wrong(str(unknown)[:60], f"is not known here; known are {', '.join(RULE_FIELDS)}")
    values: dict[str, Any] = {
        "name": read.name(),
        "expr": expression_of(read),
        "for_s": read.seconds("for_s", 0.0, 0.0, MAX_FOR_S),
        "severity": read.choice("severity", "warning", SEVERITIES),
        "labels": read.labels(),
        "handlers": read.names("handlers", handlers),
        "text_en": read.text("text_en"),
        "text_zh": read.text("text_zh"),
        "repeat_s": read.seconds("repeat_s", None, MIN_REPEAT_S, MAX_REPEAT_S),
        "is_enabled": read.flag("enabled", True),
    }
    if values["name"] in RESERVED:
        read.wrong("name", f"{', '.join(sorted(RESERVED))} are names of our own incidents")
    read.done()
    return values


def expression_of(read: Reader) -> str:
    found = read.data.get("expr")
    if found is None:
        read.wrong("expr", "is missing")
        return ""
    try:
        return checked(found).text
    except ConditionSyntaxError as error:
        read.wrong("expr", str(error))
        return ""


def reason_of(reason: object) -> str:
    """Raises Invalid."""
    if not isinstance(reason, str) or not reason.strip() or len(reason) > MAX_REASON or not reason.isprintable():
        raise Invalid([Problem("reason", f"say why, in 1 to {MAX_REASON} characters on one line")])
    return reason.strip()


def end_of(until: object, now: dt.datetime) -> dt.datetime:
    """A time to come, at most seven days ahead. Raises Invalid."""
    wrong = Invalid([Problem("until", "must be a time to come, with its zone, at most 7 days from now")])
    found: dt.datetime | None = None
    if isinstance(until, str) and len(until) <= 40:
        try:
            found = dt.datetime.fromisoformat(until)
        except ValueError:
            raise wrong from None
    elif isinstance(until, dt.datetime):
        found = until
    if found is None or found.tzinfo is None:
        raise wrong
    try:
        found = found.astimezone(dt.UTC)
    except OverflowError:
        raise wrong from None
    if not now < found <= now + MAX_SILENCE:
        raise wrong
    return found
