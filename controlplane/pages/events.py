"""The live events: what happens, as it happens, filtered by what is in the link."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, ClassVar, Final

from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from controlplane.live import store as stores
from controlplane.live.hub import HUB
from controlplane.live.port import Event, LiveError, event_id, split_id
from controlplane.pages.base import Act, Look, Page
from controlplane.pages.overview import page_address
from controlplane.services import events as service
from controlplane.services import realms, rights
from permissions import pdp
from permissions.errors import Invalid, Problem

# Drawn by the server; the script keeps 2,000.
FIRST: Final = 200
# Looked through for the first paint: all that the hub holds.
LOOKED: Final = 2_000
MAX_NAMES: Final = 100
FILTERS: Final = ("name", "severity", "decision", "actor", "subject", "permission")
SEVERITIES: Final = {
    "info": (gettext_lazy("info"), "info"),
    "warning": (gettext_lazy("warning"), "warn"),
    "critical": (gettext_lazy("critical"), "bad"),
}
DECISIONS: Final = {"allow": gettext_lazy("allowed"), "deny": gettext_lazy("denied"), "error": gettext_lazy("no decision")}
TEXTS: Final = (
    ("actor", gettext_lazy("Actor")),
    ("subject", gettext_lazy("Subject")),
    ("permission", gettext_lazy("Permission")),
)
# Of one event, in its own panel.
FACTS: Final = (
    ("severity", gettext_lazy("Severity")),
    ("kind", gettext_lazy("Kind")),
    ("realm", gettext_lazy("Realm")),
    *TEXTS,
    ("decision", gettext_lazy("Decision")),
    ("node", gettext_lazy("Process")),
    ("request_id", gettext_lazy("Request")),
    ("id", gettext_lazy("Id")),
)


class Events(Page):
    name = "events"
    title = gettext_lazy("Live events")
    icon = "stream"
    about = gettext_lazy("Decisions, changes and faults as they happen")
    streams = ("events",)
    scripts = ("controlplane/events.js",)

    def snapshot(self, look: Look) -> dict[str, Any]:
        held = seen(look, HUB.events(limit=LOOKED))
        filters = filters_of(look)
        shown = [event for event in held if matches(event, filters)]
        asked = look.get("event", 40)
        return {
            "filters": filters,
            "events": shown[-FIRST:][::-1],
            "last": held[-1]["id"] if held else "",
            "held": len(held),
            "names": Counter(event["name"] for event in held).most_common(MAX_NAMES),
            "severities": _severities(held),
            "event": asked,
            "one": one_event(look, asked) if asked else None,
        }

    def context(self, look: Look) -> dict[str, Any]:
        asked = look.get("event", 40)
        found = one_event(look, asked) if asked else None
        return {
            "severities": [(name, title) for name, (title, _state) in SEVERITIES.items()],
            "decisions": list(DECISIONS.items()),
            "texts": TEXTS,
            "filters_json": json.dumps(filters_of(look)),
            "simulator": page_address(look, "simulator"),
            "one_facts": [] if found is None else facts_of(found),
        }

    actions: ClassVar[Mapping[str, Act]] = {}


def filters_of(look: Look) -> dict[str, str]:
    found = {name: look.get(name) for name in FILTERS}
    return {name: value for name, value in found.items() if value}


def matches(event: Event, filters: Mapping[str, str]) -> bool:
    """`name` by how it begins, the others whole: as a socket chooses."""
    for name, wanted in filters.items():
        value = event.get(name)
        if not isinstance(value, str) or not (value.startswith(wanted) if name == "name" else value == wanted):
            return False
    return True


def one_event(look: Look, asked: str) -> Event | None:
    """By its id, from memory or from the store; None for one that is gone, or that is not this person's to see."""
    try:
        at_ms, number = split_id(asked)
    except ValueError:
        return None
    before = event_id(at_ms, number - 1) if number else event_id(max(0, at_ms - 1), 999_999)
    found = next((event for event in HUB.events(limit=LOOKED) if event["id"] == asked), None)
    if found is None:
        try:
            found = next((event for event in stores.current().events(before, 2) if event["id"] == asked), None)
        except LiveError:
            return None
    return next(iter(seen(look, [found] if found is not None else [])), None)


def facts_of(event: Event) -> list[tuple[Any, Any]]:
    at = event.get("at")
    found: list[tuple[Any, Any]] = []
    if isinstance(at, int | float):
        found.append((_("At (UTC)"), datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%S.%f")[:-3]))
    found += [(title, event[name]) for name, title in FACTS if event.get(name)]
    return found + sorted((event.get("data") or {}).items())


def _severities(held: list[Event]) -> list[dict[str, Any]]:
    counts = Counter(event.get("severity", "info") for event in held)
    return [
        {"name": name, "title": str(title), "state": state, "count": counts[name]}
        for name, (title, state) in SEVERITIES.items()
        if counts[name] and name != "info"
    ]


def seen(look: Look, events: Sequence[Event]) -> list[Event]:
    """Without what happened in realms that are not this person's to look into: the same as a socket leaves out."""
    told = {str(event["realm"]) for event in events if event.get("realm")}
    may = {realm for realm in told if _may_look_into(look, realm)}
    return [event for event in events if not event.get("realm") or event["realm"] in may]


def _may_look_into(look: Look, realm: str) -> bool:
    if realm == rights.control_realm():
        return True
    try:
        return realms.may_in(look.actor, rights.VIEW, realm, rights.on_page(look.page))
    except (pdp.Unavailable, pdp.InvalidRequestError):
        return False


def _test(look: Look, fields: Mapping[str, str], reason: str) -> str:
    service.test_event(actor=look.actor)
    return _("The test event is on its way.")


def _watch(look: Look, fields: Mapping[str, str], reason: str) -> str:
    minutes = fields.get("minutes", "")
    if not (minutes.isascii() and minutes.isdecimal()) or not 1 <= int(minutes[:3]) <= 10:
        raise Invalid([Problem("minutes", "must be a whole number from 1 to 10")])
    subject = fields.get("subject", "").strip()
    service.subject_watch(
        actor=look.actor,
        subject=subject,
        realm=rights.control_realm(),
        minutes=int(minutes),
        reason=reason,
        request_id=look.request_id,
    )
    return _("All decisions of %(subject)s appear here for %(minutes)s minutes.") % {"subject": subject, "minutes": minutes}


def _clear(look: Look, fields: Mapping[str, str], reason: str) -> str:
    service.events_clear(actor=look.actor, reason=reason, request_id=look.request_id)
    return _("The stream is empty.")


Events.actions = {"test": _test, "watch": _watch, "clear": _clear}
