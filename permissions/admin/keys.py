"""API keys: made once, shown once, revoked; never changed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from permissions.admin.actions import bulk_action
from permissions.admin.drafts import Draft
from permissions.admin.service import ServiceAdmin
from permissions.models import ApiKey
from permissions.services import keys
from permissions.writing import Write


class StateFilter(admin.SimpleListFilter):
    title = _("state")
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        return [("alive", _("in use")), ("revoked", _("revoked")), ("ended", _("ended"))]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        now = timezone.now()
        match self.value():
            case "alive":
                return queryset.filter(revoked_at__isnull=True).exclude(valid_until__lte=now)
            case "revoked":
                return queryset.filter(revoked_at__isnull=False)
            case "ended":
                return queryset.filter(revoked_at__isnull=True, valid_until__lte=now)
        return queryset


@admin.register(ApiKey)
class ApiKeyAdmin(ServiceAdmin):
    noun = "key"
    list_display = ("name", "prefix", "acts_as", "asserted", "state", "created_by", "created_at")
    list_select_related = ("subject",)
    list_filter = (StateFilter, "asserted", "is_admin")
    search_fields = ("name", "prefix")
    search_help_text = _("Name or prefix")
    ordering = ("name", "id")
    autocomplete_fields = ("subject",)
    actions = ("revoke",)
    empty_hint = _("No key yet. A service needs one to ask for decisions over HTTP.")

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        asked: list[Any] = [
            (None, {"fields": ("name", "asserted", "valid_until")}),
            (
                _("Managing"),
                {
                    "fields": ("subject", "is_admin"),
                    "description": _(
                        "Without either the key may only ask. It acts as a subject, or as an administrator; not both."
                    ),
                },
            ),
        ]
        if obj is not None:
            asked.append((_("Made"), {"fields": ("prefix", "created_by", "created_at", "revoked_at")}))
        return asked

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        # What a key may do is what its holder was told: another right is another key.
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return (obj is None or obj.revoked_at is None) and super().has_delete_permission(request, obj)

    def get_actions(self, request: HttpRequest) -> dict[str, Any]:
        return {name: action for name, action in super().get_actions(request).items() if name != "delete_selected"}

    def version_of(self, obj: Any) -> str:
        return ""

    def audited_as(self, obj: Any) -> tuple[str, str]:
        return "key", str(obj.pk)

    @admin.display(description=_("acts as"), ordering="subject__ref")
    def acts_as(self, obj: Any) -> Any:
        if obj.is_admin:
            return _("administrator")
        return obj.subject or _("only asks")

    @admin.display(description=_("state"), ordering="revoked_at")
    def state(self, obj: Any) -> Any:
        if obj.revoked_at is not None:
            return _("revoked")
        return _("ended") if obj.valid_until is not None and obj.valid_until <= timezone.now() else _("in use")

    def draft(self, request: HttpRequest, form: Any, formsets: Sequence[Any]) -> Draft:
        return Draft({key: form.cleaned_data[key] for key in ("name", "asserted", "valid_until", "subject", "is_admin")})

    def write(self, request: HttpRequest, write: Write, stored: Any, draft: Draft) -> ApiKey:
        subject = draft.data["subject"]
        key, plain = keys.key_create(
            actor=write.actor,
            realm=write.realm,
            name=draft.data["name"],
            asserted=draft.data["asserted"],
            subject=None if subject is None else subject.ref,
            is_admin=draft.data["is_admin"],
            valid_until=draft.data["valid_until"],
        )
        request._permsite_key = plain  # type: ignore[attr-defined]
        return key

    def remove(self, request: HttpRequest, write: Write, stored: Any) -> None:
        keys.key_revoke(actor=write.actor, realm=write.realm, key_id=stored.pk)

    @bulk_action(_("Revoke"), verb="delete", danger=True)
    def revoke(self, write: Write, obj: Any, cleaned: dict[str, Any]) -> None:
        keys.key_revoke(actor=write.actor, realm=write.realm, key_id=obj.pk)

    def response_add(self, request: HttpRequest, obj: Any, post_url_continue: str | None = None) -> HttpResponse:
        """The key itself, once: in this answer and nowhere else, so no redirect could carry it."""
        saved = ApiKey.objects.get(pk=obj.pk)
        response = TemplateResponse(
            request,
            "permissions/admin/key_created.html",
            {
                **self.page_context(request, saved, "change", _("Keep this key now")),
                "key": request._permsite_key,  # type: ignore[attr-defined]
                "back": self.url("changelist"),
            },
        )
        response["Cache-Control"] = "no-store"
        return response

    def render_delete_form(self, request: HttpRequest, context: dict[str, Any]) -> Any:
        context["hint"] = _("The key stops working at once. Its row stays, so that the audit can name it.")
        return super().render_delete_form(request, context)
