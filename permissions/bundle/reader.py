"""A bundle's text → Bundle: YAML or JSON, every mistake at once, each with its line."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any, Final

from permissions.bundle import json_text, yaml_text
from permissions.bundle.document import parse_bundle
from permissions.bundle.fields import Problems
from permissions.bundle.places import Places, UnreadableError
from permissions.bundle.specs import Bundle
from permissions.conditions import cel
from permissions.engine.types import ConditionLanguage
from permissions.errors import Invalid, Problem

MAX_CHARACTERS: Final = 64 * 1024 * 1024
# More would fill a screen a thousand times over; the first ones are the useful ones.
MAX_PROBLEMS: Final = 1000


class BadBundle(Invalid):
    """`bundle` holds the lines that could be read: whoever has the rows can name what else is wrong with them."""

    def __init__(self, problems: list[Problem], bundle: Bundle) -> None:
        super().__init__(problems)
        self.bundle = bundle


def read(text: str, *, name: str, conditions: ConditionLanguage | None = None) -> Bundle:
    """The bundle that `text` holds. `name` is the file's: `.json` is read as JSON, anything else as YAML or JSON.

    Raises Invalid with every problem found and its line. Conditions are compiled, so that a bad one is named here, too.
    """
    if len(text) > MAX_CHARACTERS:
        raise Invalid([Problem("", f"{name} has {len(text):,} characters; at most {MAX_CHARACTERS:,} are read")])
    try:
        data, lines, found = _load(text.removeprefix("\ufeff"), name)
    except UnreadableError as error:
        raise Invalid([_named(problem) for problem in error.problems]) from error
    problems = Problems(conditions or cel.language())
    bundle = parse_bundle(data, problems)
    if found or problems:
        raise BadBundle(_placed(found, problems, lines), dataclasses.replace(bundle, lines=lines))
    return dataclasses.replace(bundle, lines=lines)


def _load(text: str, name: str) -> tuple[Any, Places, list[Problem]]:
    if name.endswith(".json"):
        return _load_json(text)
    if text.lstrip()[:1] == "{":
        # JSON is read ten times faster, and some of it (indented by tabs) is not YAML. What fails here may still be YAML.
        try:
            return _load_json(text)
        except UnreadableError as error:
            if error.is_json:
                raise
    data, lines, problems = yaml_text.load(text)
    return data, Places(lambda: lines), problems


def _load_json(text: str) -> tuple[Any, Places, list[Problem]]:
    data, repeated = json_text.load(text)
    return data, Places(lambda: json_text.walk(text)[0]), repeated


def _named(problem: Problem) -> Problem:
    """The whole text is the place of some problems; in a list for people it needs a name."""
    return problem if problem.where else Problem("bundle", problem.message, problem.line)


def _placed(found: Iterable[Problem], problems: Iterable[Problem], lines: Mapping[str, int]) -> list[Problem]:
    """All problems in the order of their lines."""
    placed = [*found, *(Problem(p.where, p.message, lines[p.where]) for p in problems)]
    placed = sorted(map(_named, placed), key=lambda p: p.line or 0)
    if len(placed) > MAX_PROBLEMS:
        rest = len(placed) - MAX_PROBLEMS
        placed = [*placed[:MAX_PROBLEMS], Problem("", f"and {rest:,} more problems")]
    return placed
