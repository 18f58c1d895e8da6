"""Filters of the desks' pages: members by number, values and times as people read them, the difference of an audit entry."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from django import template

if TYPE_CHECKING:
    from permissions.admin.history import Change

register = template.Library()


@register.filter
def number(mapping: Any, key: int) -> Any:
    """A member by a number."""
    return mapping.get(key) if isinstance(mapping, dict) else None


@register.filter(name="json")
def as_json(value: Any) -> str:
    """As it stands in a link; nothing for an empty object."""
    return json.dumps(value, ensure_ascii=False) if value else ""


@register.filter
def changes(event: Mapping[str, Any]) -> list[Change]:
    # The themes render templates while they are imported, so a library must not import the admin.
    from permissions.admin.history import difference  # noqa: PLC0415

    return difference(event["before"], event["after"])


@register.filter
def moment(text: str | None) -> str:
    """`2026-11-22T16:38:15.210456Z` as it stands in a table: to the second."""
    return text[:19].replace("T", " ") if text else ""


@register.filter
def plain(value: Any) -> str:
    """A parameter's value as its form and the API have it."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


# In this order: each of them also calls itself by the names that follow.
_BROWSERS: Final = (
    ("Edge", r"Edg/(\d+)"),
    ("Opera", r"OPR/(\d+)"),
    ("Firefox", r"Firefox/(\d+)"),
    ("Chrome", r"Chrome/(\d+)"),
    ("Safari", r"Version/(\d+).*Safari/"),
)
_SYSTEMS: Final = ("Windows", "Android", "iPhone", "iPad", "Mac OS X", "Linux")


@register.filter
def browser(told: str) -> str:
    """The name and number in what a browser calls itself; a text that is none as it is."""
    name = next((f"{title} {found[1]}" for title, pattern in _BROWSERS if (found := re.search(pattern, told))), "")
    system = next((title for title in _SYSTEMS if title in told), "")
    return f"{name}, {system}" if name and system else name or told[:60]
