"""Handlers as people change and try them. A key is shown once, where it is drawn; sealed options never again."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import Any, Final

from django.db.models import QuerySet
from django.utils import timezone

from controlplane.alerts import handlers, ledger, notices, outbox
from controlplane.alerts.handlers.base import Handler, Message, NotDelivered
from controlplane.alerts.records import Delivery, Incident, Notice, Target
from controlplane.alerts.shipped import HANDLERS as SHIPPED
from controlplane.models import AlertHandler, AlertRule
from controlplane.services import alert_settings
from controlplane.services.alert_input import Reader, Stale, reason_of
from controlplane.services.alert_rules import PAGE, present, rule_one, written
from controlplane.services.alert_secrets import Unreadable, new_secret
from controlplane.services.rights import OPERATE, VIEW, control_realm, require
from permissions.bundle.compact import date_text
from permissions.errors import Conflict, NotFound
from permissions.writing import Actor, Write, run_write
from resilience import telemetry

FIELDS: Final = ("name", "kind", "options", "enabled", "default")
# Each has a thread of its own while it is busy.
MAX_HANDLERS: Final = 20


def every(*, actor: Actor) -> QuerySet[AlertHandler]:
    require(actor, VIEW, PAGE)
    return AlertHandler.objects.order_by("name")


def one(name: str, *, actor: Actor) -> AlertHandler:
    """Raises Forbidden, NotFound."""
    require(actor, VIEW, PAGE)
    return _found(name)


def handler_create(*, actor: Actor, data: Mapping[str, Any], reason: object, request_id: str = "") -> tuple[AlertHandler, str]:
    """The row, and the key that signs, which nobody is told again. Raises Forbidden, Invalid, Conflict."""
    require(actor, OPERATE, PAGE)
    why = reason_of(reason)
    kind, values, sealed = _read(data, {})
    key = new_secret() if kind.signs else ""

    def work(write: Write) -> AlertHandler:
        if AlertHandler.objects.filter(name=values["name"]).exists():
            raise Conflict(f"there is a handler {values['name']} already")
        if AlertHandler.objects.count() >= MAX_HANDLERS:
            raise Conflict(f"there are {MAX_HANDLERS} handlers, the most there can be")
        row = AlertHandler.objects.create(**values, secret=outbox.closed(key, sealed), updated_by=actor.name[:600])
        write.record("alert_handler_create", "alert-handler", row.name, None, line_of(row))
        return row

    return written(work, actor, why, request_id), key


def handler_change(
    name: str,
    *,
    actor: Actor,
    data: Mapping[str, Any],
    reason: object,
    expected: int | None = None,
    request_id: str = "",
) -> AlertHandler:
    """Name, kind and key stay; a sealed option that is left out stays too. Raises Forbidden, NotFound, Invalid, Stale."""
    require(actor, OPERATE, PAGE)
    why = reason_of(reason)

    def work(write: Write) -> AlertHandler:
        row = _found(name, expected)
        before = line_of(row)
        hidden = _opened(row)
        given = {**data, "name": data.get("name", name), "kind": data.get("kind", row.kind)}
        kind, values, sealed = _read(given, hidden.get("options", {}))
        if (values["name"], values["kind"]) != (name, row.kind):
            raise Conflict("name and kind of a handler cannot be changed: make another")
        for column, value in values.items():
            setattr(row, column, value)
        key = hidden.get("key") or (new_secret() if kind.signs else "")
        row.secret = outbox.closed(key, sealed)
        row.failing_since, row.last_error = None, ""  # what failed may be put right by this; the next notice shows
        _touch(row, actor, [*values, "secret", "failing_since", "last_error"])
        write.record("alert_handler_change", "alert-handler", name, before, line_of(row))
        return row

    changed: AlertHandler = written(work, actor, why, request_id)
    return changed


def handler_rekey(
    name: str, *, actor: Actor, reason: object, expected: int | None = None, request_id: str = ""
) -> tuple[AlertHandler, str]:
    """Another key signs from now on. Raises as handler_change; Conflict for a kind that does not sign."""
    require(actor, OPERATE, PAGE)
    why = reason_of(reason)
    key = new_secret()

    def work(write: Write) -> AlertHandler:
        row = _found(name, expected)
        kind = handlers.find(row.kind)
        if kind is None or not kind.signs:
            raise Conflict(f"a handler of kind {row.kind} signs nothing")
        row.secret = outbox.closed(key, _opened(row).get("options", {}))
        _touch(row, actor, ["secret"])
        write.record("alert_handler_rekey", "alert-handler", name, None, {"version": row.version})
        return row

    return written(work, actor, why, request_id), key


def handler_delete(name: str, *, actor: Actor, reason: object, expected: int | None = None, request_id: str = "") -> None:
    """Raises Forbidden, NotFound, Stale; Conflict for one that rules name, or that comes with permsite."""
    require(actor, OPERATE, PAGE)
    why = reason_of(reason)

    def work(write: Write) -> None:
        row = _found(name, expected)
        if name in SHIPPED:
            raise Conflict("this handler comes with permsite: switch it off instead")
        users = [rule.name for rule in AlertRule.objects.all() if name in rule.handlers]
        if users:
            raise Conflict(f"rules name it: {', '.join(users[:10])}")
        before = line_of(row)
        row.delete()
        write.record("alert_handler_delete", "alert-handler", name, before, None)

    written(work, actor, why, request_id)


def rule_test_fire(rule: str, *, actor: Actor, reason: object, request_id: str = "") -> list[Delivery]:
    """Tells the rule's handlers, one attempt each, that this is a test; answers what became of it. No incident is made.

    Raises Forbidden, NotFound, Invalid.
    """
    require(actor, OPERATE, PAGE)
    why = reason_of(reason)
    row = rule_one(rule, actor=actor)
    at = timezone.now()
    asked = ledger.rule_of(row)
    values = {} if asked.expression is None else dict(asked.expression.evaluate(present()).values)
    incident = Incident(
        row.name,
        row.labels,
        asked.label_key,
        row.severity,
        row.expr,
        at,
        at,
        values=values,
        detail=f"tried by {actor.name}"[:300],
    )
    targets = [ledger.target_of(handler) for handler in AlertHandler.objects.filter(is_enabled=True)]
    found = notices.deliveries([Notice("test", 0, incident, asked.handlers, asked.texts)], targets, at)
    run_write(
        control_realm(),
        actor,
        why,
        lambda write: write.record("alert_test_fire", "alert-rule", rule, None, {"handlers": [each.handler for each in found]}),
        request_id=request_id,
    )
    by_name = {target.name: target for target in targets}
    for delivery in found:
        _try(delivery, by_name[delivery.handler])
        outbox.write(delivery)
    return found


def line_of(row: AlertHandler) -> dict[str, Any]:
    """As JSON, for people and the audit: what is sealed only as its kind shows it."""
    kind = handlers.find(row.kind)
    try:
        hidden = outbox.opened(row.secret)
    except Unreadable:
        hidden = {}
    shown = {} if kind is None else {name: kind.shown(name, value) for name, value in hidden.get("options", {}).items()}
    return {
        "name": row.name,
        "kind": row.kind,
        "options": {**row.options, **shown},
        "enabled": row.is_enabled,
        "default": row.is_default,
    }


def shown(row: AlertHandler) -> dict[str, Any]:
    return {
        **line_of(row),
        "version": row.version,
        "updated_at": date_text(row.updated_at),
        "updated_by": row.updated_by,
        "failing_since": None if row.failing_since is None else date_text(row.failing_since),
        "last_error": row.last_error,
        "last_sent_at": None if row.last_sent_at is None else date_text(row.last_sent_at),
    }


def _try(delivery: Delivery, target: Target) -> None:
    kind = handlers.find(target.kind)
    delivery.attempts = 1
    try:
        if kind is None:
            raise NotDelivered(f"no handler of kind {target.kind} is installed")
        message = Message(delivery.payload, delivery.idempotency_key, alert_settings.current()["timeout_s"])
        kind.deliver(message, outbox.settings_of(target))
    except (NotDelivered, Unreadable) as error:
        delivery.outcome, delivery.error = "failed", str(error)[:300]
    except Exception as error:  # noqa: BLE001 - a handler's own fault is what the test is to show; its text may hold secrets
        delivery.outcome, delivery.error = "failed", type(error).__name__
        telemetry.internal_error("alerts", target.name, error)
    else:
        delivery.outcome, delivery.error = "sent", ""
    delivery.ended_at = dt.datetime.now(dt.UTC)


def _read(data: Mapping[str, Any], kept: Mapping[str, Any]) -> tuple[Handler, dict[str, Any], dict[str, Any]]:
    """The kind, the columns, and what is to be sealed. Raises Invalid with every mistake."""
    read = Reader(data)
    for unknown in [name for name in data if name not in FIELDS]:
        read.wrong(str(unknown)[:60], f"is not known here; known are {', '.join(FIELDS)}")
    kinds = handlers.every()
    name, chosen = read.name(), read.choice("kind", "", list(kinds))
    kind = kinds.get(chosen)
    options: dict[str, Any] = {}
    given = data.get("options", {})
    if not isinstance(given, Mapping):
        read.wrong("options", "must be an object")
    elif kind is not None:
        options, wrong = kind.checked({**kept, **given})
        read.problems.extend(wrong)
    values = {
        "name": name,
        "kind": chosen,
        "is_enabled": read.flag("enabled", True),
        "is_default": read.flag("default", True),
    }
    read.done()
    if kind is None:
        raise RuntimeError("a kind was read that there is not")  # read.done() has refused it
    sealed = {option: value for option, value in options.items() if option in kind.sealed}
    values["options"] = {option: value for option, value in options.items() if option not in kind.sealed}
    return kind, values, sealed


def _opened(row: AlertHandler) -> dict[str, Any]:
    try:
        return outbox.opened(row.secret)
    except Unreadable:
        return {}  # sealed with a SECRET_KEY that is gone: what is given now takes its place


def _touch(row: AlertHandler, actor: Actor, columns: list[str]) -> None:
    row.version, row.updated_at, row.updated_by = row.version + 1, timezone.now(), actor.name[:600]
    row.save(update_fields=[*columns, "version", "updated_at", "updated_by"])


def _found(name: str, expected: int | None = None) -> AlertHandler:
    row = AlertHandler.objects.filter(name=name).first()
    if row is None:
        raise NotFound("there is no such alert handler")
    if expected is not None and expected != row.version:
        raise Stale(f"version {row.version} of the handler is in force, not {expected}: look at it again")
    return row
