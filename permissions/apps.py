"""permissions as an app."""

from __future__ import annotations

from django.apps import AppConfig


class PermissionsConfig(AppConfig):
    name = "permissions"
    label = "permissions"
    verbose_name = "permissions"
    default_auto_field = "django.db.models.BigAutoField"
