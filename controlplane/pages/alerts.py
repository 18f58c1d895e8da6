"""Alerts: what fires and what is told of it, rules, handlers and how they fare; acknowledging, silencing, editing, trying."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import Any, ClassVar, Final

from django.utils import timezone
from django.utils.translation import get_language, gettext_lazy
from django.utils.translation import gettext as _

from controlplane.alerts import handlers, handling
from controlplane.alerts.records import OWN_TEXTS
from controlplane.models import AlertIncident
from controlplane.models.alerts import SEVERITIES
from controlplane.pages.base import Act, Look, Page
from controlplane.pages.ends import SPANS, asked_in, end_of, number_of
from controlplane.services import alert_rules, alerts
from controlplane.services.alert_input import MAX_SILENCE
from controlplane.services.alert_lines import delivery_line, incident_line, round_line, rule_line, silence_line
from permissions.bundle.compact import date_text
from permissions.errors import Invalid, Problem, Refused

# Rows of one table; older ones are the API's.
MOST: Final = 50
DAY: Final = dt.timedelta(hours=24)
STATE_WORDS: Final = {
    "firing": gettext_lazy("firing"),
    "pending": gettext_lazy("pending"),
    "silenced": gettext_lazy("silenced"),
    "resolved": gettext_lazy("resolved"),
}
FILTERS: Final = (
    ("", gettext_lazy("Open")),
    ("firing", gettext_lazy("Firing")),
    ("pending", gettext_lazy("Pending")),
    ("silenced", gettext_lazy("Silenced")),
    ("resolved", gettext_lazy("Resolved")),
)
_ORDER: Final = {"firing": 0, "pending": 1, "silenced": 2, "resolved": 3}
_WEIGHT: Final = {name: n for n, name in enumerate(reversed(SEVERITIES))}


def _base(look: Look, reason: str) -> dict[str, Any]:
    return {"actor": look.actor, "reason": reason, "request_id": asked_in(look)}


def _acknowledge(look: Look, fields: Mapping[str, str], reason: str) -> str:
    row = alerts.incident_acknowledge(fields.get("key", ""), **_base(look, reason))
    return _("%(rule)s is acknowledged: it stays here and is repeated no more.") % {"rule": row.rule}


def _until(fields: Mapping[str, str]) -> object:
    end = end_of(fields)
    for_s = end.get("for_s")
    if for_s is None:
        return end.get("until")
    if isinstance(for_s, str) or not 0 < for_s <= MAX_SILENCE.total_seconds():
        raise Invalid([Problem("for_s", _("must be a number of seconds, at most 7 days"))])
    return timezone.now() + dt.timedelta(seconds=for_s)


def _silence(look: Look, fields: Mapping[str, str], reason: str) -> str:
    about: dict[str, Any] = {"until": _until(fields), **_base(look, reason)}
    if fields.get("key"):
        row = alerts.incident_silence(fields["key"], **about)
    else:
        row = alerts.rule_silence(fields.get("name", ""), **about)
    return _("%(rule)s is silent until %(end)s.") % {"rule": row.rule, "end": date_text(row.until)}


def _unsilence(look: Look, fields: Mapping[str, str], reason: str) -> str:
    if fields.get("key"):
        alerts.incident_unsilence(fields["key"], **_base(look, reason))
    else:
        alerts.rule_unsilence(fields.get("name", ""), **_base(look, reason))
    return _("It is told of again.")


def _rule_create(look: Look, fields: Mapping[str, str], reason: str) -> str:
    row = alert_rules.rule_create(data=_rule_data(fields), **_base(look, reason))
    return _("The rule %(rule)s was added.") % {"rule": row.name}


def _rule_save(look: Look, fields: Mapping[str, str], reason: str) -> str:
    row = alert_rules.rule_change(
        fields.get("name", ""), data=_rule_data(fields), expected=_version(fields), **_base(look, reason)
    )
    return _("The rule %(rule)s was changed.") % {"rule": row.name}


def _rule_delete(look: Look, fields: Mapping[str, str], reason: str) -> str:
    alert_rules.rule_delete(fields.get("name", ""), expected=_version(fields), **_base(look, reason))
    return _("The rule was removed.")


def _rule_test(look: Look, fields: Mapping[str, str], reason: str) -> str:
    told = handling.rule_test_fire(fields.get("name", ""), **_base(look, reason))
    parts = [f"{each.handler}: {_('sent') if each.outcome == 'sent' else each.error}" for each in told]
    return _("Tried. %(outcomes)s") % {"outcomes": "; ".join(parts) or _("No handler is told.")}


def _handler_create(look: Look, fields: Mapping[str, str], reason: str) -> str:
    row, key = handling.handler_create(data=_handler_data(fields), **_base(look, reason))
    if key:
        return _("The handler %(name)s was added. It signs with this key, which is shown only now: %(key)s") % {
            "name": row.name,
            "key": key,
        }
    return _("The handler %(name)s was added.") % {"name": row.name}


def _handler_save(look: Look, fields: Mapping[str, str], reason: str) -> str:
    data = _handler_data(fields)
    data.pop("kind", None)
    row = handling.handler_change(fields.get("name", ""), data=data, expected=_version(fields), **_base(look, reason))
    return _("The handler %(name)s was changed.") % {"name": row.name}


def _handler_rekey(look: Look, fields: Mapping[str, str], reason: str) -> str:
    row, key = handling.handler_rekey(fields.get("name", ""), expected=_version(fields), **_base(look, reason))
    return _("%(name)s signs with this key from now on, which is shown only now: %(key)s") % {"name": row.name, "key": key}


def _handler_delete(look: Look, fields: Mapping[str, str], reason: str) -> str:
    handling.handler_delete(fields.get("name", ""), expected=_version(fields), **_base(look, reason))
    return _("The handler was removed.")


class Alerts(Page):
    name = "alerts"
    title = gettext_lazy("Alerts")
    about = gettext_lazy("What fires, who knows of it, who is told; rules and handlers.")
    icon = "notifications"
    parts: ClassVar = {
        "board": "controlplane/pages/alerts_board.html",
        "rules": "controlplane/pages/alerts_rules.html",
    }
    topics = ("alert.",)
    renew_s = 5.0
    actions: ClassVar[Mapping[str, Act]] = {
        "acknowledge": _acknowledge,
        "silence": _silence,
        "unsilence": _unsilence,
        "rule_create": _rule_create,
        "rule_save": _rule_save,
        "rule_delete": _rule_delete,
        "rule_test": _rule_test,
        "handler_create": _handler_create,
        "handler_save": _handler_save,
        "handler_rekey": _handler_rekey,
        "handler_delete": _handler_delete,
    }

    def snapshot(self, look: Look) -> dict[str, Any]:
        state = look.get("state") if look.get("state") in _ORDER else ""
        rule, actor = look.get("of"), look.actor
        rows = alerts.incidents(actor=actor, state=state or "open", rule=rule)
        found = [incident_line(row) for row in rows[:MOST]]
        for line in found:
            line["shown"] = "silenced" if line["silenced"] and line["state"] != "resolved" else line["state"]
        found.sort(key=lambda line: (_ORDER[line["shown"]], _WEIGHT[line["severity"]]))
        last = alerts.last_round(actor=actor)
        recent = alerts.incidents(actor=actor, state="resolved", rule=rule)
        return {
            "evaluated": round_line(last),
            "incidents": found,
            "resolved": [incident_line(row) for row in recent[:10]] if not state else [],
            "silences": [silence_line(row) for row in alerts.silences(actor=actor)[:MOST]],
            "timeline": timeline(look),
            "rules": [rule_line(row, last) for row in alert_rules.rules(actor=actor)],
            "handlers": [handling.shown(row) for row in handling.every(actor=actor)],
            "deliveries": [delivery_line(row) for row in alerts.deliveries(actor=actor)[:20]],
        }

    def context(self, look: Look) -> dict[str, Any]:
        state = look.get("state")
        language = "zh-hans" if get_language() == "zh-hans" else "en"
        texts = {name: both[language] for name, both in OWN_TEXTS.items()}
        for row in alert_rules.rules(actor=look.actor):
            texts[row.name] = (row.text_zh if language == "zh-hans" else "") or row.text_en
        return {
            "filters": [{"name": name, "title": title, "active": name == state} for name, title in FILTERS],
            "of": look.get("of"),
            "spans": SPANS,
            "severities": SEVERITIES,
            "kinds": [kind for kind in handlers.every() if kind not in ("log", "event")],
            "texts": texts,
            "state_words": STATE_WORDS,
            "incident": _chosen(look, "incident", lambda name: incident_line(alerts.incident_one(name, actor=look.actor))),
            "rule": _chosen(look, "rule", lambda name: _rule_of(look, name)),
            "handler": _chosen(look, "handler", lambda name: handling.shown(handling.one(name, actor=look.actor))),
        }


def timeline(look: Look) -> list[dict[str, Any]]:
    """The last day, a row a rule: where each of its incidents fired, in percent of the width; what fires still ends at 100."""
    now = timezone.now()
    begin = now - DAY
    rows = alerts.incidents(actor=look.actor).exclude(fired_at=None)
    rows = rows.exclude(resolved_at__lt=begin)[:500]
    found: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        found.setdefault(row.rule, []).append(_bar(row, begin, now))
    return [{"rule": rule, "bars": bars} for rule, bars in sorted(found.items())][:MOST]


def _bar(row: AlertIncident, begin: dt.datetime, now: dt.datetime) -> dict[str, Any]:
    fired_at = row.fired_at or now
    start, end = max(fired_at, begin), row.resolved_at or now
    at = (start - begin) / DAY * 100
    wide = max((end - start) / DAY * 100, 0.4)
    return {
        "x": f"{min(at, 99.6):.2f}",
        "width": f"{wide:.2f}",
        "severity": row.severity,
        "from": date_text(fired_at),
        "to": None if row.resolved_at is None else date_text(row.resolved_at),
    }


def _chosen(look: Look, parameter: str, one: Any) -> dict[str, Any] | None:
    """What the link names; where there is none, the name and why."""
    name = look.get(parameter)
    if not name:
        return None
    try:
        found: dict[str, Any] = one(name)
    except Refused as error:
        return {"name": name, "error": error.detail}
    return found


def _rule_of(look: Look, name: str) -> dict[str, Any]:
    row = alert_rules.rule_one(name, actor=look.actor)
    line = rule_line(row, alerts.last_round(actor=look.actor))
    labels = ", ".join(f"{label}={value}" for label, value in line["labels"].items())
    now = alert_rules.rule_try(actor=look.actor, expr=row.expr)["result"]
    return {**line, "labels_text": labels, "now": now, "handlers_text": ", ".join(line["handlers"])}


def _rule_data(fields: Mapping[str, str]) -> dict[str, Any]:
    """A form's texts as the API's values; what is no number stays a text, and is refused by its field."""
    data: dict[str, Any] = {name: fields.get(name, "").strip() for name in ("name", "expr", "severity", "text_en", "text_zh")}
    data["for_s"] = number_of(fields.get("for_s", "") or "0")
    repeat = fields.get("repeat_s", "").strip()
    data["repeat_s"] = number_of(repeat) if repeat else None
    data["labels"] = _pairs(fields.get("labels", ""))
    data["handlers"] = [name for part in fields.get("handlers", "").split(",") if (name := part.strip())]
    data["enabled"] = fields.get("enabled") == "on"
    return data


def _pairs(text: str) -> dict[str, str]:
    found = {}
    for part in (part.strip() for part in text.split(",")):
        if part:
            name, sign, value = part.partition("=")
            if not sign:
                raise Invalid([Problem("labels", _("write them as name=value, separated by commas"))])
            found[name.strip()] = value.strip()
    return found


def _handler_data(fields: Mapping[str, str]) -> dict[str, Any]:
    options: dict[str, Any] = {}
    if fields.get("url", "").strip():
        options["url"] = fields["url"].strip()
    if fields.get("to", "").strip():
        options["to"] = [address for part in fields["to"].split(",") if (address := part.strip())]
    return {
        "name": fields.get("name", "").strip(),
        "kind": fields.get("kind", ""),
        "options": options,
        "enabled": fields.get("enabled") == "on",
        "default": fields.get("default") == "on",
    }


def _version(fields: Mapping[str, str]) -> int:
    found = number_of(fields.get("version", ""))
    if not isinstance(found, int):
        raise Invalid([Problem("version", _("must be the version that was looked at"))])
    return found
