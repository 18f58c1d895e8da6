"""permsite as an app: it owns the commands demo and serve, and the translations."""

from __future__ import annotations

from django.apps import AppConfig


class PermsiteConfig(AppConfig):
    name = "permsite"
    verbose_name = "permsite"

    def ready(self) -> None:
        from permsite import checks  # noqa: F401, PLC0415 - registers its checks; apps must be loaded first
