"""What a notice says: one payload for every handler, free of secrets, bounded, and the lines people read."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from typing import Any, Final

from django.conf import settings

from controlplane.alerts.records import Delivery, Incident, Notice, Target
from permissions.bundle.compact import date_text

VERSION: Final = 1


def deliveries(notices: Iterable[Notice], targets: Iterable[Target], now: dt.datetime) -> list[Delivery]:
    """One for each handler that is told. A handler that was removed, or switched off, is told nothing."""
    known = {target.name: target for target in targets}
    found = []
    for notice in notices:
        names = notice.handlers or tuple(target.name for target in known.values() if target.is_default)
        for name in names:
            if name in known and not _speaks_of_itself(notice.incident, name):
                payload = payload_of(notice, now)
                key = notice.incident.key
                found.append(Delivery(key, notice.incident.rule, name, notice.kind, notice.number, payload, now))
    return found


def _speaks_of_itself(incident: Incident, handler: str) -> bool:
    """That a handler fails is not told through that handler."""
    return incident.labels.get("handler") == handler and incident.rule == "handler_failed"


def payload_of(notice: Notice, now: dt.datetime) -> dict[str, Any]:
    """As JSON. `id` is the incident's, `state` firing, resolved or test; a repeat fires still."""
    incident = notice.incident
    return {
        "version": VERSION,
        "id": incident.key,
        "state": notice.state,
        "notice": notice.kind,
        "number": notice.number,
        "rule": incident.rule,
        "severity": incident.severity,
        "labels": dict(incident.labels),
        "expression": incident.expr,
        "figures": dict(incident.values),
        "detail": incident.detail,
        "text": {language: text for language, text in notice.texts.items() if text},
        "pending_since": date_text(incident.pending_at),
        "firing_since": None if incident.fired_at is None else date_text(incident.fired_at),
        "resolved_at": None if incident.resolved_at is None else date_text(incident.resolved_at),
        "at": date_text(now),
        "site": getattr(settings, "PUBLIC_URL", "") or None,
    }


def headline(payload: dict[str, Any]) -> str:
    """One line: what, how bad, which."""
    labels = ", ".join(f"{name}={value}" for name, value in sorted(payload["labels"].items()))
    again = f" (repeated, {payload['number']})" if payload["notice"] == "repeat" else ""
    return f"{payload['state'].upper()} {payload['severity']} {payload['rule']}{f' [{labels}]' if labels else ''}{again}"


def lines(payload: dict[str, Any]) -> list[str]:
    """For a mail: the texts in every language there is, then the facts."""
    figures = ", ".join(f"{name} = {_shown(value)}" for name, value in payload["figures"].items())
    facts = (
        ("Rule", payload["rule"]),
        ("Severity", payload["severity"]),
        ("Expression", payload["expression"]),
        ("Figures", figures),
        ("Detail", payload["detail"]),
        ("Firing since", payload["firing_since"]),
        ("Resolved", payload["resolved_at"]),
        ("Incident", payload["id"]),
        ("Site", payload["site"]),
    )
    return [*payload["text"].values(), "", *(f"{name}: {value}" for name, value in facts if value)]


def _shown(value: object) -> str:
    return "unknown" if value is None else f"{value:g}" if isinstance(value, float) else str(value)
