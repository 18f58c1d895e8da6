"""JSON text → plain data. Lines are found by a second walk over the tokens, and only when one is asked for."""

from __future__ import annotations

import json
import re
from typing import Any, Final

from permissions.bundle.fields import join
from permissions.bundle.places import MAX_DEPTH, UnreadableError
from permissions.engine import names
from permissions.errors import Problem

TOKEN: Final = re.compile(r'\n|"(?:[^"\\\n]|\\.)*"|[{}\[\],:]|[^\s"{}\[\],:]+')


class _Seen:
    """What the decoder's hooks noticed on the way."""

    repeated = False
    constant = ""


def load(text: str) -> tuple[Any, list[Problem]]:
    """(data, repeated keys). Raises UnreadableError for what is not JSON or nests too deep."""
    seen = _Seen()

    def mapping(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        data = dict(pairs)
        seen.repeated = seen.repeated or len(data) != len(pairs)
        return data

    def constant(name: str) -> float:
        seen.constant = name
        return 0.0

    try:
        data = json.loads(text, object_pairs_hook=mapping, parse_constant=constant)
    except json.JSONDecodeError as error:
        raise UnreadableError(Problem("", f"is not JSON: {error.msg} (column {error.colno})", error.lineno)) from error
    except RecursionError as error:
        raise UnreadableError(Problem("", f"nests deeper than {MAX_DEPTH} levels", None)) from error
    except ValueError as error:
        # Python refuses to read a whole number of more than some thousand digits, which would take quadratic time.
        raise UnreadableError(Problem("", f"holds a number that cannot be read: {error}", None)) from error
    if seen.constant:
        raise UnreadableError(Problem("", f"is not JSON: {seen.constant} is no JSON number", _line_of(text, seen.constant)))
    if _too_deep(data):
        raise UnreadableError(Problem("", f"nests deeper than {MAX_DEPTH} levels", None), is_json=True)
    return data, walk(text)[1] if seen.repeated else []


def _line_of(text: str, constant: str) -> int:
    line = 1
    for match in TOKEN.finditer(text):
        word = match.group()
        if word == "\n":
            line += 1
        elif word.lstrip("-") == constant.lstrip("-"):
            break
    return line


def _too_deep(data: Any) -> bool:
    level = [data]
    for _ in range(MAX_DEPTH + 1):
        level = [
            child
            for item in level
            if isinstance(item, dict | list)
            for child in (item.values() if isinstance(item, dict) else item)
        ]
        if not level:
            return False
    return True


def walk(text: str) -> tuple[dict[str, int], list[Problem]]:
    """(place → line, repeated keys) of a text that is JSON."""
    lines: dict[str, int] = {"": 1}
    problems: list[Problem] = []
    line = 1
    # One entry a level: [place, number of the item or None in a mapping, key or None, keys seen → line]
    stack: list[list[Any]] = []

    def place_of_next() -> str:
        if not stack:
            return ""
        where, number, key, _ = stack[-1]
        return join(where, key) if number is None else f"{where}[{number}]"

    for match in TOKEN.finditer(text):
        word = match.group()
        if word == "\n":
            line += 1
        elif word in "{[":
            place = place_of_next()
            lines.setdefault(place, line)
            stack.append([place, None if word == "{" else 0, None, {}])
        elif word in "}]":
            stack.pop()
        elif word == ",":
            if stack[-1][1] is None:
                stack[-1][2] = None
            else:
                stack[-1][1] += 1
        elif word == ":":
            continue
        elif stack and stack[-1][1] is None and stack[-1][2] is None:
            key = json.loads(word)
            stack[-1][2] = key
            place = place_of_next()
            first = stack[-1][3].setdefault(key, line)
            if first != line or place in lines:
                problems.append(
                    Problem(place, f"the key {names.shown(key)} is repeated; it stands on line {first} already", line)
                )
            lines.setdefault(place, line)
        else:
            lines.setdefault(place_of_next(), line)
    return lines, problems
