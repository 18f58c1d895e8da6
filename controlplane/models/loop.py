"""LoopLease: who leads the control loop, until when, and how far its tasks have come."""

from __future__ import annotations

from django.db import models


class LoopLease(models.Model):
    """One row a loop. Times are the database's clock: two hosts' own clocks would not agree on when a lease has run out.

    `fence` grows with each leader, and `holder` is new with each process: together they name one time of leading, even where a
    database that lost its last commits hands a number out again. `cursors`: task → how far it has come.
    """

    name = models.CharField(max_length=40, primary_key=True)
    holder = models.CharField(max_length=300, blank=True, default="")
    fence = models.BigIntegerField(default=0)
    since_us = models.BigIntegerField(default=0)
    until_us = models.BigIntegerField(default=0)
    cursors = models.JSONField(default=dict)

    class Meta:
        verbose_name = "lease of a loop"
        default_permissions = ()

    def __str__(self) -> str:
        return self.name
