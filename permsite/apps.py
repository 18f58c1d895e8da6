"""permsite as an app: it owns the commands demo and serve, and the translations."""

from __future__ import annotations

from django.apps import AppConfig
from django.contrib.admin.apps import AdminConfig


class PermsiteConfig(AppConfig):
    name = "permsite"
    verbose_name = "permsite"

    def ready(self) -> None:
        from permsite import checks, protection  # noqa: F401, PLC0415 - checks register themselves; apps must be loaded first

        protection.declare()


class AdminSiteConfig(AdminConfig):
    """Django's admin on our site: objects grouped as people think of them."""

    default_site = "permsite.site.Site"
