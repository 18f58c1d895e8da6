"""Rate limits: what each rule admits and refuses, one key's allowance, overrides, resets, shadow."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Final

from django.urls import reverse
from django.utils.http import urlencode
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from controlplane.pages.base import Look, Page
from controlplane.pages.ends import SPANS, asked_in, end_of, moment, number_of
from controlplane.pages.resilience import chosen, named
from controlplane.services import boards, limits, rights
from permissions.errors import Refused

# Rules to begin with: what they are for, a name, and what the form of the configuration is filled with.
TEMPLATES: Final[tuple[tuple[Any, Any, str, dict[str, str | int]], ...]] = (
    (
        gettext_lazy("Against guessing"),
        gettext_lazy("Five tries a minute for each name or address, and never more in any minute."),
        "guess",
        {"algorithm": "sliding_log", "limit": 5, "period_s": 60, "on_store_down": "local"},
    ),
    (
        gettext_lazy("An interface for programs"),
        gettext_lazy("100 calls a second for each key, evenly, with 200 at once after a pause."),
        "partner-api",
        {"algorithm": "gcra", "limit": 100, "period_s": 1, "burst": 200, "coalesce": "true"},
    ),
    (
        gettext_lazy("Something expensive"),
        gettext_lazy("Ten an hour for each customer; refused while nobody can count, for each one costs money."),
        "report",
        {"algorithm": "token_bucket", "limit": 10, "period_s": 3600, "on_store_down": "deny"},
    ),
)


def _override(look: Look, fields: Mapping[str, str], reason: str) -> str:
    rule, key = fields.get("rule", ""), fields.get("key", "")
    end = limits.limit_override(
        rule,
        actor=look.actor,
        key=key,
        limit=number_of(fields.get("limit", "")),
        reason=reason,
        expected=_version(fields),
        request_id=asked_in(look),
        **end_of(fields),
    )
    return _("%(key)s has a limit of its own under %(rule)s until %(end)s.") % {"key": key, "rule": rule, "end": moment(end)}


def _end_override(look: Look, fields: Mapping[str, str], reason: str) -> str:
    rule, key = fields.get("rule", ""), fields.get("key", "")
    limits.limit_override(
        rule,
        actor=look.actor,
        key=key,
        limit=None,
        reason=reason,
        expected=_version(fields),
        request_id=asked_in(look),
    )
    return _("%(key)s has the limit of everybody under %(rule)s.") % {"key": key, "rule": rule}


def _reset(look: Look, fields: Mapping[str, str], reason: str) -> str:
    rule, key = fields.get("rule", ""), fields.get("key", "")
    limits.limit_reset(rule, actor=look.actor, key=key, reason=reason, request_id=asked_in(look))
    return _("%(key)s is as if never used under %(rule)s.") % {"key": key, "rule": rule}


def _shadow(look: Look, fields: Mapping[str, str], reason: str) -> str:
    rule, on = fields.get("rule", ""), fields.get("on", "")
    limits.limit_shadow(
        rule,
        actor=look.actor,
        on={"yes": True, "no": False}.get(on, on),
        reason=reason,
        expected=_version(fields),
        request_id=asked_in(look),
    )
    if on == "yes":
        return _("%(rule)s only watches now: it refuses nothing.") % {"rule": rule}
    return _("%(rule)s refuses in earnest now.") % {"rule": rule}


def _version(fields: Mapping[str, str]) -> int:
    """The version the form was drawn from; a text that is none counts as one that is in force no more."""
    text = fields.get("version", "")
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 19 else -1


class Limits(Page):
    name = "limits"
    title = gettext_lazy("Rate limits")
    about = gettext_lazy("What each rule admits and refuses, and one key's allowance.")
    icon = "speed"
    parts: ClassVar = {"board": "controlplane/pages/limits_board.html"}
    topics = ("rate_limiter.",)
    renew_s = 2.0
    actions: ClassVar = {"override": _override, "end_override": _end_override, "reset": _reset, "shadow": _shadow}

    def snapshot(self, look: Look) -> dict[str, Any]:
        clear = look.may(rights.OPERATE)
        lines = [limits.shown(line, clear=clear) for line in named(limits.board(), look.get("q").casefold())]
        return {"rules": lines, "keys": "clear" if clear else "hashed", "store": boards.store_line()}

    def context(self, look: Look) -> dict[str, Any]:
        rule = chosen(look, "rule", limits.limit_one)
        return {
            "q": look.get("q"),
            "spans": SPANS,
            "rule": rule,
            "key": look.get("key"),
            "inspected": _inspected(look),
            "version": limits.version(),
            "templates": [
                {"title": title, "about": about, "name": name, "url": f"{_form(name)}?{urlencode(values)}"}
                for title, about, name, values in TEMPLATES
            ],
            "form_url": "" if rule is None or "error" in rule else _form(rule["name"]),
        }


def _form(rule: str) -> str:
    """The form of the configuration for a rule."""
    return reverse("admin:controlplane_configrevision_entry", args=["limiters", rule])


def _inspected(look: Look) -> dict[str, Any] | None:
    """What the link asks about one key."""
    rule, key = look.get("rule"), look.get("key")
    if not rule or not key:
        return None
    cost = look.get("cost") or "1"
    try:
        return limits.limit_inspect(rule, actor=look.actor, key=key, cost=number_of(cost))
    except Refused as error:
        return {"error": error.detail}
