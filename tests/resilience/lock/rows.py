"""A table whose rows remember the fence of who wrote them last."""

from __future__ import annotations

from typing import Any

CREATE = "CREATE TABLE fenced_rows (id bigint PRIMARY KEY, value varchar(50) NOT NULL, fence bigint NOT NULL DEFAULT 0)"
DROP = "DROP TABLE fenced_rows"


def row_model(app_label: str) -> Any:
    """Made where it is needed: a model at module level would join the site's."""
    from django.db import models

    label = app_label

    class Row(models.Model):
        value = models.CharField(max_length=50)
        fence = models.BigIntegerField(default=0)

        class Meta:
            app_label = label
            db_table = "fenced_rows"
            managed = False

    return Row
