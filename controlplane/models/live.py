"""What passes between the processes of a site that has no Redis, and the means of frames that outlive a quarter of an hour."""

from __future__ import annotations

from typing import Any, ClassVar

from django.db import models
from django.utils.translation import gettext_lazy as _


class LiveBeat(models.Model):
    """What a process last told of itself. `at_us` is the database's clock: hosts' own would not agree on which are alive."""

    node = models.CharField(max_length=300, primary_key=True)
    at_us = models.BigIntegerField(db_index=True)
    body = models.BinaryField()

    class Meta:
        verbose_name = "beat of a process"
        default_permissions = ()

    def __str__(self) -> str:
        return self.node


class LiveEvent(models.Model):
    """An event of the live page. `id` sorts as text in the order of time."""

    id = models.CharField(max_length=24, primary_key=True)
    body = models.BinaryField()

    class Meta:
        verbose_name = "live event"
        default_permissions = ()

    def __str__(self) -> str:
        return str(self.id)


class LiveFrame(models.Model):
    """One second of the site, as it was sent to the open pages. `at_ms`: since 1970, by the leader's clock."""

    at_ms = models.BigIntegerField(primary_key=True)
    body = models.BinaryField()

    class Meta:
        verbose_name = "frame"
        default_permissions = ()

    def __str__(self) -> str:
        return str(self.at_ms)


class LiveMessage(models.Model):
    """A notice to all processes, kept for a minute: who did not look meanwhile reads the state where it is kept."""

    id: Any = models.BigAutoField(primary_key=True)
    at_us = models.BigIntegerField(db_index=True)
    kind = models.CharField(max_length=20)
    body = models.BinaryField()

    class Meta:
        verbose_name = "live message"
        default_permissions = ()

    def __str__(self) -> str:
        return f"{self.kind} {self.pk}"


class FrameMean(models.Model):
    """Means of the frames of `step_s` seconds from `at` (seconds since 1970) on. Written by the leader, under its fence."""

    step_s = models.IntegerField(_("seconds"))
    at = models.BigIntegerField(_("from"))
    figures = models.JSONField(_("means"))

    class Meta:
        verbose_name = _("mean of frames")
        verbose_name_plural = _("means of frames")
        default_permissions = ()
        constraints: ClassVar = [models.UniqueConstraint(fields=["step_s", "at"], name="frame_mean_unique")]

    def __str__(self) -> str:
        return f"{self.at} ({self.step_s} s)"
