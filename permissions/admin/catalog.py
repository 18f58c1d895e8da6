"""Permissions and permission groups: what can be asked for, and what belongs together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _

from permissions.admin.actions import GroupForm, bulk_action
from permissions.admin.drafts import Draft, kept_rows, of_model
from permissions.admin.lists import TypeFilter, with_counts
from permissions.admin.service import Lines, ServiceAdmin
from permissions.bundle import schema
from permissions.models import GroupLine, Permission, PermissionGroup, PermissionRequirement, RoleGroup
from permissions.services import catalog, usage
from permissions.services.specs import spec_of
from permissions.writing import Write


class RequirementInline(Lines):
    model = PermissionRequirement
    fk_name = "permission"
    autocomplete_fields = ("required",)
    verbose_name_plural = _("requires")


@admin.register(Permission)
class PermissionAdmin(ServiceAdmin):
    noun = "permission"
    list_display = ("code", "title", "menu", "critical", "high_risk")
    list_filter = (TypeFilter, "critical", "high_risk")
    search_fields = ("code", "title", "menu")
    search_help_text = _("Code, title or menu path")
    ordering = ("code",)
    inlines = (RequirementInline,)
    fieldsets = ((None, {"fields": ("code", "title", "description", "menu", "critical", "high_risk")}),)
    actions = ("add_to_group",)
    empty_hint = _("No permission is registered yet. Add one, or name a code in a role: that registers it.")

    def draft(self, request: HttpRequest, form: Any, formsets: Sequence[Any]) -> Draft:
        draft = Draft({key: form.cleaned_data[key] for key in ("code", "title", "description", "menu", "critical", "high_risk")})
        rows = of_model(formsets, PermissionRequirement)
        for number, cleaned in kept_rows(rows):
            draft.add("requires", cleaned["required"].code, rows, number, "required")
        return draft

    def write(self, request: HttpRequest, write: Write, stored: Any, draft: Draft) -> Permission:
        spec = schema.parse_permission(draft.data)
        if stored is None:
            return catalog.permission_create(actor=write.actor, realm=write.realm, spec=spec)
        return catalog.permission_update(actor=write.actor, realm=write.realm, code=stored.code, spec=spec)

    def remove(self, request: HttpRequest, write: Write, stored: Any) -> None:
        catalog.permission_delete(actor=write.actor, realm=write.realm, code=stored.code)

    def protected_by(self, objs: Sequence[Any]) -> list[str]:
        found = usage.uses_of_codes(objs[0].realm, [obj.code for obj in objs]) if objs else {}
        return [f"{code}: {usage.told(uses)}" for code, uses in found.items()]

    @bulk_action(_("Add to a permission group"), verb="view", form=GroupForm)
    def add_to_group(self, write: Write, obj: Any, cleaned: dict[str, Any]) -> None:
        group = PermissionGroup.objects.get(pk=cleaned["group"].pk)
        line = schema.to_dict(spec_of(group))
        if obj.code not in line.get("permissions", []):
            line["permissions"] = [*line.get("permissions", []), obj.code]
            catalog.group_update(actor=write.actor, realm=write.realm, name=group.name, spec=schema.parse_group(line))


class GroupLineInline(Lines):
    model = GroupLine
    verbose_name_plural = _("permissions of the group")


@admin.register(PermissionGroup)
class PermissionGroupAdmin(ServiceAdmin):
    noun = "group"
    list_display = ("name", "title", "line_count", "role_count")
    search_fields = ("name", "title")
    search_help_text = _("Name or title")
    ordering = ("name",)
    inlines = (GroupLineInline,)
    fieldsets = ((None, {"fields": ("name", "title", "description")}),)
    empty_hint = _("No group yet. A group keeps permissions that belong together, so that several roles can share them.")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        rows: QuerySet[Any] = super().get_queryset(request)
        return with_counts(rows, lines_n=(GroupLine, "group"), roles_n=(RoleGroup, "group"))

    @admin.display(description=_("permissions"), ordering="lines_n")
    def line_count(self, obj: Any) -> int:
        return int(obj.lines_n)

    @admin.display(description=_("roles"), ordering="roles_n")
    def role_count(self, obj: Any) -> int:
        return int(obj.roles_n)

    def draft(self, request: HttpRequest, form: Any, formsets: Sequence[Any]) -> Draft:
        draft = Draft({key: form.cleaned_data[key] for key in ("name", "title", "description")})
        rows = of_model(formsets, GroupLine)
        for number, cleaned in kept_rows(rows):
            draft.add("permissions", cleaned["pattern"], rows, number, "pattern")
        return draft

    def write(self, request: HttpRequest, write: Write, stored: Any, draft: Draft) -> PermissionGroup:
        spec = schema.parse_group(draft.data)
        if stored is None:
            return catalog.group_create(actor=write.actor, realm=write.realm, spec=spec)
        return catalog.group_update(actor=write.actor, realm=write.realm, name=stored.name, spec=spec)

    def remove(self, request: HttpRequest, write: Write, stored: Any) -> None:
        catalog.group_delete(actor=write.actor, realm=write.realm, name=stored.name)

    def protected_by(self, objs: Sequence[Any]) -> list[str]:
        found = usage.uses_of_groups([obj.pk for obj in objs])
        return [f"{name}: {usage.told(uses)}" for name, uses in found.items()]
