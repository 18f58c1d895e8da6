"""Rows of the past: the tables; the triggers that fill them, and since when, come after the migrations as all triggers do."""

from __future__ import annotations

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("permissions", "0005_one_index_each"),
    ]

    operations = [
        migrations.CreateModel(
            name="HistoryFloor",
            fields=[
                ("realm_id", models.BigIntegerField(primary_key=True, serialize=False)),
                ("epoch", models.UUIDField()),
                ("rev", models.BigIntegerField()),
                ("at", models.DateTimeField()),
            ],
            options={
                "default_permissions": (),
            },
        ),
        migrations.CreateModel(
            name="RowHistory",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("realm_id", models.BigIntegerField()),
                ("rev", models.BigIntegerField()),
                ("kind", models.CharField(max_length=30)),
                ("op", models.CharField(max_length=1)),
                ("row_id", models.BigIntegerField(null=True)),
                ("old", models.JSONField(null=True)),
            ],
            options={
                "default_permissions": (),
                "indexes": [models.Index(fields=["realm_id", "rev"], name="row_history_rev")],
            },
        ),
    ]
