"""Template tags of the control pages: figures that move, and the banners of every page."""

from __future__ import annotations

from typing import Any

from django import template
from django.utils.html import format_html
from django.utils.safestring import SafeString

from controlplane.pages.banners import banners
from controlplane.pages.figures import clock, show

register = template.Library()
register.filter("clock", clock)


@register.filter
def figure(value: Any, form: str = "count") -> str:
    """`{{ value|figure:"rate" }}`: the words a script would write there."""
    return show(value, form)


@register.simple_tag
def live(frame: Any, name: str, form: str = "count") -> SafeString:
    """`{% live frame "checks_per_s" "rate" %}`: an element that the frames move, with the value it has now."""
    value = frame.get(name) if isinstance(frame, dict) else None
    return format_html('<span data-live="{}" data-format="{}">{}</span>', name, form, show(value, form))


@register.filter
def at(mapping: Any, key: str) -> Any:
    """A member by a name that is only known in the template."""
    return mapping.get(key) if isinstance(mapping, dict) else None


@register.inclusion_tag("controlplane/pages/banners.html")
def control_banners() -> dict[str, Any]:
    return {"banners": banners()}
