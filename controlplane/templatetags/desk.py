"""Filters of the pages of audit and simulator: members by number, JSON for a link, the difference of an audit entry."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

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
