"""Roles: lines, groups and inheritance in one form, and what it all comes to on a page beside it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import URLPattern, path
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from permissions import selectors
from permissions.admin.drafts import Draft, kept_rows, of_model, window
from permissions.admin.effective import effective
from permissions.admin.lists import ValidityFilter, validity, with_counts
from permissions.admin.paging import page_of
from permissions.admin.service import Lines, ServiceAdmin
from permissions.bundle import schema
from permissions.models import Role, RoleBinding, RoleGroup, RoleInheritance, RoleLine
from permissions.services import catalog, usage
from permissions.writing import Write

# Row state → its letter and its word. Colour is never the only sign.
STATES: dict[str, tuple[str, Any]] = {
    "own": ("O", gettext_lazy("own")),
    "group": ("G", gettext_lazy("by group")),
    "inherited": ("I", gettext_lazy("inherited")),
    "conditional": ("C", gettext_lazy("conditional")),
    "excluded": ("X", gettext_lazy("excluded")),
    "denied": ("D", gettext_lazy("denied")),
}


class LineInline(Lines):
    model = RoleLine
    fields = ("effect", "pattern", "condition")


class InheritanceInline(Lines):
    model = RoleInheritance
    fk_name = "role"
    autocomplete_fields = ("parent",)


class GroupInline(Lines):
    model = RoleGroup
    autocomplete_fields = ("group",)


@admin.register(Role)
class RoleAdmin(ServiceAdmin):
    noun = "role"
    list_display = ("name", "title", "line_count", "parent_count", "binding_count", "in_force")
    list_filter = (ValidityFilter,)
    search_fields = ("name", "title")
    search_help_text = gettext_lazy("Name or title")
    ordering = ("name",)
    inlines = (LineInline, InheritanceInline, GroupInline)
    fieldsets = (
        (None, {"fields": ("name", "title", "description")}),
        (
            gettext_lazy("Validity and obligations"),
            {"fields": ("valid_from", "valid_until", "obligations"), "classes": ("collapse",)},
        ),
    )
    pages: ClassVar = (("effective", gettext_lazy("Effective permissions")), ("bindings", gettext_lazy("Bindings")))
    empty_hint = gettext_lazy("No role yet. Add one, import a catalogue with the command import_roles, or apply a bundle.")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        rows = super().get_queryset(request)
        return with_counts(
            rows, lines_n=(RoleLine, "role"), parents_n=(RoleInheritance, "role"), bindings_n=(RoleBinding, "role")
        )

    @admin.display(description=gettext_lazy("permission lines"), ordering="lines_n")
    def line_count(self, obj: Any) -> int:
        return int(obj.lines_n)

    @admin.display(description=gettext_lazy("inherited roles"), ordering="parents_n")
    def parent_count(self, obj: Any) -> int:
        return int(obj.parents_n)

    @admin.display(description=gettext_lazy("role bindings"), ordering="bindings_n")
    def binding_count(self, obj: Any) -> int:
        return int(obj.bindings_n)

    @admin.display(description=gettext_lazy("validity"), ordering="valid_until")
    def in_force(self, obj: Any) -> Any:
        return validity(obj)

    def draft(self, request: HttpRequest, form: Any, formsets: Sequence[Any]) -> Draft:
        cleaned = form.cleaned_data
        draft = Draft(
            {
                **{key: cleaned[key] for key in ("name", "title", "description")},
                "obligations": cleaned["obligations"] or [],
                **window(cleaned),
            }
        )
        lines = of_model(formsets, RoleLine)
        for number, row in kept_rows(lines):
            condition = row.get("condition") or ""
            if row["effect"] == "exclude":
                draft.add("exclude", row["pattern"], lines, number, "pattern")
            else:
                value = {"code": row["pattern"], "condition": condition} if condition else row["pattern"]
                draft.add("permissions" if row["effect"] == "allow" else "deny", value, lines, number, "pattern")
        parents = of_model(formsets, RoleInheritance)
        for number, row in kept_rows(parents):
            draft.add("inherits", row["parent"].name, parents, number, "parent")
        groups = of_model(formsets, RoleGroup)
        for number, row in kept_rows(groups):
            draft.add("groups", row["group"].name, groups, number, "group")
        return draft

    def write(self, request: HttpRequest, write: Write, stored: Any, draft: Draft) -> Role:
        spec = schema.parse_role(draft.data)
        if stored is None:
            return catalog.role_create(actor=write.actor, realm=write.realm, spec=spec)
        return catalog.role_update(actor=write.actor, realm=write.realm, name=stored.name, spec=spec)

    def remove(self, request: HttpRequest, write: Write, stored: Any) -> None:
        catalog.role_delete(actor=write.actor, realm=write.realm, name=stored.name)

    def protected_by(self, objs: Sequence[Any]) -> list[str]:
        found = usage.uses_of_roles([obj.pk for obj in objs])
        return [f"{name}: {usage.told(uses)}" for name, uses in found.items()]

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view
        prefix = f"{self.opts.app_label}_{self.opts.model_name}"
        return [
            path("<path:object_id>/effective/", view(self.effective_view), name=f"{prefix}_effective"),
            path("<path:object_id>/bindings/", view(self.bindings_view), name=f"{prefix}_bindings"),
            *super().get_urls(),
        ]

    def effective_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        role = self.object_or_denied(request, object_id)
        if role is None:
            return self.gone(request, object_id)
        rows = effective(selectors.model_facts(role.realm), role.name)
        counts = {state: sum(row.state == state for row in rows) for state in STATES}
        wanted = request.GET.get("q", "").strip()[:200]
        chosen = request.GET.get("state", "")
        shown = [row for row in rows if wanted in row.code and (not chosen or row.state == chosen)]
        page = page_of(request, shown)
        return TemplateResponse(
            request,
            "permissions/admin/role_effective.html",
            {
                **self.page_context(request, role, "effective", _("Effective permissions")),
                "page": page,
                "states": [(key, *STATES[key], counts[key]) for key in STATES],
                "rows": [(row, *STATES[row.state]) for row in page],
                "total": len(rows),
                "q": wanted,
                "state": chosen,
            },
        )

    def bindings_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        from permissions.admin.panels import bindings_page  # noqa: PLC0415 - it needs the admins of other nouns

        role = self.object_or_denied(request, object_id)
        if role is None:
            return self.gone(request, object_id)
        return bindings_page(self, request, role, {"role": role})
