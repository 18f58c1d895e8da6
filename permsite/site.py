"""The admin site: Django's, or Unfold's by ADMIN_THEME, with its objects grouped as people think of them."""

from __future__ import annotations

from functools import update_wrapper
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.template.response import TemplateResponse
from django.urls import path
from django.utils.translation import gettext_lazy as _

from permsite import protection

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

    def login(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        if request.method != "POST":
            return super().login(request, extra_context)
        limits = protection.login_limits()
        verdict = limits.acquire(protection.login_keys(request))
        if not verdict.allowed:
            return protection.too_many(request, verdict.verdicts[verdict.tightest].retry_after_s)
        response = super().login(request, extra_context)
        if response.status_code == 302:
            limits.refund(verdict)  # whoever got in was not guessing
        return response

    def admin_view(self, view: Any, cacheable: bool = False) -> Any:
        inner = super().admin_view(view, cacheable)

        def limited(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
            return protection.refuse_write(request) or inner(request, *args, **kwargs)

        return update_wrapper(limited, inner)

    def get_urls(self) -> list[Any]:
        # Late, as below.
        from controlplane.pages.view import control_page  # noqa: PLC0415

        return [
            path("control/", self.admin_view(control_page), name="control"),
            path("control/<slug:name>/", self.admin_view(control_page), name="control_page"),
            *super().get_urls(),
        ]

    def get_app_list(self, request: HttpRequest, app_label: str | None = None) -> list[dict[str, Any]]:
        apps = super().get_app_list(request, app_label)
        if app_label is not None:
            return list(apps)
        # Imported late: the admin's modules register themselves here, so they import this site's package first.
        from controlplane.pages import menu  # noqa: PLC0415
        from permissions.admin.navigation import grouped  # noqa: PLC0415

        control = menu.group(request)
        return [*([control] if control else []), *grouped(request, apps)]

    def index(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> TemplateResponse:
        """The overview's tiles, and the groups of what can be edited: each for whoever may see it."""
        from controlplane.pages.overview import on_index  # noqa: PLC0415 - as above

        return super().index(request, {**(extra_context or {}), "control": on_index(request)})
