"""What the boards' forms share: ends (for so long, or until a moment), numbers, moments in words, the request behind a look."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

from django.utils.translation import gettext_lazy as _

from controlplane.pages.base import Look

# Seconds, and what the form calls them.
SPANS: Final = (
    (300, _("5 minutes")),
    (900, _("15 minutes")),
    (3_600, _("1 hour")),
    (14_400, _("4 hours")),
    (86_400, _("1 day")),
    (604_800, _("7 days")),
)
DRAINS: Final = ((30, _("30 seconds")), (60, _("1 minute")), (300, _("5 minutes")), (3_600, _("1 hour")))


def end_of(fields: Mapping[str, str]) -> dict[str, Any]:
    """`until` where the form names a moment (a browser sends it without a zone; the label says UTC), else `for_s`."""
    until = fields.get("until", "").strip()
    if until:
        return {"until": until if until.endswith("Z") or "+" in until else f"{until}Z"}
    return {"for_s": number_of(fields.get("for_s", ""))} if fields.get("for_s", "").strip() else {}


def number_of(text: str) -> int | float | str:
    """A text that is no number stays one: whoever judges it says what is wrong."""
    text = text.strip()
    if "_" in text or not text.isascii():
        return text
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def moment(seconds: float | None) -> str:
    """`2030-01-31 12:00:00 UTC`"""
    if seconds is None:
        return "–"
    try:
        return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    except (OverflowError, ValueError, OSError):
        return "–"


def asked_in(look: Look) -> str:
    """The request's id, for the audit."""
    return look.request_id
