"""What a later version might do: alter columns in two tables that other tables' triggers name."""

from __future__ import annotations

from typing import ClassVar

from django.db import migrations, models

from tests.permissions.triggers.later_migrations import NEWEST


class Migration(migrations.Migration):
    dependencies: ClassVar = [("permissions", NEWEST)]
    operations: ClassVar = [
        migrations.AlterField("role", "title", models.CharField(max_length=300, blank=True, default="")),
        migrations.AlterField("subject", "ref", models.CharField("id", max_length=600)),
    ]
