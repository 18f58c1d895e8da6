"""Template tags of the boards: moments, words of outcomes, and a small curve with what it says in words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from django import template
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from controlplane.pages.ends import moment

register = template.Library()
register.filter("moment", moment)

WIDTH: Final = 60.0
HEIGHT: Final = 16.0
# Labels of counters, in words.
WORDS: Final = {
    "success": _("succeeded"),
    "failure": _("failed"),
    "ignored": _("not counted"),
    "slow": _("slow"),
    "refused": _("refused"),
    "shadowed": _("would have been refused"),
    "used": _("answered instead"),
    "failed": _("failed"),
    "retried": _("repeated"),
    "recovered": _("succeeded later"),
    "exhausted": _("given up"),
    "budget": _("not repeated: no budget"),
    "deadline": _("not repeated: no time"),
    "retry_after": _("not repeated: asked to wait too long"),
    "allowed": _("admitted"),
    "shadow_refused": _("would have been refused"),
    "at_once": _("at once"),
    "waited": _("waited"),
    "gave_up": _("went on without"),
    "without": _("Redis not asked"),
    "useful": _("used"),
    "wasted": _("not used"),
    "applied": _("applied"),
    "stored": _("stored"),
    "dropped": _("dropped"),
}

LAYERS: Final = {
    "l1": _("memory"),
    "redis": "Redis",
    "db": _("database"),
    "filter": _("stopped by the filter"),
    "live": _("one database snapshot, past every cache"),
}
# What is said of a copy in a layer.
VERDICTS: Final = {
    "serves": _("would be used"),
    "absent": _("not there"),
    "void": _("void: read through something that changed"),
    "ended": _("at its end: the database is asked"),
    "newer": _("newer than what this process has applied"),
    "too_old": _("too old to be proven"),
    "changed": _("changed since"),
    "flushed": _("flushed since"),
    "other_history": _("of another history"),
    "rejected": _("without proof"),
    "unread": _("not judged: this process has read nothing of the realm"),
    "down": _("no answer"),
    "none": _("no second layer"),
}


@register.filter
def layer_word(layer: Any) -> Any:
    return LAYERS.get(str(layer), layer)


@register.filter
def verdict_word(verdict: Any) -> Any:
    return VERDICTS.get(str(verdict), verdict)


@register.filter
def result_word(label: Any) -> Any:
    return WORDS.get(str(label), label)


@register.simple_tag
def spark(curve: Sequence[Sequence[float]]) -> SafeString | str:
    """`curve`: [seconds ago, calls, failures], oldest first. A line of failures, as high as the calls were."""
    if len(curve) < 2:
        return format_html('<span class="ps-muted">{}</span>', gettext("from the next look on"))
    span_s = max(curve[0][0], 1.0)
    top = max([1.0, *(calls for _, calls, _ in curve)])
    points = " ".join(
        f"{WIDTH - ago / span_s * WIDTH:.1f},{HEIGHT - 1 - failures / top * (HEIGHT - 2):.1f}" for ago, _, failures in curve
    )
    most = max(failures for _, _, failures in curve)
    told = gettext("at most %(most)s in %(seconds)s s") % {"most": round(most), "seconds": round(span_s)}
    return format_html(
        '<svg class="ps-spark" viewBox="0 0 60 16" preserveAspectRatio="none" aria-hidden="true"><polyline points="{}"/></svg>'
        ' <span class="ps-muted ps-nowrap">{}</span>',
        points,
        told,
    )
