"""The admin site: Django's, or Unfold's by ADMIN_THEME, with its objects grouped as people think of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _

if TYPE_CHECKING or settings.ADMIN_THEME != "unfold":
    from django.contrib.admin import AdminSite as Base
else:
    from unfold.sites import UnfoldAdminSite as Base


class Site(Base):
    site_title = "permsite"  # a name is not translated
    site_header = "permsite"
    index_title = _("Overview")
    # There is no other site to view from here.
    site_url = None
    enable_nav_sidebar = True

    def get_app_list(self, request: HttpRequest, app_label: str | None = None) -> list[dict[str, Any]]:
        apps = super().get_app_list(request, app_label)
        if app_label is not None:
            return list(apps)
        # Imported late: the admin's modules register themselves here, so they import this site's package first.
        from permissions.admin.navigation import grouped  # noqa: PLC0415

        return grouped(request, apps)
