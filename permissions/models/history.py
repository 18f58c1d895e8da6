"""RowHistory: what rows that decide were before each change. HistoryFloor: since when that is whole, a realm. By triggers."""

from __future__ import annotations

from typing import ClassVar

from django.db import models


class RowHistory(models.Model):
    """`old` of op `o`: the row of table `kind` and id `row_id` until `rev` began; of op `i`: it was not there.

    Op `i` without a `row_id` has in `old` the ids of all rows that one statement added. `realm_id` is no foreign key: the rows of
    a realm that is removed are kept after Django has collected what to delete.
    """

    realm_id = models.BigIntegerField()
    rev = models.BigIntegerField()
    kind = models.CharField(max_length=30)
    op = models.CharField(max_length=1)
    row_id = models.BigIntegerField(null=True)
    old = models.JSONField(null=True)

    class Meta:
        default_permissions = ()
        indexes: ClassVar = [models.Index(fields=["realm_id", "rev"], name="row_history_rev")]

    def __str__(self) -> str:
        return f"{self.realm_id}@{self.rev} {self.kind} {self.row_id}"


class HistoryFloor(models.Model):
    """Of an `epoch`, the oldest revision whose rows can be read back, and since when they were in force."""

    realm_id = models.BigIntegerField(primary_key=True)
    epoch = models.UUIDField()
    rev = models.BigIntegerField()
    at = models.DateTimeField()

    class Meta:
        default_permissions = ()

    def __str__(self) -> str:
        return f"{self.realm_id} from {self.rev}"
