"""The versions of the live configuration: a list, each with what it changed, and the way back to it."""

from __future__ import annotations

from typing import Any

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import URLPattern, path
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from controlplane.admin.base import lines, may, missing, reason_of, request_id_of, switch_url, tabs, typed_version, url
from controlplane.admin.screens import Screens, tell
from controlplane.models import ConfigRevision
from controlplane.services import config as service
from controlplane.services.rights import CONFIG_CHANGE, CONFIG_PAGE, CONFIG_VIEW, MAINTENANCE_PAGE, VIEW
from permissions.admin import theme
from permissions.admin.asker import actor_of
from permissions.admin.forms import is_key
from permissions.admin.lists import short
from permissions.errors import Refused
from resilience import config


@admin.register(ConfigRevision)
class ConfigRevisionAdmin(Screens, theme.ModelAdmin):
    list_display = ("version", "moment", "author", "section", "reason", "in_force")
    list_display_links = ("version",)
    list_filter = ("section",)
    search_fields = ("author", "reason")
    search_help_text = gettext_lazy("Author or reason")
    ordering = ("-version",)
    list_per_page = 50
    list_max_show_all = 200
    show_full_result_count = False
    change_list_template = "controlplane/admin/versions.html"
    actions = None

    @admin.display(description=gettext_lazy("at (UTC)"), ordering="created_at")
    def moment(self, obj: ConfigRevision) -> str:
        return short(obj.created_at)

    @admin.display(description=gettext_lazy("in force"), boolean=True, ordering="is_active")
    def in_force(self, obj: ConfigRevision) -> bool:
        return obj.is_active

    def has_module_permission(self, request: HttpRequest) -> bool:
        return self.has_view_permission(request) or may(request, VIEW, MAINTENANCE_PAGE)

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return may(request, CONFIG_VIEW, CONFIG_PAGE)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def get_urls(self) -> list[URLPattern]:
        view, name = self.admin_site.admin_view, "controlplane_configrevision"
        return [
            path("maintenance/", view(self.maintenance_view), name=f"{name}_maintenance"),
            path("section/<str:section>/", view(self.section_view), name=f"{name}_section"),
            path("section/<str:section>/<str:name>/", view(self.entry_view), name=f"{name}_entry"),
            *super().get_urls(),
        ]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        return super().get_queryset(request).defer("sections")

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        if not self.has_view_permission(request) and may(request, VIEW, MAINTENANCE_PAGE):
            return HttpResponseRedirect(switch_url())
        extra = {
            "page_tabs": tabs(request, ""),
            "empty_hint": gettext_lazy("Nothing was changed yet: what the code declares holds. Choose a section above."),
            "processes": config.processes() if self.has_view_permission(request) else [],
        }
        return super().changelist_view(request, {**extra, **(extra_context or {})})

    def changeform_view(
        self, request: HttpRequest, object_id: str | None = None, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        if not self.has_view_permission(request) or object_id is None:
            raise PermissionDenied
        revision = ConfigRevision.objects.filter(pk=object_id).first() if is_key(object_id) else None
        if revision is None:
            return self._get_obj_does_not_exist_redirect(request, self.opts, object_id)  # type: ignore[no-any-return,attr-defined]
        now = service.active()
        if request.method == "POST":
            return self._go_back(request, revision)
        before = ConfigRevision.objects.filter(version__lt=revision.version).order_by("-version").first()
        held = {} if now is None else now.sections
        back = service.difference(held, service.as_rolled_back(now, revision))
        return self.page(
            request,
            "version",
            "",
            _("Version %(version)s") % {"version": revision.version},
            revision=revision,
            changes=lines(service.difference({} if before is None else before.sections, revision.sections)),
            back_changes=lines(back),
            now=now,
            missing=missing(request, CONFIG_CHANGE, CONFIG_PAGE),
        )

    def _go_back(self, request: HttpRequest, revision: ConfigRevision) -> HttpResponse:
        if not may(request, CONFIG_CHANGE, CONFIG_PAGE):
            raise PermissionDenied
        try:
            done = service.config_rollback(
                actor=actor_of(request),
                version=revision.version,
                expected=typed_version(request),
                reason=reason_of(request),
                request_id=request_id_of(request),
            )
        except Refused as error:
            messages.error(request, error.detail)
            return HttpResponseRedirect(request.path)
        tell(request, done)
        return HttpResponseRedirect(url("changelist"))

    def history_view(self, request: HttpRequest, object_id: str, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        # Each row is history itself; Django's own log stays empty.
        return HttpResponseRedirect(url("changelist"))
