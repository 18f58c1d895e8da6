"""Alerts between records and rows: what a round needs, what it leaves behind, and what a time without the database left.

The caller holds the transaction. Incidents keep their key in memory and in rows, so storing one again changes nothing.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from django.db import connection
from django.db.models import Q

from controlplane.alerts.machine import Round
from controlplane.alerts.records import Delivery, Incident, Rule, Target
from controlplane.models import AlertDelivery, AlertHandler, AlertIncident, AlertRound, AlertRule, AlertSilence
from controlplane.models.alerts import OPEN, label_key
from controlplane.services.alert_expressions import compiled
from permissions.engine.types import ConditionSyntaxError

# Rows removed at once; the rest goes the next time.
BATCH: Final = 1_000
_NOW: Final = {"postgresql": "SELECT clock_timestamp()", "sqlite": "SELECT strftime('%Y-%m-%d %H:%M:%f', 'now')"}
# What an evaluation writes of an incident; acknowledgements are people's, and a person may write one at the same moment.
_WRITTEN: Final = (
    "severity state expr values detail pending_at seen_at fired_at resolved_at told_at notices".split()  # noqa: SIM905 - columns
)


@dataclass(frozen=True, slots=True)
class Loaded:
    """What one round starts from. `silences`: (rule, label_key) → until."""

    now: dt.datetime
    rules: tuple[Rule, ...] = ()
    targets: tuple[Target, ...] = ()
    incidents: tuple[Incident, ...] = ()
    silences: Mapping[tuple[str, str], dt.datetime] = field(default_factory=dict)
    results: Mapping[str, Any] = field(default_factory=dict)

    def is_silent(self, at: dt.datetime) -> Any:
        return lambda rule, key: self.silences.get((rule, key), at) > at


def now() -> dt.datetime:
    """The database's clock: two hosts' own would not agree on how long something has held."""
    with connection.cursor() as cursor:
        cursor.execute(_NOW[connection.vendor])
        found = cursor.fetchone()[0]
    return dt.datetime.fromisoformat(found).replace(tzinfo=dt.UTC) if isinstance(found, str) else found


def load() -> Loaded:
    at = now()
    silences: dict[tuple[str, str], dt.datetime] = {}
    for silence in AlertSilence.objects.filter(until__gt=at, lifted_at=None):
        where = silence.rule, silence.label_key
        silences[where] = max(silence.until, silences.get(where, silence.until))
    last = AlertRound.objects.first()
    return Loaded(
        at,
        tuple(rule_of(row) for row in AlertRule.objects.filter(is_enabled=True)),
        tuple(target_of(row) for row in AlertHandler.objects.filter(is_enabled=True)),
        tuple(_incident_of(row) for row in AlertIncident.objects.filter(state__in=OPEN)),
        silences,
        {} if last is None else last.results,
    )


def rule_of(row: AlertRule) -> Rule:
    expression, problem = None, ""
    try:
        expression = compiled(row.expr)
    except ConditionSyntaxError as error:
        problem = str(error)[:300]
    texts = {"en": row.text_en, "zh-hans": row.text_zh}
    return Rule(
        row.name,
        row.expr,
        row.for_s,
        row.severity,
        row.labels,
        label_key(row.labels),
        tuple(row.handlers),
        row.repeat_s,
        texts,
        expression,
        problem,
    )


def target_of(row: AlertHandler) -> Target:
    return Target(row.name, row.kind, row.options, row.secret, row.is_default, row.failing_since, row.last_error)


def _incident_of(row: AlertIncident) -> Incident:
    return Incident(
        row.rule,
        row.labels,
        row.label_key,
        row.severity,
        row.expr,
        row.pending_at,
        row.seen_at,
        row.key,
        row.state,  # type: ignore[arg-type]  # one of STATES
        row.values,
        row.detail,
        row.fired_at,
        row.resolved_at,
        row.told_at,
        row.notices,
        row.acknowledged_at is not None,
    )


def save(done: Round, deliveries: Iterable[Delivery], *, at: dt.datetime, leader: str, results: Mapping[str, Any]) -> None:
    """In the leader's transaction. The end of one incident is written before another of its subject begins."""
    if done.dropped:
        AlertIncident.objects.filter(key__in=[incident.key for incident in done.dropped], state="pending").delete()
    for incident in sorted(done.changed, key=lambda incident: incident.state != "resolved"):
        store(incident)
    record(deliveries)
    AlertRound.objects.update_or_create(pk=1, defaults={"at": at, "leader": leader, "results": dict(results)})


def store(incident: Incident) -> None:
    values = {name: getattr(incident, name) for name in _WRITTEN}
    if not AlertIncident.objects.filter(key=incident.key).update(**values):
        AlertIncident.objects.create(
            key=incident.key, rule=incident.rule, labels=dict(incident.labels), label_key=incident.label_key, **values
        )


def record(deliveries: Iterable[Delivery]) -> None:
    """What is there already stays as it is: a notice is for a handler once."""
    rows = [_row_of(delivery) for delivery in deliveries]
    if rows:
        AlertDelivery.objects.bulk_create(rows, ignore_conflicts=True)


def _row_of(delivery: Delivery) -> AlertDelivery:
    return AlertDelivery(
        incident=delivery.incident,
        rule=delivery.rule,
        handler=delivery.handler,
        notice=delivery.notice,
        number=delivery.number,
        payload=delivery.payload,
        outcome=delivery.outcome,
        attempts=delivery.attempts,
        error=delivery.error,
        created_at=delivery.created_at,
        ended_at=delivery.ended_at,
    )


def delivery_of(row: AlertDelivery) -> Delivery:
    return Delivery(
        row.incident,
        row.rule,
        row.handler,
        row.notice,
        row.number,
        row.payload,
        row.created_at,
        row.pk,
        row.outcome,
        row.attempts,
        row.error,
        row.ended_at,
    )


def merge(journal: Iterable[Incident], dropped: Iterable[str], at: dt.datetime) -> None:
    """What was evaluated while the database was away, into rows; also by a process that leads no longer.

    Another leader may have begun an incident of the same subject since. Then ours ends here, without a second open one: receivers
    who know it by its key are told of its end.
    """
    AlertIncident.objects.filter(key__in=list(dropped), state="pending").delete()
    for incident in sorted(journal, key=lambda incident: incident.state != "resolved"):
        row = AlertIncident.objects.select_for_update().filter(key=incident.key).first()
        if row is not None and row.state == "resolved":
            continue
        if incident.state != "resolved":
            taken = Q(rule=incident.rule, label_key=incident.label_key, state__in=OPEN) & ~Q(key=incident.key)
            if AlertIncident.objects.filter(taken).exists():
                if incident.state == "pending" or incident.told_at is None:
                    continue
                incident = replace(incident, state="resolved", resolved_at=at, detail="goes on as another incident")  # noqa: PLW2901
        store(incident)


def prune(before: dt.datetime) -> int:
    """Removes resolved incidents and deliveries older than that, and silences long over; at most BATCH of each."""
    gone = 0
    for rows in (
        AlertIncident.objects.filter(resolved_at__lt=before),
        AlertDelivery.objects.filter(created_at__lt=before),
        AlertSilence.objects.filter(until__lt=before),
    ):
        found = list(rows.order_by("pk").values_list("pk", flat=True)[:BATCH])
        if found:
            gone += rows.model._default_manager.filter(pk__in=found).delete()[0]
    return gone
