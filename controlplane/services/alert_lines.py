"""Alerts as JSON: the lines of the API and of the page."""

from __future__ import annotations

import datetime as dt
from typing import Any, Final

from django.utils import timezone

from controlplane.models import AlertDelivery, AlertIncident, AlertRound, AlertRule, AlertSilence
from controlplane.services.alert_rules import line_of
from permissions.bundle.compact import date_text

# A leader looks every 5 s; after this the last look is told as old.
LATE_S: Final = 30.0


def _moment(at: dt.datetime | None) -> str | None:
    return None if at is None else date_text(at)


def round_line(row: AlertRound | None) -> dict[str, Any]:
    """When rules were last evaluated; `late`: longer ago than a change of leader takes."""
    if row is None:
        return {"at": None, "late": True}
    return {"at": date_text(row.at), "late": (timezone.now() - row.at).total_seconds() > LATE_S}


def incident_line(row: AlertIncident) -> dict[str, Any]:
    acknowledged = None
    if row.acknowledged_at is not None:
        acknowledged = {
            "at": date_text(row.acknowledged_at),
            "by": row.acknowledged_by,
            "reason": row.acknowledged_reason,
        }
    return {
        "key": row.key,
        "rule": row.rule,
        "labels": row.labels,
        "severity": row.severity,
        "state": row.state,
        "silenced": row.is_silenced,  # type: ignore[attr-defined]  # annotated
        "expr": row.expr,
        "values": row.values,
        "detail": row.detail,
        "pending_at": _moment(row.pending_at),
        "fired_at": _moment(row.fired_at),
        "resolved_at": _moment(row.resolved_at),
        "told_at": _moment(row.told_at),
        "notices": row.notices,
        "acknowledged": acknowledged,
    }


def silence_line(row: AlertSilence) -> dict[str, Any]:
    return {
        "rule": row.rule,
        "labels": row.labels,
        "author": row.author,
        "reason": row.reason,
        "created_at": _moment(row.created_at),
        "until": _moment(row.until),
    }


def delivery_line(row: AlertDelivery) -> dict[str, Any]:
    return {
        "incident": row.incident,
        "rule": row.rule,
        "handler": row.handler,
        "notice": row.notice,
        "number": row.number,
        "outcome": row.outcome,
        "attempts": row.attempts,
        "error": row.error,
        "at": _moment(row.created_at),
        "ended_at": _moment(row.ended_at),
    }


def rule_line(row: AlertRule, last: AlertRound | None) -> dict[str, Any]:
    found = {} if last is None else last.results.get(row.name, {})
    return {
        **line_of(row),
        "shipped": row.is_shipped,
        "version": row.version,
        "updated_at": date_text(row.updated_at),
        "updated_by": row.updated_by,
        "result": found.get("result"),
        "result_since": found.get("since"),
        "values": found.get("values", {}),
        "error": found.get("error", ""),
    }
