"""Alert rules as people change them: made, changed, removed, tried; each with a reason, in the audit."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from django.db.models import QuerySet
from django.utils import timezone

from controlplane.live.hub import HUB
from controlplane.models import AlertHandler, AlertRule
from controlplane.services import alert_input
from controlplane.services.alert_expressions import WINDOWS, Data, compiled, data_of
from controlplane.services.alert_input import Reader, Stale, expression_of, reason_of
from controlplane.services.rights import OPERATE, VIEW, control_realm, on_page, require
from permissions.errors import Conflict, Invalid, NotFound, Problem
from permissions.writing import Actor, Write, run_write
from resilience import telemetry

PAGE: Final = on_page("alerts")
# A site that needs more needs another tool; the round stays within milliseconds.
MAX_RULES: Final = 200


def rules(*, actor: Actor) -> QuerySet[AlertRule]:
    require(actor, VIEW, PAGE)
    return AlertRule.objects.order_by("name")


def rule_one(name: str, *, actor: Actor) -> AlertRule:
    """Raises Forbidden, NotFound."""
    require(actor, VIEW, PAGE)
    return _found(name)


def rule_create(*, actor: Actor, data: Mapping[str, Any], reason: object, request_id: str = "") -> AlertRule:
    """Raises Forbidden, Invalid, Conflict."""
    require(actor, OPERATE, PAGE)
    why = reason_of(reason)
    values = alert_input.rule_values(data, _handlers())

    def work(write: Write) -> AlertRule:
        if AlertRule.objects.filter(name=values["name"]).exists():
            raise Conflict(f"there is a rule {values['name']} already")
        if AlertRule.objects.count() >= MAX_RULES:
            raise Conflict(f"there are {MAX_RULES} rules, the most there can be")
        row = AlertRule.objects.create(**values, updated_by=actor.name[:600])
        write.record("alert_rule_create", "alert-rule", row.name, None, line_of(row))
        return row

    made: AlertRule = written(work, actor, why, request_id)
    return made


def rule_change(
    name: str,
    *,
    actor: Actor,
    data: Mapping[str, Any],
    reason: object,
    expected: int | None = None,
    request_id: str = "",
) -> AlertRule:
    """Replaces the rule whole; its name stays. Raises Forbidden, NotFound, Invalid, Stale."""
    require(actor, OPERATE, PAGE)
    why = reason_of(reason)
    values = alert_input.rule_values({**data, "name": data.get("name", name)}, _handlers())
    if values["name"] != name:
        raise Invalid([Problem("name", "cannot be changed: its incidents and silences go by it")])

    def work(write: Write) -> AlertRule:
        row = _found(name, expected)
        before = line_of(row)
        for column, value in values.items():
            setattr(row, column, value)
        row.version, row.updated_at, row.updated_by = row.version + 1, timezone.now(), actor.name[:600]
        row.save(update_fields=[*values, "version", "updated_at", "updated_by"])
        write.record("alert_rule_change", "alert-rule", name, before, line_of(row))
        return row

    changed: AlertRule = written(work, actor, why, request_id)
    return changed


def rule_delete(name: str, *, actor: Actor, reason: object, expected: int | None = None, request_id: str = "") -> None:
    """Its open incident ends with the next round. Raises Forbidden, NotFound, Invalid, Stale; Conflict for a shipped one."""
    require(actor, OPERATE, PAGE)
    why = reason_of(reason)

    def work(write: Write) -> None:
        row = _found(name, expected)
        if row.is_shipped:
            raise Conflict("this rule comes with permsite, and would come back with the next version: switch it off instead")
        before = line_of(row)
        row.delete()
        write.record("alert_rule_delete", "alert-rule", name, before, None)

    written(work, actor, why, request_id)


def rule_try(*, actor: Actor, expr: object) -> dict[str, Any]:
    """What an expression would answer now, and every mistake in it. Changes nothing. Raises Forbidden."""
    require(actor, VIEW, PAGE)
    read = Reader({"expr": expr})
    text = expression_of(read)
    if read.problems:
        return {"valid": False, "errors": read.problems, "result": None, "values": {}}
    verdict = compiled(text).evaluate(present())
    return {"valid": True, "errors": [], "result": verdict.result, "values": dict(verdict.values)}


def present() -> Data:
    """The newest frame and its means, as this process has them; empty while nobody samples."""
    from controlplane import live  # noqa: PLC0415 - it needs a store, which is chosen when first asked

    return data_of(HUB.frame() or {}, {window: live.means(seconds) for window, seconds in WINDOWS.items()})


def line_of(row: AlertRule) -> dict[str, Any]:
    """As JSON: what PUT takes, and what the audit keeps."""
    return {
        "name": row.name,
        "expr": row.expr,
        "for_s": row.for_s,
        "severity": row.severity,
        "labels": row.labels,
        "handlers": row.handlers,
        "text_en": row.text_en,
        "text_zh": row.text_zh,
        "repeat_s": row.repeat_s,
        "enabled": row.is_enabled,
    }


def _handlers() -> list[str]:
    return list(AlertHandler.objects.order_by("name").values_list("name", flat=True))


def _found(name: str, expected: int | None = None) -> AlertRule:
    row = AlertRule.objects.filter(name=name).first()
    if row is None:
        raise NotFound("there is no such alert rule")
    if expected is not None and expected != row.version:
        raise Stale(f"version {row.version} of the rule is in force, not {expected}: look at it again")
    return row


def written(work: Callable[[Write], Any], actor: Actor, reason: str, request_id: str) -> Any:
    """What `work` gives, in one audited write; told to the evaluators. For rules and handlers."""
    done, _ = run_write(control_realm(), actor, reason, work, request_id=request_id)
    telemetry.emit("alert.rules_changed", actor=actor.name)
    return done
