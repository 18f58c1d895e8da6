"""Query parameters: each is known and well formed, or the request is refused; a typo would otherwise list everything."""

from __future__ import annotations

import base64
import binascii
import datetime as dt
import json
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, Final

from django.db.models import F, Q, Value
from django.db.models.functions import Substr
from django.db.models.lookups import Exact
from django.http import QueryDict

from permissions.api.problems import BadRequest
from permissions.bundle.schema import parse_date
from permissions.engine import names

PAGE: Final = 100
MAX_PAGE: Final = 1_000
MAX_TEXT: Final = 1_000
MAX_BIGINT: Final = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Filter:
    """One parameter of a list. `read` turns its text into a condition on rows and raises ValueError saying what is wrong."""

    read: Callable[[str], Q]
    about: str
    schema: Mapping[str, Any]


def text(column: str, about: str) -> Filter:
    return Filter(lambda value: Q(**{column: value}), about, {"type": "string"})


def nullable_text(column: str, about: str) -> Filter:
    """The empty text asks for rows that have none."""
    return Filter(lambda v: Q(**{column: v}) if v else Q(**{f"{column}__isnull": True}), about, {"type": "string"})


def flag(column: str, about: str) -> Filter:
    return Filter(lambda value: Q(**{column: boolean(value)}), about, {"type": "boolean"})


def absent(column: str, about: str) -> Filter:
    """true: rows that have a value there; false: rows that have none."""
    return Filter(lambda value: Q(**{f"{column}__isnull": not boolean(value)}), about, {"type": "boolean"})


def number(column: str, about: str) -> Filter:
    return Filter(lambda value: Q(**{column: whole(value)}), about, {"type": "integer"})


def instant(column: str, about: str) -> Filter:
    return Filter(lambda value: Q(**{column: parse_date(value)}), about, {"type": "string", "format": "date-time"})


def kind(column: str, about: str) -> Filter:
    """The type of a ref. By substring: SQLite's LIKE ignores case, the law does not."""

    def read(value: str) -> Q:
        prefix = names.check_type(value, "type") + ":"
        return Q(Exact(Substr(F(column), 1, len(prefix)), Value(prefix)))

    return Filter(read, about, {"type": "string"})


def boolean(value: str) -> bool:
    if value not in ("true", "false"):
        raise ValueError("must be true or false")
    return value == "true"


def whole(value: str) -> int:
    if not value.isascii() or not value.isdigit() or len(value) > 19 or int(value) > MAX_BIGINT:
        raise ValueError("must be a whole number, 0 or more")
    return int(value)


@dataclass(frozen=True, slots=True)
class Page:
    """`after`: the sort key of the last row of the page before; None on the first."""

    limit: int
    descending: bool
    by_key: bool
    after: Any = None

    def cursor(self, last: Any) -> str:
        """What `after` will carry. It is no secret and needs no seal: it says where to go on, never what may be seen."""
        value = last.isoformat() if isinstance(last, dt.datetime) else last
        return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")


class Parameters:
    """The query string of one request."""

    def __init__(self, query: QueryDict, known: Collection[str]) -> None:
        self._values: dict[str, str] = {}
        for name, values in query.lists():
            if name not in known:
                message = f"is not a parameter of this path; known are {', '.join(sorted(known)) or 'none'}"
                raise BadRequest(message, names.shown(name))
            if len(values) > 1:
                raise BadRequest("is given more than once", name)
            value = str(values[0])
            # PostgreSQL refuses U+0000 in a text with an error that names no parameter.
            if len(value) > MAX_TEXT or any(c < " " or c == "\x7f" for c in value):
                raise BadRequest(f"holds a control character or more than {MAX_TEXT} characters", name)
            self._values[name] = value

    def get(self, name: str, default: str = "") -> str:
        return self._values.get(name, default)

    def __contains__(self, name: str) -> bool:
        return name in self._values

    def filtered(self, filters: Mapping[str, Filter]) -> Q:
        condition = Q()
        for name, one in filters.items():
            if name in self._values:
                try:
                    condition &= one.read(self._values[name])
                except ValueError as error:
                    raise BadRequest(str(error), name) from error
        return condition

    def page(self, key: str, *, newest_first: bool = False, key_type: type = str) -> Page:
        """`ordering` is the noun's key or `id_` … of rows; both are unique, so that a page begins exactly where one ended."""
        limit = PAGE
        if "limit" in self._values:
            try:
                limit = whole(self._values["limit"])
            except ValueError as error:
                raise BadRequest(str(error), "limit") from error
            if not 1 <= limit <= MAX_PAGE:
                raise BadRequest(f"must lie between 1 and {MAX_PAGE}", "limit")
        ordering = self._values.get("ordering", f"-{key}" if newest_first else key)
        wanted = ordering.removeprefix("-")
        if wanted not in (key, "created"):
            raise BadRequest(f"must be one of {', '.join(orderings(key))}", "ordering")
        by_key = wanted == key
        return Page(limit, ordering.startswith("-"), by_key, self._after(key_type if by_key else int))

    def _after(self, kind_of_key: type) -> Any:
        if "after" not in self._values:
            return None
        raw = self._values["after"]
        try:
            value = json.loads(base64.urlsafe_b64decode(raw + "=" * (-len(raw) % 4)))
        except (binascii.Error, ValueError, RecursionError) as error:
            raise BadRequest("is not a place that a page before gave out", "after") from error
        usable = isinstance(value, kind_of_key) and not isinstance(value, bool)
        if usable and isinstance(value, int):
            usable = abs(value) <= MAX_BIGINT
        if usable and isinstance(value, str):
            usable = not any(c < " " or "\ud800" <= c <= "\udfff" for c in value)
        if not usable:
            raise BadRequest("is not a place that a page before gave out", "after")
        return value


def orderings(key: str) -> tuple[str, ...]:
    return (key, f"-{key}", "created", "-created")
