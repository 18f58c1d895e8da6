"""Alerts as rows: rules, the handlers that tell of them, incidents, silences, deliveries, and the last round of evaluation."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any, ClassVar, Final

from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

SEVERITIES: Final = ("info", "warning", "critical")
STATES: Final = ("pending", "firing", "resolved")
OPEN: Final = ("pending", "firing")
# Of a notice. due: to be sent; sending: claimed by a leader; then one of three ends.
OUTCOMES: Final = ("due", "sending", "sent", "failed", "dropped")
NOTICES: Final = ("firing", "repeat", "resolved", "test")


def label_key(labels: Mapping[str, str]) -> str:
    """One text for one set of labels, whatever their order; short enough for an index."""
    return hashlib.sha256(json.dumps(labels, sort_keys=True, ensure_ascii=True).encode()).hexdigest()


def _choices(names: tuple[str, ...]) -> list[tuple[str, str]]:
    return [(name, name) for name in names]


class AlertRule(models.Model):
    """`handlers`: names; none means every handler that is on by default. `is_shipped`: switched off, not removed."""

    name = models.CharField(_("name"), max_length=60, unique=True)
    expr = models.CharField(_("expression"), max_length=1024)
    for_s = models.FloatField(_("for, seconds"), default=0.0)
    severity = models.CharField(_("severity"), max_length=10, choices=_choices(SEVERITIES), default="warning")
    labels = models.JSONField(_("labels"), default=dict, blank=True)
    handlers = models.JSONField(_("handlers"), default=list, blank=True)
    text_en = models.CharField(_("text, English"), max_length=500, blank=True, default="")
    text_zh = models.CharField(_("text, Chinese"), max_length=500, blank=True, default="")
    repeat_s = models.FloatField(_("repeated every, seconds"), null=True, blank=True)
    is_enabled = models.BooleanField(_("in use"), default=True)
    is_shipped = models.BooleanField(_("shipped"), default=False)
    version = models.BigIntegerField(_("version"), default=1)
    updated_at = models.DateTimeField(_("changed"), default=timezone.now)
    updated_by = models.CharField(_("changed by"), max_length=600, blank=True, default="")

    class Meta:
        verbose_name = _("alert rule")
        verbose_name_plural = _("alert rules")
        default_permissions = ()
        ordering: ClassVar = ["name"]

    def __str__(self) -> str:
        return self.name


class AlertHandler(models.Model):
    """Where notices go. `secret` is sealed (`services/alert_secrets.py`) and leaves the process only as a signature.

    `failing_since`: the last delivery failed; an incident says so until one succeeds.
    """

    name = models.CharField(_("name"), max_length=60, unique=True)
    kind = models.CharField(_("kind"), max_length=40)
    options = models.JSONField(_("options"), default=dict, blank=True)
    secret = models.TextField(_("secret"), blank=True, default="")
    is_enabled = models.BooleanField(_("in use"), default=True)
    is_default = models.BooleanField(_("for every rule that names none"), default=True)
    version = models.BigIntegerField(_("version"), default=1)
    updated_at = models.DateTimeField(_("changed"), default=timezone.now)
    updated_by = models.CharField(_("changed by"), max_length=600, blank=True, default="")
    failing_since = models.DateTimeField(_("failing since"), null=True, blank=True)
    last_error = models.CharField(_("last error"), max_length=300, blank=True, default="")
    last_sent_at = models.DateTimeField(_("last delivery"), null=True, blank=True)

    class Meta:
        verbose_name = _("alert handler")
        verbose_name_plural = _("alert handlers")
        default_permissions = ()
        ordering: ClassVar = ["name"]

    def __str__(self) -> str:
        return self.name


class AlertIncident(models.Model):
    """One time that a rule held. `key` names it in every notice; `notices` counts those told while it is open."""

    key = models.CharField(max_length=32, unique=True)
    rule = models.CharField(_("rule"), max_length=60)
    labels = models.JSONField(_("labels"), default=dict)
    label_key = models.CharField(max_length=64)
    severity = models.CharField(_("severity"), max_length=10, choices=_choices(SEVERITIES))
    state = models.CharField(_("state"), max_length=10, choices=_choices(STATES))
    expr = models.CharField(_("expression"), max_length=1024, blank=True, default="")
    values = models.JSONField(_("figures"), default=dict)
    detail = models.CharField(_("detail"), max_length=300, blank=True, default="")
    pending_at = models.DateTimeField(_("pending since"))
    seen_at = models.DateTimeField(_("last true"))
    fired_at = models.DateTimeField(_("firing since"), null=True, blank=True)
    resolved_at = models.DateTimeField(_("resolved"), null=True, blank=True)
    told_at = models.DateTimeField(_("last notice"), null=True, blank=True)
    notices = models.PositiveIntegerField(_("notices"), default=0)
    acknowledged_at = models.DateTimeField(_("acknowledged"), null=True, blank=True)
    acknowledged_by = models.CharField(_("acknowledged by"), max_length=600, blank=True, default="")
    acknowledged_reason = models.CharField(max_length=1000, blank=True, default="")

    class Meta:
        verbose_name = _("alert incident")
        verbose_name_plural = _("alert incidents")
        default_permissions = ()
        ordering: ClassVar = ["-id"]
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["rule", "label_key"], condition=models.Q(state__in=OPEN), name="alert_incident_one_open"
            ),
        ]
        indexes: ClassVar = [
            models.Index(fields=["resolved_at"], name="alert_incident_resolved"),
            models.Index(fields=["rule", "-id"], name="alert_incident_rule"),
        ]

    def __str__(self) -> str:
        return f"{self.rule} {self.key}"


class AlertSilence(models.Model):
    """No notice of a rule with these labels until `until`; what has been told of is still said to have ended."""

    rule = models.CharField(_("rule"), max_length=60)
    labels = models.JSONField(_("labels"), default=dict)
    label_key = models.CharField(max_length=64)
    author = models.CharField(_("by"), max_length=600)
    reason = models.CharField(_("reason"), max_length=1000)
    created_at = models.DateTimeField(_("since"), default=timezone.now)
    until = models.DateTimeField(_("until"))
    lifted_at = models.DateTimeField(_("lifted"), null=True, blank=True)
    lifted_by = models.CharField(_("lifted by"), max_length=600, blank=True, default="")

    class Meta:
        verbose_name = _("alert silence")
        verbose_name_plural = _("alert silences")
        default_permissions = ()
        ordering: ClassVar = ["-id"]
        constraints: ClassVar = [
            # The end is no option; that it lies at most seven days ahead is judged where a silence is made.
            models.CheckConstraint(condition=models.Q(until__gt=models.F("created_at")), name="alert_silence_ends"),
        ]
        indexes: ClassVar = [models.Index(fields=["until"], name="alert_silence_until")]

    def __str__(self) -> str:
        return f"{self.rule} {self.until:%Y-%m-%d %H:%M}"


class AlertDelivery(models.Model):
    """One notice to one handler: first what is to be sent, then what became of it. `number` tells repeats apart."""

    incident = models.CharField(_("incident"), max_length=32)
    rule = models.CharField(_("rule"), max_length=60)
    handler = models.CharField(_("handler"), max_length=60)
    notice = models.CharField(_("notice"), max_length=10, choices=_choices(NOTICES))
    number = models.PositiveIntegerField(default=0)
    payload = models.JSONField(default=dict)
    outcome = models.CharField(_("outcome"), max_length=10, choices=_choices(OUTCOMES), default="due")
    attempts = models.PositiveSmallIntegerField(_("attempts"), default=0)
    error = models.CharField(_("error"), max_length=300, blank=True, default="")
    created_at = models.DateTimeField(_("at"))
    not_before = models.DateTimeField(null=True, blank=True)
    claimed_by = models.CharField(max_length=40, blank=True, default="")
    claimed_until = models.DateTimeField(null=True, blank=True)
    ended_at = models.DateTimeField(_("ended"), null=True, blank=True)

    class Meta:
        verbose_name = _("alert delivery")
        verbose_name_plural = _("alert deliveries")
        default_permissions = ()
        ordering: ClassVar = ["-id"]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["incident", "notice", "number", "handler"], name="alert_delivery_once"),
        ]
        indexes: ClassVar = [
            models.Index(
                fields=["handler", "id"], condition=models.Q(outcome__in=("due", "sending")), name="alert_delivery_waiting"
            ),
            models.Index(fields=["created_at"], name="alert_delivery_created"),
        ]

    def __str__(self) -> str:
        return f"{self.rule} {self.notice} {self.handler}"


class AlertRound(models.Model):
    """One row: the last evaluation. `results`: rule → {result, since, values, error}; written with the incidents of its round."""

    at = models.DateTimeField()
    leader = models.CharField(max_length=40, blank=True, default="")
    results: models.JSONField[dict[str, Any], dict[str, Any]] = models.JSONField(default=dict)

    class Meta:
        verbose_name = "last evaluation of alerts"
        default_permissions = ()

    def __str__(self) -> str:
        return f"{self.at:%Y-%m-%d %H:%M:%S}"
