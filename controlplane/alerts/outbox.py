"""Deliveries as rows: what is due, who sends it, what became of it, and how its handler fares."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Collection
from typing import Any, Final

from django.db import transaction
from django.db.models import F, Q
from django.utils import timezone

from controlplane.alerts import ledger
from controlplane.alerts.handlers.base import Settings
from controlplane.alerts.records import Delivery, Target
from controlplane.models import AlertDelivery, AlertHandler
from controlplane.services.alert_secrets import seal, unseal

# Seconds that a claim outlasts the attempt: for the resolver and for writing the outcome.
MARGIN_S: Final = 3.0


def due(most: int, taken: Collection[int]) -> list[Delivery]:
    """Oldest first, so that the end of an incident is not told before its beginning."""
    at = ledger.now()
    waits = Q(outcome="due") & (Q(not_before=None) | Q(not_before__lte=at))
    left_behind = Q(outcome="sending", claimed_until__lte=at)
    rows = AlertDelivery.objects.filter(waits | left_behind).exclude(notice="test").order_by("pk")
    return [ledger.delivery_of(row) for row in rows[:most] if row.pk not in taken]


def claim(row: int, name: str, seconds: float) -> bool:
    """Whether this process sends it, for so long. Called before each attempt: another may have taken it in between."""
    at = ledger.now()
    free = Q(outcome="due") | Q(outcome="sending", claimed_by=name) | Q(outcome="sending", claimed_until__lte=at)
    until = at + dt.timedelta(seconds=seconds)
    found = AlertDelivery.objects.filter(free, pk=row)
    return bool(found.update(outcome="sending", claimed_by=name, claimed_until=until, attempts=F("attempts") + 1))


def put_off(delivery: Delivery, name: str, pause_s: float, longest_s: float) -> bool:
    """Until after a pause; False, and nothing is put off, where it would then be older than that."""
    until = ledger.now() + dt.timedelta(seconds=pause_s)
    if delivery.row is None or (until - delivery.created_at).total_seconds() > longest_s:
        return False
    mine = AlertDelivery.objects.filter(pk=delivery.row, outcome="sending", claimed_by=name)
    mine.update(outcome="due", not_before=until, claimed_until=None, error=delivery.error)
    return True


def write(delivery: Delivery) -> None:
    """The outcome, and what it says of the handler. One that was sent without a row gets its row."""
    with transaction.atomic():
        ended = {
            "outcome": delivery.outcome,
            "error": delivery.error,
            "attempts": delivery.attempts,
            "ended_at": delivery.ended_at,
            "claimed_until": None,
        }
        if delivery.row is None:
            once = {name: getattr(delivery, name) for name in ("incident", "notice", "number", "handler")}
            if not AlertDelivery.objects.filter(**once).update(**ended):
                ledger.record([delivery])
        else:
            AlertDelivery.objects.filter(pk=delivery.row).update(**ended)
        told(delivery.handler, delivery.outcome, delivery.error)


def told(handler: str, outcome: str, error: str) -> None:
    """A failure marks the handler until it delivers again; the evaluator makes an incident of it."""
    found = AlertHandler.objects.filter(name=handler)
    if outcome == "sent":
        found.update(failing_since=None, last_error="", last_sent_at=timezone.now())
    elif outcome == "failed":
        found.filter(failing_since=None).update(failing_since=timezone.now())
        found.update(last_error=error)


# What a handler keeps to itself


def settings_of(target: Target) -> Settings:
    """With everything in clear. Raises Unreadable."""
    hidden = opened(target.secret)
    return Settings(target.name, {**target.options, **hidden.get("options", {})}, hidden.get("key", ""))


def opened(sealed: str) -> dict[str, Any]:
    """Raises Unreadable."""
    found: dict[str, Any] = json.loads(unseal(sealed) or "{}")
    return found


def closed(key: str, options: dict[str, Any]) -> str:
    return seal(json.dumps({"key": key, "options": options})) if key or options else ""
