from __future__ import annotations

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("controlplane", "0002_loop_lease"),
    ]

    operations = [
        migrations.CreateModel(
            name="LiveBeat",
            fields=[
                ("node", models.CharField(max_length=300, primary_key=True, serialize=False)),
                ("at_us", models.BigIntegerField(db_index=True)),
                ("body", models.BinaryField()),
            ],
            options={"verbose_name": "beat of a process", "default_permissions": ()},
        ),
        migrations.CreateModel(
            name="LiveEvent",
            fields=[
                ("id", models.CharField(max_length=24, primary_key=True, serialize=False)),
                ("body", models.BinaryField()),
            ],
            options={"verbose_name": "live event", "default_permissions": ()},
        ),
        migrations.CreateModel(
            name="LiveFrame",
            fields=[
                ("at_ms", models.BigIntegerField(primary_key=True, serialize=False)),
                ("body", models.BinaryField()),
            ],
            options={"verbose_name": "frame", "default_permissions": ()},
        ),
        migrations.CreateModel(
            name="LiveMessage",
            fields=[
                ("id", models.BigAutoField(primary_key=True, serialize=False)),
                ("at_us", models.BigIntegerField(db_index=True)),
                ("kind", models.CharField(max_length=20)),
                ("body", models.BinaryField()),
            ],
            options={"verbose_name": "live message", "default_permissions": ()},
        ),
        migrations.CreateModel(
            name="FrameMean",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("step_s", models.IntegerField(verbose_name="seconds")),
                ("at", models.BigIntegerField(verbose_name="from")),
                ("figures", models.JSONField(verbose_name="means")),
            ],
            options={
                "verbose_name": "mean of frames",
                "verbose_name_plural": "means of frames",
                "default_permissions": (),
                "constraints": [models.UniqueConstraint(fields=("step_s", "at"), name="frame_mean_unique")],
            },
        ),
    ]
