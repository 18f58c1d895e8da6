"""Incidents as people see and handle them: lists, acknowledgement, silences with an end."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping
from typing import Any, Final

from django.db.models import Exists, OuterRef, QuerySet
from django.utils import timezone

from controlplane.models import AlertDelivery, AlertIncident, AlertRound, AlertRule, AlertSilence
from controlplane.models.alerts import OPEN, label_key
from controlplane.services.alert_input import RESERVED, end_of, reason_of
from controlplane.services.alert_rules import PAGE
from controlplane.services.rights import OPERATE, VIEW, control_realm, require
from permissions.bundle.compact import date_text
from permissions.errors import Conflict, Invalid, NotFound, Problem
from permissions.writing import Actor, Write, run_write
from resilience import telemetry

# silenced: firing or pending, while a silence holds it back.
STATES: Final = ("firing", "pending", "silenced", "resolved")


def in_force(at: dt.datetime) -> QuerySet[AlertSilence]:
    return AlertSilence.objects.filter(until__gt=at, lifted_at=None)


def incidents(*, actor: Actor, state: str = "", rule: str = "", severity: str = "") -> QuerySet[AlertIncident]:
    """Newest first, each with `is_silenced`. `state`: one of STATES, `open`, or empty for all. Raises Forbidden, Invalid."""
    require(actor, VIEW, PAGE)
    silence = in_force(timezone.now()).filter(rule=OuterRef("rule"), label_key=OuterRef("label_key"))
    found = AlertIncident.objects.annotate(is_silenced=Exists(silence)).order_by("-pk")
    if state == "silenced":
        found = found.filter(state__in=OPEN, is_silenced=True)
    elif state == "open":
        found = found.filter(state__in=OPEN)
    elif state in ("firing", "pending"):
        found = found.filter(state=state, is_silenced=False)
    elif state == "resolved":
        found = found.filter(state=state)
    elif state:
        raise Invalid([Problem("state", f"must be one of {', '.join((*STATES, 'open'))}")])
    if rule:
        found = found.filter(rule=rule)
    return found.filter(severity=severity) if severity else found


def incident_one(key: str, *, actor: Actor) -> AlertIncident:
    """Raises Forbidden, NotFound."""
    found = incidents(actor=actor).filter(key=key).first()
    if found is None:
        raise NotFound("there is no such incident")
    return found


def deliveries(*, actor: Actor, incident: str = "", handler: str = "") -> QuerySet[AlertDelivery]:
    """Newest first. Raises Forbidden."""
    require(actor, VIEW, PAGE)
    found = AlertDelivery.objects.order_by("-pk")
    found = found.filter(incident=incident) if incident else found
    return found.filter(handler=handler) if handler else found


def last_round(*, actor: Actor) -> AlertRound | None:
    require(actor, VIEW, PAGE)
    return AlertRound.objects.first()


def incident_acknowledge(key: str, *, actor: Actor, reason: object, request_id: str = "") -> AlertIncident:
    """It stays visible and is not repeated; its end is told. Raises Forbidden, NotFound, Invalid, Conflict."""
    require(actor, OPERATE, PAGE)
    why = reason_of(reason)

    def work(write: Write) -> AlertIncident:
        row = _locked(key)
        if row.acknowledged_at is not None:
            raise Conflict(f"{row.acknowledged_by} has acknowledged it already")
        row.acknowledged_at, row.acknowledged_by, row.acknowledged_reason = timezone.now(), actor.name[:600], why
        row.save(update_fields=["acknowledged_at", "acknowledged_by", "acknowledged_reason"])
        write.record("alert_acknowledge", "alert", key, None, {"rule": row.rule, "labels": row.labels})
        return row

    row = _written(work, actor, why, request_id)
    telemetry.emit("alert.acknowledged", incident=key, rule=row.rule, actor=actor.name)
    return incident_one(key, actor=actor)


def incident_silence(key: str, *, actor: Actor, until: object, reason: object, request_id: str = "") -> AlertSilence:
    """The incident's rule with its labels, this time and each time until then. Raises Forbidden, NotFound, Invalid, Conflict."""
    require(actor, OPERATE, PAGE)
    why, end = reason_of(reason), end_of(until, timezone.now())
    return _silence(lambda: _about(_locked(key)), actor, end, why, request_id)


def rule_silence(name: str, *, actor: Actor, until: object, reason: object, request_id: str = "") -> AlertSilence:
    """Before planned work: it need not fire yet. Raises Forbidden, NotFound, Invalid."""
    require(actor, OPERATE, PAGE)
    why, end = reason_of(reason), end_of(until, timezone.now())
    return _silence(lambda: _of_rule(name), actor, end, why, request_id)


def incident_unsilence(key: str, *, actor: Actor, reason: object, request_id: str = "") -> int:
    """How many silences end now. Raises Forbidden, NotFound, Invalid, Conflict."""
    require(actor, OPERATE, PAGE)
    return _lift(lambda: _about(_locked(key)), actor, reason_of(reason), request_id)


def rule_unsilence(name: str, *, actor: Actor, reason: object, request_id: str = "") -> int:
    require(actor, OPERATE, PAGE)
    return _lift(lambda: _of_rule(name), actor, reason_of(reason), request_id)


def silences(*, actor: Actor) -> QuerySet[AlertSilence]:
    """Those in force, the next to end first."""
    require(actor, VIEW, PAGE)
    return in_force(timezone.now()).order_by("until", "pk")


_About = tuple[str, Mapping[str, str]]


def _about(row: AlertIncident) -> _About:
    return row.rule, row.labels


def _of_rule(name: str) -> _About:
    row = AlertRule.objects.filter(name=name).first()
    if row is None or name in RESERVED:
        raise NotFound("there is no such alert rule")
    return name, row.labels


def _silence(about: Callable[[], _About], actor: Actor, until: dt.datetime, reason: str, request_id: str) -> AlertSilence:
    def work(write: Write) -> AlertSilence:
        rule, labels = about()
        row = AlertSilence.objects.create(
            rule=rule,
            labels=dict(labels),
            label_key=label_key(labels),
            author=actor.name[:600],
            reason=reason,
            created_at=timezone.now(),
            until=until,
        )
        write.record("alert_silence", "alert", rule, None, {"labels": dict(labels), "until": date_text(until)})
        return row

    row: AlertSilence = _written(work, actor, reason, request_id)
    telemetry.emit("alert.silenced", rule=row.rule, until=date_text(until), actor=actor.name)
    return row


def _lift(about: Callable[[], _About], actor: Actor, reason: str, request_id: str) -> int:
    def work(write: Write) -> tuple[str, int]:
        rule, labels = about()
        now = timezone.now()
        found = in_force(now).filter(rule=rule, label_key=label_key(labels))
        lifted = found.update(lifted_at=now, lifted_by=actor.name[:600])
        if not lifted:
            raise Conflict("nothing silences it")
        write.record("alert_unsilence", "alert", rule, {"labels": dict(labels)}, None)
        return rule, lifted

    rule, lifted = _written(work, actor, reason, request_id)
    telemetry.emit("alert.unsilenced", rule=rule, actor=actor.name)
    return int(lifted)


def _locked(key: str) -> AlertIncident:
    """An open one. The caller holds the transaction. Raises NotFound, Conflict."""
    row = AlertIncident.objects.select_for_update().filter(key=key).first()
    if row is None:
        raise NotFound("there is no such incident")
    if row.state == "resolved":
        raise Conflict("it is resolved already")
    return row


def _written(work: Callable[[Write], Any], actor: Actor, reason: str, request_id: str) -> Any:
    return run_write(control_realm(), actor, reason, work, request_id=request_id)[0]
