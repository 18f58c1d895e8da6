"""Role bindings: who has which role (or direct permissions), where, and how long."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from django import forms
from django.contrib import admin
from django.db.models import Q, QuerySet
from django.http import HttpRequest
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from permissions.admin.actions import PlainActionForm, UntilForm, bulk_action, until_of
from permissions.admin.asker import asker, current_realm
from permissions.admin.drafts import Draft, window
from permissions.admin.forms import PatternsField, SpecForm, text_widget
from permissions.admin.lists import ValidityFilter, validity
from permissions.admin.resources import told_once
from permissions.admin.service import ServiceAdmin
from permissions.bundle import schema
from permissions.models import Resource, RoleBinding
from permissions.services import bindings
from permissions.services.specs import spec_of
from permissions.writing import Write


class BindingForm(SpecForm):
    everyone = forms.CharField(
        label=_("or everyone of type"),
        required=False,
        max_length=128,
        widget=text_widget(),
        help_text=_("Instead of a subject: user reaches every subject of that type (user:*)."),
    )
    allow = PatternsField(label=_("Allow directly"))
    deny = PatternsField(label=_("Deny directly"))

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = super().clean() or {}
        if bool(cleaned.get("subject")) == bool(cleaned.get("everyone")) and "subject" not in self.errors:
            self.add_error("subject", _("Choose a subject or a team, or name a type for everyone; one of the two."))
        return cleaned


class KindFilter(admin.SimpleListFilter):
    title = _("what it gives")
    parameter_name = "gives"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        return [("role", _("a role")), ("direct", _("direct permissions")), ("deny", _("a direct deny"))]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        match self.value():
            case "role":
                return queryset.filter(role__isnull=False)
            case "direct":
                return queryset.filter(role__isnull=True)
            case "deny":
                return queryset.exclude(deny=[])
        return queryset


class HolderFilter(admin.SimpleListFilter):
    title = _("held by")
    parameter_name = "holder"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        return [("subject", _("a subject")), ("team", _("a team")), ("everyone", _("everyone of a type"))]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset.filter(subject__kind=self.value()) if self.value() else queryset


@admin.register(RoleBinding)
class RoleBindingAdmin(ServiceAdmin):
    noun = "binding"
    scoped = True
    form = BindingForm
    list_display = ("subject", "gives", "where", "condition_short", "in_force", "granted_by")
    list_display_links = ("subject", "gives")
    list_select_related = ("subject", "role", "scope", "realm")
    list_filter = (HolderFilter, KindFilter, ValidityFilter, ("scope", admin.EmptyFieldListFilter), "propagate")
    search_fields = ("subject__ref", "role__name", "scope__ref", "reason")
    search_help_text = _("Subject, role, scope or reason")
    ordering = ("-id",)
    autocomplete_fields = ("subject", "role", "scope")
    readonly_fields = ("granted_by", "created_at")
    fieldsets = (
        (_("Who"), {"fields": ("subject", "everyone")}),
        (_("What"), {"fields": ("role",), "description": _("A role, or direct permissions below; not both.")}),
        (_("Where"), {"fields": ("scope", "propagate"), "description": _("Without a scope it holds in the whole realm.")}),
        (_("When, and under which condition"), {"fields": ("valid_from", "valid_until", "condition")}),
        (_("Why"), {"fields": ("reason",)}),
        (_("Direct permissions and obligations"), {"fields": ("allow", "deny", "obligations"), "classes": ("collapse",)}),
    )
    actions = ("extend", "expire", "revoke")
    empty_hint = _("Nobody has anything here yet. Add a binding: a subject, a role, and where it holds.")

    def node_of(self, obj: Any) -> str | None:
        return None if obj.scope is None else str(obj.scope.ref)

    def visible(self, request: HttpRequest, rows: QuerySet[Any]) -> QuerySet[Any]:
        """Bindings at the nodes where bindings may be viewed; those without a scope, where that holds at the realm."""
        ask = asker(request)
        if ask.break_glass:
            return rows
        scopes = Resource.objects.filter(realm=ask.realm, bindings__isnull=False).distinct()
        keys, too_many = ask.nodes(self.code("view"), scopes)
        if too_many:
            told_once(request)
        at_realm = Q(scope__isnull=True) if ask.may(self.code("view")) else Q(pk__in=[])
        return rows.filter(Q(scope__in=keys) | at_realm)

    def get_form(self, request: HttpRequest, obj: Any = None, change: bool = False, **kwargs: Any) -> Any:
        form: Any = super().get_form(request, obj, change=change, **kwargs)
        if "subject" in form.base_fields:
            form.base_fields["subject"].required = False
        return form

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        sets = [(name, dict(options)) for name, options in super().get_fieldsets(request, obj)]
        if obj is None:
            return sets
        if not self.has_change_permission(request, obj):
            # A page without a form has no fields that are the form's alone.
            sets[0][1]["fields"] = ("subject",)
        if obj.role_id is None:
            sets[5][1]["classes"] = ()
        return [*sets, (_("Granted"), {"fields": ("granted_by", "created_at")})]

    @admin.display(description=_("gives"), ordering="role__name")
    def gives(self, obj: Any) -> str:
        if obj.role is not None:
            return str(obj.role.name)
        parts = [f"+ {pattern}" for pattern in obj.allow] + [f"− {pattern}" for pattern in obj.deny]
        return ", ".join(parts[:3]) + (" …" if len(parts) > 3 else "")

    @admin.display(description=_("where"), ordering="scope__ref")
    def where(self, obj: Any) -> str:
        if obj.scope is None:
            return str(_("the realm"))
        return str(obj.scope) if obj.propagate else str(_("%(node)s only") % {"node": obj.scope})

    @admin.display(description=_("condition"), ordering="condition")
    def condition_short(self, obj: Any) -> str:
        return str(obj.condition) if len(obj.condition) <= 60 else f"{obj.condition[:57]}…"

    @admin.display(description=_("validity"), ordering="valid_until")
    def in_force(self, obj: Any) -> Any:
        return validity(obj)

    def draft(self, request: HttpRequest, form: Any, formsets: Sequence[Any]) -> Draft:
        cleaned = form.cleaned_data
        role, scope = cleaned["role"], cleaned["scope"]
        return Draft(
            {
                "subject": cleaned["subject"].ref if cleaned.get("subject") else f"{cleaned['everyone']}:*",
                "role": None if role is None else role.name,
                "allow": cleaned["allow"],
                "deny": cleaned["deny"],
                "scope": None if scope is None else scope.ref,
                "condition": cleaned["condition"] or "",
                "propagate": cleaned["propagate"],
                "reason": cleaned["reason"],
                "obligations": cleaned["obligations"] or [],
                **window(cleaned),
            }
        )

    def write(self, request: HttpRequest, write: Write, stored: Any, draft: Draft) -> RoleBinding:
        spec = schema.parse_binding(draft.data)
        if stored is None:
            return bindings.binding_create(actor=write.actor, realm=write.realm, spec=spec)
        return bindings.binding_update(actor=write.actor, realm=write.realm, binding_id=stored.pk, spec=spec)

    def remove(self, request: HttpRequest, write: Write, stored: Any) -> None:
        bindings.binding_delete(actor=write.actor, realm=write.realm, binding_id=stored.pk)

    def asks_reason(self, request: HttpRequest, obj: Any) -> bool:
        # A new binding has a reason of its own, which the audit keeps as well.
        return obj is not None and super().asks_reason(request, obj)

    def audited_as(self, obj: Any) -> tuple[str, str]:
        return "binding", str(obj.pk)

    def get_actions(self, request: HttpRequest) -> dict[str, Any]:
        # Deleting a binding is revoking it; two names for one thing would make people look for the difference.
        return {name: action for name, action in super().get_actions(request).items() if name != "delete_selected"}

    @bulk_action(_("Revoke"), verb="delete", danger=True)
    def revoke(self, write: Write, obj: Any, cleaned: dict[str, Any]) -> None:
        bindings.binding_delete(actor=write.actor, realm=write.realm, binding_id=obj.pk)

    @bulk_action(_("Set the end"), form=UntilForm)
    def extend(self, write: Write, obj: Any, cleaned: dict[str, Any]) -> None:
        spec = replace(spec_of(obj), valid_until=until_of(cleaned))
        bindings.binding_update(actor=write.actor, realm=write.realm, binding_id=obj.pk, spec=spec)

    @bulk_action(_("End now"), form=PlainActionForm, danger=True)
    def expire(self, write: Write, obj: Any, cleaned: dict[str, Any]) -> None:
        spec = spec_of(obj)
        now = timezone.now()
        start = spec.valid_from if spec.valid_from is None or spec.valid_from < now else None
        ended = replace(spec, valid_from=start, valid_until=now)
        bindings.binding_update(actor=write.actor, realm=write.realm, binding_id=obj.pk, spec=ended)

    def get_changeform_initial_data(self, request: HttpRequest) -> dict[str, Any]:
        """From the links of other pages (`?role=5`): keys of this realm only, whatever the address says."""
        initial: dict[str, Any] = super().get_changeform_initial_data(request)
        realm = current_realm(request)
        for name in ("subject", "role", "scope"):
            model: Any = self.opts.get_field(name).related_model
            key = str(initial.get(name, ""))
            if key and not (key.isdecimal() and len(key) < 19 and model.objects.filter(pk=int(key), realm=realm).exists()):
                del initial[name]
        return initial
