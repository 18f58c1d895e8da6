"""OperationRun: one run of a background job, from asked to ended: who, why, how far, what it said, and whose turn it is."""

from __future__ import annotations

import uuid
from typing import Any, ClassVar, Final

from django.db import models
from django.utils.translation import gettext_lazy as _

WAITING: Final = "waiting"
RUNNING: Final = "running"
DONE: Final = "done"
FAILED: Final = "failed"
CANCELLED: Final = "cancelled"
LOST: Final = "lost"
OPEN: Final = (WAITING, RUNNING)
ENDED: Final = (DONE, FAILED, CANCELLED, LOST)
STATES: Final = (
    (WAITING, _("waiting")),
    (RUNNING, _("running")),
    (DONE, _("done")),
    (FAILED, _("failed")),
    (CANCELLED, _("cancelled")),
    (LOST, _("lost")),
)


class OperationRun(models.Model):
    """`attempt` is the fence: it is raised whenever somebody takes the run, and every later write of a runner names its own.

    `slot`: what only one open run may work at, empty for a kind that does not mind. `task_id`: the queue's row for it.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    kind = models.CharField(_("kind"), max_length=50)
    state = models.CharField(_("state"), max_length=10, choices=STATES, default=WAITING)
    actor = models.CharField(_("actor"), max_length=600)
    actor_kind = models.CharField(max_length=20)
    actor_subject = models.CharField(max_length=600, blank=True, default="")
    is_administrator = models.BooleanField(default=False)
    reason = models.CharField(_("reason"), max_length=1000, blank=True, default="")
    arguments = models.JSONField(_("arguments"), default=dict)
    done = models.BigIntegerField(default=0)
    total = models.BigIntegerField(default=0)
    step = models.CharField(_("step"), max_length=300, blank=True, default="")
    log = models.JSONField(_("log"), default=list)
    log_dropped = models.PositiveIntegerField(default=0)
    result = models.JSONField(_("result"), null=True, blank=True)
    error = models.CharField(_("error"), max_length=1000, blank=True, default="")
    attempt = models.PositiveIntegerField(_("attempts"), default=0)
    worker = models.CharField(_("worker"), max_length=300, blank=True, default="")
    heartbeat_at = models.DateTimeField(_("heartbeat"), null=True, blank=True)
    cancel_asked = models.BooleanField(default=False)
    cancelled_by = models.CharField(max_length=600, blank=True, default="")
    key = models.CharField(_("key"), max_length=200, blank=True, default="")
    slot = models.CharField(max_length=200, blank=True, default="")
    task_id = models.UUIDField(null=True, blank=True)
    repeat_of = models.UUIDField(_("repeats"), null=True, blank=True)
    request_id = models.CharField(_("request id"), max_length=200, blank=True, default="")
    traceparent = models.CharField(max_length=60, blank=True, default="")
    created_at = models.DateTimeField(_("asked for"))
    started_at = models.DateTimeField(_("started"), null=True, blank=True)
    ended_at = models.DateTimeField(_("ended"), null=True, blank=True)

    class Meta:
        verbose_name = _("job")
        verbose_name_plural = _("jobs")
        default_permissions = ()
        ordering: ClassVar = ["-created_at", "-id"]
        constraints: ClassVar[list[Any]] = [
            models.UniqueConstraint(fields=["key"], condition=~models.Q(key=""), name="job_key_unique"),
            models.UniqueConstraint(
                fields=["slot"], condition=models.Q(state__in=[WAITING, RUNNING]) & ~models.Q(slot=""), name="job_slot_unique"
            ),
        ]
        indexes: ClassVar = [
            models.Index(fields=["-created_at", "-id"], name="job_newest"),
            models.Index(fields=["heartbeat_at"], condition=models.Q(state__in=[WAITING, RUNNING]), name="job_open"),
            models.Index(fields=["ended_at"], name="job_ended"),
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.id}"

    @property
    def trace_id(self) -> str:
        return self.traceparent.split("-")[1] if self.traceparent else ""

    @property
    def is_open(self) -> bool:
        return self.state in OPEN
