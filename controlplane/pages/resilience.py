"""The resilience board: breakers, bulkheads, locks, what helped itself, and what a person may do about them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from controlplane.pages.base import Look, Page
from controlplane.pages.ends import DRAINS, SPANS, asked_in, end_of, moment, number_of
from controlplane.services import boards, breakers, guards, holds
from permissions.errors import Refused


def _force_open(look: Look, fields: Mapping[str, str], reason: str) -> str:
    line = _force(look, fields, reason, "open")
    return _("%(name)s is forced open: every call is refused until %(end)s.") % _told(line)


def _force_closed(look: Look, fields: Mapping[str, str], reason: str) -> str:
    line = _force(look, fields, reason, "closed")
    return _("%(name)s is forced closed: every call is admitted until %(end)s.") % _told(line)


def _force(look: Look, fields: Mapping[str, str], reason: str, to: str) -> dict[str, Any]:
    name = fields.get("name", "")
    return breakers.breaker_force(name, actor=look.actor, to=to, reason=reason, request_id=asked_in(look), **end_of(fields))


def _told(line: Mapping[str, Any]) -> dict[str, str]:
    return {"name": line["name"], "end": moment(line["force"]["until"] if line["force"] else None)}


def _auto(look: Look, fields: Mapping[str, str], reason: str) -> str:
    name = fields.get("name", "")
    breakers.breaker_auto(name, actor=look.actor, reason=reason, request_id=asked_in(look))
    return _("%(name)s follows what is measured again.") % {"name": name}


def _drain(look: Look, fields: Mapping[str, str], reason: str) -> str:
    name, for_s = fields.get("name", ""), number_of(fields.get("for_s", ""))
    inside, _line = holds.bulkhead_drain(name, actor=look.actor, reason=reason, for_s=for_s, request_id=asked_in(look))
    return _("%(name)s admits nobody for %(seconds)s s; %(inside)s calls are inside and finish.") % {
        "name": name,
        "seconds": for_s,
        "inside": inside,
    }


def _resume(look: Look, fields: Mapping[str, str], reason: str) -> str:
    name = fields.get("name", "")
    holds.bulkhead_drain(name, actor=look.actor, reason=reason, for_s=0, request_id=asked_in(look))
    return _("%(name)s admits calls again.") % {"name": name}


def _break(look: Look, fields: Mapping[str, str], reason: str) -> str:
    name = fields.get("name", "")
    taken = holds.lock_break(name, actor=look.actor, reason=reason, request_id=asked_in(look))
    return _("The lock %(name)s was taken from %(owner)s.") % {"name": name, "owner": taken["owner"] or "–"}


class Resilience(Page):
    name = "resilience"
    title = gettext_lazy("Resilience")
    about = gettext_lazy("Breakers, bulkheads and locks: what they measure, and forcing, draining and breaking them.")
    icon = "health_and_safety"
    parts: ClassVar = {"board": "controlplane/pages/resilience_board.html"}
    topics = ("circuit_breaker.", "bulkhead.", "lock.", "storage.", "fallback.")
    renew_s = 2.0
    actions: ClassVar = {
        "force_open": _force_open,
        "force_closed": _force_closed,
        "auto": _auto,
        "drain": _drain,
        "resume": _resume,
        "break": _break,
    }

    def snapshot(self, look: Look) -> dict[str, Any]:
        wanted = look.get("q").casefold()
        return {
            "store": boards.store_line(),
            "breakers": named(breakers.board(), wanted),
            "bulkheads": named(holds.bulkhead_board(), wanted),
            "locks": named(holds.lock_board(), wanted),
            "guards": guards.board(),
            "process": boards.this_process(),
        }

    def context(self, look: Look) -> dict[str, Any]:
        return {
            "q": look.get("q"),
            "spans": SPANS,
            "drains": DRAINS,
            "breaker": chosen(look, "breaker", breakers.breaker_one),
            "bulkhead": chosen(look, "bulkhead", holds.bulkhead_one),
            "lock": chosen(look, "lock", holds.lock_one),
        }


def named(lines: Sequence[Mapping[str, Any]], wanted: str) -> list[dict[str, Any]]:
    """Those whose name holds the text of the filter."""
    return [dict(line) for line in lines if wanted in line["name"].casefold()]


def chosen(look: Look, parameter: str, one: Callable[..., dict[str, Any]]) -> dict[str, Any] | None:
    """The line that the link names; where there is none, what was asked for and why there is none."""
    name = look.get(parameter)
    if not name:
        return None
    try:
        return one(name, actor=look.actor)
    except Refused as error:
        return {"name": name, "error": error.detail}
