"""Reading the keys of one mapping: every mistake is collected with its place, none stops the reading.

A value that is wrong comes back as a harmless filler; whoever reads must raise `errors.Invalid` when problems were collected.
"""

from __future__ import annotations

import datetime as dt
import difflib
import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from django.core.exceptions import ValidationError

from permissions.bundle.specs import CodeSpec, Json
from permissions.engine import names
from permissions.engine.types import ConditionLanguage, ConditionSyntaxError
from permissions.errors import Problem
from permissions.models.catalog import MAX_CONDITION
from permissions.models.fields import validate_attributes, validate_obligations

RFC3339: Final = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d{1,6})?([Zz]|[+-]\d\d:\d\d)")
ONE_LINE: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
MANY_LINES: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")
DATE_HINT: Final = "write it as 2026-12-31T00:00:00Z or with an offset such as +01:00"
KINDS: Final = {
    type(None): "nothing",
    bool: "true or false",
    int: "a number",
    float: "a number",
    str: "a text",
    list: "a list",
    dict: "a mapping",
    dt.date: "a date",
    dt.datetime: "a date",
}


class BadDateError(ValueError):
    """A date that no window can begin or end with; the message says what would be right."""


class Problems(list[Problem]):
    """The mistakes found so far, and the condition language that judges conditions (None: their length alone is judged)."""

    def __init__(self, conditions: ConditionLanguage | None = None) -> None:
        super().__init__()
        self.conditions = conditions

    def note(self, where: str, message: str) -> None:
        self.append(Problem(where, message))


def kind_of(value: object) -> str:
    """What a person calls the type of `value`."""
    return KINDS.get(type(value), type(value).__name__)


def join(where: str, key: str) -> str:
    return f"{where}.{key}" if where else key


def nearest(word: str, known: Sequence[str]) -> str:
    """The end of a message about an unknown word: what was probably meant, else what is known."""
    close = difflib.get_close_matches(word, known, n=1)
    return f"did you mean '{close[0]}'?" if close else f"known are {', '.join(known)}"


def parse_date(value: object) -> dt.datetime:
    """An aware UTC datetime of an RFC 3339 text or of a datetime that a YAML reader made, else BadDateError."""
    if isinstance(value, dt.datetime):
        moment = value
    elif isinstance(value, dt.date):
        raise BadDateError(f"the date {value.isoformat()} has no time; {DATE_HINT}")
    elif not isinstance(value, str):
        raise BadDateError(f"must be a date, not {kind_of(value)}; {DATE_HINT}")
    elif not RFC3339.fullmatch(value):
        if RFC3339.fullmatch(f"{value}Z"):
            raise BadDateError(f"the date {names.shown(value)} has no offset, so its instant is unknown; add Z for UTC")
        raise BadDateError(f"{names.shown(value)} is not a date; {DATE_HINT}")
    else:
        try:
            moment = dt.datetime.fromisoformat(value.upper())
        except ValueError as error:
            raise BadDateError(f"{names.shown(value)} is not a date: {error}") from error
    if moment.tzinfo is None:
        raise BadDateError(f"the date {moment.isoformat()} has no offset, so its instant is unknown; add Z for UTC")
    try:
        return moment.astimezone(dt.UTC)
    except OverflowError as error:
        raise BadDateError(f"the date {moment.isoformat()} lies outside the years 1 to 9999 in UTC") from error


def _text_keys(value: Any) -> bool:
    """Whether every mapping inside has text keys only; json.dumps would turn 1 into "1" without a word."""
    level: list[Any] = [value]
    while level:
        item = level.pop()
        if isinstance(item, Mapping):
            if not all(isinstance(key, str) for key in item):
                return False
            level.extend(item.values())
        elif isinstance(item, list):
            level.extend(item)
    return True


class Fields:
    """The keys of one mapping at the place `where`. Each method reads one key and names its own place in a problem."""

    def __init__(self, data: object, where: str, problems: Problems, known: Sequence[str]) -> None:
        self.where = where
        self.problems = problems
        self.data: Mapping[str, Any] = {}
        if not isinstance(data, Mapping):
            problems.note(where, f"must be a mapping with keys such as '{known[0]}', not {kind_of(data)}")
            self.is_mapping = False
            return
        self.is_mapping = True
        for key in data:
            if not isinstance(key, str):
                problems.note(where, f"the key {key!r} must be a text, not {kind_of(key)}")
            elif key not in known:
                problems.note(join(where, key), f"unknown key {names.shown(key)}; {nearest(key, known)}")
        self.data = data

    def note(self, key: str, message: str) -> None:
        self.problems.note(join(self.where, key), message)

    def checked(self, place: str, value: object, check: Callable[[object], str]) -> str:
        try:
            return check(value)
        except names.BadNameError as error:
            hint = "; write it in quotes" if isinstance(value, int | float | dt.date) else ""
            self.problems.note(place, f"{error}{hint}")
            return ""

    # One text, required or not.
    def required(self, key: str, check: Callable[[object], str]) -> str:
        if self.data.get(key) is None:
            if self.is_mapping:
                self.problems.note(self.where, f"the key '{key}' is missing")
            return ""
        return self.checked(join(self.where, key), self.data[key], check)

    def optional(self, key: str, check: Callable[[object], str]) -> str | None:
        if self.data.get(key) is None:
            return None
        return self.checked(join(self.where, key), self.data[key], check)

    def text(self, key: str, max_length: int, *, many_lines: bool = False) -> str:
        """A text for people. Control characters are refused: they break a page or a log line, U+0000 the database."""
        value = self.data.get(key)
        if value is None or value == "":
            return ""
        if not isinstance(value, str):
            self.note(key, f"must be a text, not {kind_of(value)}; write it in quotes")
        elif len(value) > max_length:
            self.note(key, f"has {len(value)} characters; at most {max_length} are allowed")
        elif (MANY_LINES if many_lines else ONE_LINE).search(value):
            self.note(key, "contains a control character or a lone surrogate")
        else:
            return value
        return ""

    def condition(self, key: str = "condition") -> str:
        text = self.text(key, MAX_CONDITION, many_lines=True)
        if text and not text.strip():
            self.note(key, "is blank; leave the key out where there is no condition")
        elif text and self.problems.conditions is not None:
            try:
                self.problems.conditions.compile(text)
            except ConditionSyntaxError as error:
                self.note(key, f"is not a condition that can be saved: {error}")
        return text

    # Lists.
    def items(self, key: str) -> list[tuple[str, Any]]:
        """(place, value) of each item of a list; an absent key is an empty list."""
        value = self.data.get(key)
        if value is None:
            if key in self.data:
                self.note(key, "is empty; write [] for a list without items, or leave the key out")
            return []
        if not isinstance(value, list | tuple):
            self.note(key, f"must be a list, not {kind_of(value)}")
            return []
        place = join(self.where, key)
        return [(f"{place}[{number}]", item) for number, item in enumerate(value)]

    def texts(self, key: str, check: Callable[[object], str]) -> tuple[str, ...]:
        """A list with the meaning of a set: naming one item twice is a mistake."""
        seen: dict[str, str] = {}
        for place, item in self.items(key):
            text = self.checked(place, item, check)
            if text and text in seen:
                self.problems.note(place, f"{names.shown(text)} is named twice; first at {seen[text]}")
            elif text:
                seen[text] = place
        return tuple(seen)

    def lines(self, key: str, check: Callable[[object], str]) -> tuple[CodeSpec, ...]:
        """Permission lines: a text, or {code, condition}."""
        seen: dict[CodeSpec, str] = {}
        for place, item in self.items(key):
            if isinstance(item, Mapping):
                fields = Fields(item, place, self.problems, ("code", "condition"))
                line = CodeSpec(fields.required("code", check), fields.condition())
            else:
                line = CodeSpec(self.checked(place, item, check))
            if line.code and line in seen:
                self.problems.note(place, f"{names.shown(line.code)} is named twice; first at {seen[line]}")
            seen.setdefault(line, place)
        return tuple(seen)

    # Scalars.
    def flag(self, key: str, *, default: bool) -> bool:
        value = self.data.get(key, default)
        if not isinstance(value, bool):
            self.note(key, f"must be true or false, not {kind_of(value)}")
            return default
        return value

    def choice(self, key: str, options: Sequence[str], default: str) -> str:
        value = self.data.get(key, default)
        if not isinstance(value, str):
            self.note(key, f"must be one of {', '.join(options)}, not {kind_of(value)}")
            return default
        if value not in options:
            self.note(key, f"{names.shown(value)} is not allowed; {nearest(value, options)}")
            return default
        return value

    def number(self, key: str, *, default: float, max_value: float) -> float:
        """Seconds in [0, max_value]. A bool is an int to Python, and NaN passes every comparison's negation: both are refused."""
        value = self.data.get(key, default)
        if isinstance(value, bool) or not isinstance(value, int | float):
            self.note(key, f"must be a number, not {kind_of(value)}")
        elif not math.isfinite(value) or not 0 <= value <= max_value:
            self.note(key, f"must lie between 0 and {max_value:g}, not {value}")
        else:
            return float(value)
        return default

    def window(self) -> tuple[dt.datetime | None, dt.datetime | None]:
        ends: list[dt.datetime | None] = []
        for key in ("valid_from", "valid_until"):
            value = self.data.get(key)
            try:
                ends.append(None if value is None else parse_date(value))
            except BadDateError as error:
                self.note(key, str(error))
                ends.append(None)
        start, end = ends
        if start is not None and end is not None and start >= end:
            self.note("valid_until", f"must be later than valid_from ({start.isoformat()}), else it never holds")
        return start, end

    # Free JSON.
    def _json(self, key: str, value: Any, validate: Callable[[Any], None]) -> bool:
        if not _text_keys(value):
            self.note(key, "holds a key that is not a text; write it in quotes")
            return False
        try:
            validate(value)
        except ValidationError as error:
            self.note(key, " ".join(error.messages))
            return False
        return True

    def attributes(self, key: str = "attributes") -> Json:
        value = self.data.get(key, {})
        return value if value == {} or self._json(key, value, validate_attributes) else {}

    def obligations(self, key: str = "obligations") -> tuple[Json, ...]:
        value = self.data.get(key, [])
        return tuple(value) if value == [] or self._json(key, value, validate_obligations) else ()
