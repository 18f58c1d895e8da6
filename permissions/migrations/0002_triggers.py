"""Installs the triggers, so that no row is ever written without a revision."""

from __future__ import annotations

from django.conf import settings
from django.db import migrations

from permissions import triggers


def install(apps, schema_editor):
    # SQLite waits for post_migrate: its migrations rebuild tables, which fails while another table's trigger names the table.
    if schema_editor.connection.vendor == "postgresql":
        triggers.install(schema_editor.connection, apps)


def remove(apps, schema_editor):
    triggers.remove(schema_editor.connection)


class Migration(migrations.Migration):
    dependencies = [
        ("permissions", "0001_initial"),
        # The last one that changes a column which the user table's triggers name: PostgreSQL alters no such column.
        ("auth", "0012_alter_user_first_name_max_length"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [migrations.RunPython(install, remove, elidable=False)]
