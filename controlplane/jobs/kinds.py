"""What can be a job, in a table: a kind says what it takes, who may start it, and what it does."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from permissions.errors import Invalid, Problem
from permissions.writing import Actor

if TYPE_CHECKING:
    from controlplane.jobs.context import Context

Arguments = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Kind:
    """`arguments` judges what a caller sent and answers it whole, with defaults; it raises Invalid.

    `may` raises Forbidden. `slot`: what only one open run may work at; empty: any number. `again`: another attempt after a lost
    one does no harm. `here`: its effect is in the memory of the process that was asked, which therefore runs it. `shown`:
    arguments as anybody may see them who sees the job.
    """

    name: str
    title: Any
    about: Any
    work: Callable[[Context], dict[str, Any]]
    arguments: Callable[[Arguments], dict[str, Any]]
    may: Callable[[Actor, Arguments], None]
    slot: Callable[[Arguments], str] = lambda _arguments: ""
    shown: Callable[[Arguments], dict[str, Any]] = dict
    again: bool = True
    here: bool = False
    page: str = ""


_kinds: dict[str, Kind] = {}


def register(kind: Kind) -> Kind:
    """Once, at start. Raises ValueError for a name that another kind has."""
    if _kinds.setdefault(kind.name, kind) is not kind:
        raise ValueError(f"the kind of job {kind.name} is declared twice")
    return kind


def unregister(name: str) -> None:
    """For tests."""
    _kinds.pop(name, None)


def every() -> list[Kind]:
    _load()
    return list(_kinds.values())


def find(name: str) -> Kind | None:
    _load()
    return _kinds.get(name)


def known(name: object) -> Kind:
    """Raises Invalid."""
    kind = find(name) if isinstance(name, str) else None
    if kind is None:
        raise Invalid([Problem("kind", f"must be one of {', '.join(sorted(_kinds))}")])
    return kind


def _load() -> None:
    if "warm_cache" not in _kinds:
        # They import services, which need the apps.
        from controlplane.jobs import importing, verifying, warming  # noqa: PLC0415

        for kind in (warming.KIND, verifying.KIND, importing.KIND):
            register(kind)


def only(given: Arguments, known_names: tuple[str, ...], required: tuple[str, ...] = ()) -> None:
    """Raises Invalid naming every argument that is unknown or missing."""
    wrong = [
        Problem(f"arguments.{str(name)[:60]}", f"is not known here; known are {', '.join(known_names)}")
        for name in given
        if name not in known_names
    ]
    wrong += [Problem(f"arguments.{name}", "is missing") for name in required if given.get(name) in (None, "")]
    if wrong:
        raise Invalid(wrong)


def text(given: Arguments, name: str, *, most: int) -> str:
    """Empty where it was left out. Raises Invalid for anything but a text that a column can hold."""
    value = given.get(name)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise Invalid([Problem(f"arguments.{name}", f"must be a text, not {type(value).__name__}")])
    if len(value) > most:
        raise Invalid([Problem(f"arguments.{name}", f"must be at most {most:,} characters, not {len(value):,}")])
    if "\x00" in value or not _encodes(value):
        raise Invalid([Problem(f"arguments.{name}", "must be text in UTF-8 without null characters")])
    return value


def flag(given: Arguments, name: str) -> bool:
    value = given.get(name, False)
    if not isinstance(value, bool):
        raise Invalid([Problem(f"arguments.{name}", f"must be true or false, not {type(value).__name__}")])
    return value


def _encodes(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True
