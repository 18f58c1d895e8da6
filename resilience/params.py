"""Typed parameter tables: one declaration gives the check, the form, the API and the reference page of a live parameter.

A section is keyed (`limiters`: name → parameters) or single (`maintenance`: parameters). `validate` returns typed values or
raises ConfigInvalid with the path of the first mistake; `problems` lists all of them. Only what is given is returned: the
defaults of a keyed section are those of the object that reads it. Other apps `register` sections of their own.
"""

from __future__ import annotations

import datetime as dt
import ipaddress
import math
import re
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from resilience.errors import ConfigInvalid

Kind = Literal["int", "float", "bool", "text", "choice", "texts", "moment"]

MAX_NAMES: Final = 1000  # in one section; a snapshot is read whole by every process (chosen)
MAX_ITEMS: Final = 200  # in one list
MAX_TEXT: Final = 500
MAX_INT: Final = 2**53 - 1  # what a script in Redis can count exactly
_NAME: Final = re.compile(r"[A-Za-z0-9_.-]{1,100}\Z")  # as storage.keys has it: a name becomes part of a key
# Seconds; year 9999. Later ones cannot be shown as a date.
_LAST_MOMENT: Final = 253_402_300_799.0


class Mistake(ValueError):
    """One value is wrong; the text says how, the caller knows where."""


@dataclass(frozen=True, slots=True)
class Param:
    """One parameter. `nullable`: None is a value too; `check` adds a law of its own to each text.

    A default None where None is no value means: whatever the object says that reads it.
    """

    name: str
    type: Kind
    default: Any = None
    min: float | None = None
    max: float | None = None
    choices: tuple[str, ...] = ()
    help: str = ""
    check: Callable[[str], str] | None = None
    nullable: bool = False

    def parse(self, value: object) -> Any:
        """The typed value. Raises Mistake."""
        if value is None:
            if self.nullable:
                return None
            raise Mistake("must not be null")
        return _PARSERS[self.type](self, value)


@dataclass(frozen=True, slots=True)
class Section:
    """`check` sees the typed values of one entry together, once each alone is right; it raises Mistake."""

    name: str
    params: tuple[Param, ...]
    keyed: bool
    help: str = ""
    check: Callable[[Mapping[str, Any]], None] | None = None

    def param(self, name: str) -> Param | None:
        return next((param for param in self.params if param.name == name), None)

    def defaults(self) -> dict[str, Any]:
        return {param.name: param.default for param in self.params}


SECTIONS: Final[dict[str, Section]] = {}
_lock: Final = threading.Lock()


def register(section: Section) -> Section:
    """Adds a section. Registering the same one again is nothing; another of its name is a ValueError."""
    with _lock:
        present = SECTIONS.get(section.name)
        if present is not None and present != section:
            raise ValueError(f"a section {section.name!r} is registered already")
        SECTIONS[section.name] = section
    return section


def section_of(name: str) -> Section:
    section = SECTIONS.get(name)
    if section is None:
        raise ConfigInvalid(name, f"there is no such section; known are {', '.join(sorted(SECTIONS))}")
    return section


def validate(section: str, values: object) -> dict[str, Any]:
    """The typed values. Raises ConfigInvalid(path, problem) for the first mistake; nothing of a wrong section is used."""
    typed, wrong = _read(section_of(section), values)
    if wrong:
        raise ConfigInvalid(*wrong[0])
    return typed


def problems(section: str, values: object) -> list[tuple[str, str]]:
    """Every mistake as (path, problem); empty when `validate` would take the values."""
    return _read(section_of(section), values)[1]


def validate_all(sections: object) -> dict[str, dict[str, Any]]:
    """A whole snapshot. A section that nobody registered here is left out: nothing in this process reads it."""
    if not isinstance(sections, Mapping):
        raise ConfigInvalid("", f"must be an object of sections, not {_kind_of(sections)}")
    return {name: validate(name, values) for name, values in sections.items() if name in SECTIONS}


def plain(value: Any) -> Any:
    """Typed values as JSON keeps them."""
    if isinstance(value, Mapping):
        return {name: plain(item) for name, item in value.items()}
    return [plain(item) for item in value] if isinstance(value, tuple | list) else value


def _read(section: Section, values: object) -> tuple[dict[str, Any], list[tuple[str, str]]]:
    wrong: list[tuple[str, str]] = []
    if not isinstance(values, Mapping):
        return {}, [(section.name, f"must be an object, not {_kind_of(values)}")]
    if not section.keyed:
        return _read_entry(section, values, section.name, wrong), wrong
    typed: dict[str, Any] = {}
    if len(values) > MAX_NAMES:
        wrong.append((section.name, f"holds {len(values)} names; at most {MAX_NAMES} are allowed"))
        return typed, wrong
    for name, entry in values.items():
        if not isinstance(name, str) or not _NAME.match(name):
            wrong.append((f"{section.name}.{shown(name)}", "a name is 1 to 100 of the characters A-Z a-z 0-9 _ . -"))
        elif not isinstance(entry, Mapping):
            wrong.append((f"{section.name}.{name}", f"must be an object, not {_kind_of(entry)}"))
        else:
            typed[name] = _read_entry(section, entry, f"{section.name}.{name}", wrong)
    return typed, wrong


def _read_entry(section: Section, entry: Mapping[Any, Any], path: str, wrong: list[tuple[str, str]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    before = len(wrong)
    for name in entry:
        if not isinstance(name, str) or section.param(name) is None:
            known = ", ".join(param.name for param in section.params)
            wrong.append((f"{path}.{shown(name)}", f"there is no such parameter; known are {known}"))
    for param in section.params:
        if param.name not in entry:
            continue
        try:
            found[param.name] = param.parse(entry[param.name])
        except Mistake as mistake:
            wrong.append((f"{path}.{param.name}", str(mistake)))
    if section.check is not None and len(wrong) == before:
        try:
            section.check(found)
        except Mistake as mistake:
            wrong.append((path, str(mistake)))
    return found


def shown(value: object) -> str:
    """A foreign name as an error may quote it: escaped, short."""
    text = value if isinstance(value, str) else repr(value)
    text = text if text.isprintable() else ascii(text)
    return text if len(text) <= 60 else text[:57] + "…"


def _kind_of(value: object) -> str:
    names = {bool: "a boolean", int: "a number", float: "a number", str: "a text", list: "a list", dict: "an object"}
    return "null" if value is None else names.get(type(value), type(value).__name__)


def _in_bounds(param: Param, number: float) -> None:
    if (param.min is not None and number < param.min) or (param.max is not None and number > param.max):
        raise Mistake(f"must be {bounds(param)}, not {shown(number)}")


def bounds(param: Param) -> str:
    """The bounds in words: `1 to 100`, `at least 1`."""
    if param.min is not None and param.max is not None:
        return f"{number_text(param.min)} to {number_text(param.max)}"
    if param.min is not None:
        return f"at least {number_text(param.min)}"
    return f"at most {number_text(param.max)}" if param.max is not None else ""


def number_text(number: float) -> str:
    return str(int(number)) if float(number).is_integer() else str(number)


def _int(param: Param, value: object) -> int:
    # A boolean is an int to Python, and 3.0 is equal to 3; in a configuration either is a slip.
    if isinstance(value, bool) or not isinstance(value, int):
        raise Mistake(f"must be a whole number, not {_kind_of(value) if not isinstance(value, float) else shown(value)}")
    if not -MAX_INT <= value <= MAX_INT:
        raise Mistake("is too large: a script in Redis counts exactly up to 2^53")
    _in_bounds(param, value)
    return value


def _float(param: Param, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise Mistake(f"must be a number, not {_kind_of(value)}")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise Mistake(f"must be a finite number, not {shown(value)}")
    _in_bounds(param, number)
    return number


def _bool(param: Param, value: object) -> bool:
    if not isinstance(value, bool):
        raise Mistake(f"must be true or false, not {_kind_of(value)}")
    return value


def _text(param: Param, value: object) -> str:
    if not isinstance(value, str):
        raise Mistake(f"must be a text, not {_kind_of(value)}")
    limit = int(param.max) if param.max is not None else MAX_TEXT
    if len(value) > limit:
        raise Mistake(f"has {len(value)} characters; at most {limit} are allowed")
    # Half a surrogate pair cannot be stored or sent, and a control character would split a header or a log line.
    if any(ord(c) < 32 or ord(c) == 127 or 0xD800 <= ord(c) <= 0xDFFF for c in value):
        raise Mistake("contains a control character or half of a surrogate pair")
    if len(value) < (param.min or 0):
        raise Mistake("must not be empty")
    return param.check(value) if param.check is not None else value


def _choice(param: Param, value: object) -> str:
    if not isinstance(value, str) or value not in param.choices:
        given = shown(value) if isinstance(value, str) else _kind_of(value)
        raise Mistake(f"must be one of {', '.join(param.choices)}, not {given}")
    return value


def _texts(param: Param, value: object) -> tuple[str, ...]:
    if isinstance(value, str) or not isinstance(value, Sequence):
        raise Mistake(f"must be a list of texts, not {_kind_of(value)}")
    if len(value) > MAX_ITEMS:
        raise Mistake(f"holds {len(value)} items; at most {MAX_ITEMS} are allowed")
    items: list[str] = []
    for place, item in enumerate(value):
        try:
            text = _text(param, item)
            if not text:
                raise Mistake("must not be empty")
        except Mistake as mistake:
            raise Mistake(f"item {place}: {mistake}") from None
        items.append(text)
    return tuple(dict.fromkeys(items))


def _moment(param: Param, value: object) -> float:
    """Seconds since 1970, UTC. As a text: RFC 3339 with its zone."""
    if isinstance(value, str):
        try:
            moment = dt.datetime.fromisoformat(value)
        except ValueError:
            raise Mistake(f"must be a time such as 2030-01-31T12:00:00Z, not {shown(value)}") from None
        if moment.tzinfo is None:
            raise Mistake(f"must name its zone, such as 2030-01-31T12:00:00Z, not {shown(value)}")
        try:
            value = moment.timestamp()
        except (OverflowError, ValueError):
            raise Mistake(f"is out of range: {shown(value)}") from None
    number = _float(param, value)
    if not 0 <= number <= _LAST_MOMENT:
        raise Mistake(f"must lie between the years 1970 and 9999, not {shown(number)}")
    return number


def moment_of(seconds: float) -> dt.datetime:
    return dt.datetime.fromtimestamp(seconds, dt.UTC)


_PARSERS: Final[Mapping[Kind, Callable[[Param, object], Any]]] = {
    "int": _int,
    "float": _float,
    "bool": _bool,
    "text": _text,
    "choice": _choice,
    "texts": _texts,
    "moment": _moment,
}


def name_text(text: str) -> str:
    """The name of another configured object."""
    if not _NAME.match(text):
        raise Mistake("a name is 1 to 100 of the characters A-Z a-z 0-9 _ . -")
    return text


def network_text(text: str) -> str:
    """An address or a network, as the standard library writes it."""
    try:
        return str(ipaddress.ip_network(text.strip(), strict=False))
    except ValueError:
        raise Mistake(f"must be an address or a network such as 10.0.0.0/8 or 2001:db8::1, not {shown(text)}") from None


def path_text(text: str) -> str:
    if not text.startswith("/"):
        raise Mistake(f"must be a path that begins with '/', not {shown(text)}")
    return text


def each_param() -> Iterator[tuple[Section, Param]]:
    """Every declared parameter, by section, in the order of declaration: for forms, pages and tests."""
    for name in sorted(SECTIONS):
        for param in SECTIONS[name].params:
            yield SECTIONS[name], param
