"""permsite as an app: it owns the commands demo and serve, and the translations."""

from __future__ import annotations

from django.apps import AppConfig
from django.contrib.admin.apps import AdminConfig


class PermsiteConfig(AppConfig):
    name = "permsite"
    verbose_name = "permsite"

    def ready(self) -> None:
        from django.conf import settings  # noqa: PLC0415 - apps must be loaded first

        from permsite import checks, protection, sql_comments  # noqa: F401, PLC0415 - checks register themselves

        protection.declare()
        sql_comments.install(settings.SQL_COMMENTS)


class AdminSiteConfig(AdminConfig):
    """Django's admin on our site: objects grouped as people think of them."""

    default_site = "permsite.site.Site"
