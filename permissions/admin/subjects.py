"""Subjects and teams: who is granted something, what it comes to, and a box to try a check."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, ClassVar

from django.contrib import admin
from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import URLPattern, path, reverse
from django.utils.translation import gettext_lazy as _

from permissions.admin import check_box, panels
from permissions.admin.actions import TeamForm, bulk_action, until_of
from permissions.admin.drafts import Draft, kept_rows, of_model, window
from permissions.admin.forms import is_key
from permissions.admin.lists import RefTypeFilter, with_counts
from permissions.admin.service import Lines, ServiceAdmin
from permissions.bundle import schema
from permissions.bundle.specs import MemberSpec
from permissions.models import ApiKey, Membership, RoleBinding, Subject, Team
from permissions.services import subjects
from permissions.services.specs import subject_spec
from permissions.writing import Write


class HolderAdmin(ServiceAdmin):
    """What subjects and teams share: the pages beside the form."""

    list_filter: ClassVar = (RefTypeFilter, "active", "locked")
    search_fields = ("ref",)
    search_help_text = _("Id, such as user:alice")
    ordering = ("ref",)
    pages: ClassVar = (
        ("effective", _("Effective permissions")),
        ("check", _("Check")),
        ("bindings", _("Bindings")),
    )

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view
        prefix = f"{self.opts.app_label}_{self.opts.model_name}"
        return [
            path("<path:object_id>/effective/", view(self.effective_view), name=f"{prefix}_effective"),
            path("<path:object_id>/check/", view(self.check_view), name=f"{prefix}_check"),
            path("<path:object_id>/bindings/", view(self.bindings_view), name=f"{prefix}_bindings"),
            *super().get_urls(),
        ]

    def effective_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        obj = self.object_or_denied(request, object_id)
        return self.gone(request, object_id) if obj is None else panels.subject_effective(self, request, obj)

    def check_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        obj = self.object_or_denied(request, object_id)
        return self.gone(request, object_id) if obj is None else check_box.check_page(self, request, obj)

    def bindings_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        obj = self.object_or_denied(request, object_id)
        return self.gone(request, object_id) if obj is None else panels.bindings_page(self, request, obj, {"subject": obj})

    def render_change_form(self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        obj = kwargs.get("obj")
        if obj is not None:
            context["check_box"] = check_box.box(self, request, obj)
        return super().render_change_form(request, context, *args, **kwargs)

    def goes_along(self, objs: Sequence[Any]) -> dict[str, int]:
        keys = [obj.pk for obj in objs]
        return {
            str(_("role bindings")): RoleBinding.objects.filter(subject__in=keys).count(),
            str(_("memberships")): Membership.objects.filter(Q(member__in=keys) | Q(team__in=keys)).count(),
            str(_("API keys")): ApiKey.objects.filter(subject__in=keys).count(),
        }


@admin.register(Subject)
class SubjectAdmin(HolderAdmin):
    noun = "subject"
    list_display = ("ref", "active", "locked", "binding_count", "team_count", "account")
    list_select_related = ("user",)
    fieldsets = ((None, {"fields": ("ref", "active", "locked", "attributes")}),)
    actions = ("activate", "deactivate", "lock", "unlock", "add_to_team")
    empty_hint = _("No subject yet. Whoever a binding names is registered by it; a Django account registers itself.")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        rows: QuerySet[Any] = super().get_queryset(request).filter(kind__in=self.kinds(request))
        return with_counts(rows, bindings_n=(RoleBinding, "subject"), teams_n=(Membership, "member"))

    def kinds(self, request: HttpRequest) -> list[str]:
        """Lists show subjects; a field that may name more (the holder of a binding, the member of a team) completes to more."""
        if request.path.endswith("/autocomplete/"):
            wanted = (request.GET.get("model_name", ""), request.GET.get("field_name", ""))
            return {
                ("rolebinding", "subject"): ["subject", "team", "everyone"],
                ("membership", "member"): ["subject", "team"],
                ("membership", "team"): ["team"],
                ("apikey", "subject"): ["subject", "team"],
            }.get(wanted, ["subject"])
        return ["subject"]

    def changeform_view(
        self, request: HttpRequest, object_id: str | None = None, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """A field that names a subject may name a team, and links here: a team has a page of its own."""
        if request.method == "GET" and object_id is not None and is_key(object_id) and Team.objects.filter(pk=object_id).exists():
            there = reverse("admin:permissions_team_change", args=[object_id])
            return HttpResponseRedirect(f"{there}?{request.GET.urlencode()}" if request.GET else there)
        return super().changeform_view(request, object_id, form_url, extra_context)

    @admin.display(description=_("role bindings"), ordering="bindings_n")
    def binding_count(self, obj: Any) -> int:
        return int(obj.bindings_n)

    @admin.display(description=_("teams"), ordering="teams_n")
    def team_count(self, obj: Any) -> int:
        return int(obj.teams_n)

    @admin.display(description=_("account"))
    def account(self, obj: Any) -> str:
        return "" if obj.user is None else str(obj.user.get_username())

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        # The id of an account's subject is the account's name: the two are changed together, in the account.
        return ("ref",) if obj is not None and obj.user_id is not None else ()

    def draft(self, request: HttpRequest, form: Any, formsets: Sequence[Any]) -> Draft:
        cleaned = form.cleaned_data
        ref = cleaned.get("ref") or form.instance.ref
        return Draft(
            {"id": ref, "active": cleaned["active"], "locked": cleaned["locked"], "attributes": cleaned["attributes"] or {}}
        )

    def write(self, request: HttpRequest, write: Write, stored: Any, draft: Draft) -> Subject:
        spec = schema.parse_subject(draft.data)
        if stored is None:
            return subjects.subject_create(actor=write.actor, realm=write.realm, spec=spec)
        return subjects.subject_update(actor=write.actor, realm=write.realm, ref=stored.ref, spec=spec)

    def remove(self, request: HttpRequest, write: Write, stored: Any) -> None:
        subjects.subject_delete(actor=write.actor, realm=write.realm, ref=stored.ref)

    def _set(self, write: Write, obj: Any, **changes: Any) -> None:
        spec = replace(subject_spec(Subject.objects.get(pk=obj.pk)), **changes)
        subjects.subject_update(actor=write.actor, realm=write.realm, ref=obj.ref, spec=spec)

    @bulk_action(_("Activate"))
    def activate(self, write: Write, obj: Any, cleaned: dict[str, Any]) -> None:
        self._set(write, obj, active=True)

    @bulk_action(_("Deactivate"), danger=True)
    def deactivate(self, write: Write, obj: Any, cleaned: dict[str, Any]) -> None:
        self._set(write, obj, active=False)

    @bulk_action(_("Lock"), danger=True)
    def lock(self, write: Write, obj: Any, cleaned: dict[str, Any]) -> None:
        self._set(write, obj, locked=True)

    @bulk_action(_("Unlock"))
    def unlock(self, write: Write, obj: Any, cleaned: dict[str, Any]) -> None:
        self._set(write, obj, locked=False)

    @bulk_action(_("Add to a team"), verb="view", form=TeamForm)
    def add_to_team(self, write: Write, obj: Any, cleaned: dict[str, Any]) -> None:
        member = MemberSpec(obj.ref, valid_until=until_of(cleaned))
        subjects.member_add(actor=write.actor, realm=write.realm, team=cleaned["team"].ref, spec=member)


class MemberInline(Lines):
    model = Membership
    fk_name = "team"
    autocomplete_fields = ("member",)
    fields = ("member", "valid_from", "valid_until")


@admin.register(Team)
class TeamAdmin(HolderAdmin):
    noun = "team"
    list_display = ("ref", "member_count", "binding_count", "active", "locked")
    inlines = (MemberInline,)
    fieldsets = ((None, {"fields": ("ref", "active", "locked", "attributes")}),)
    empty_hint = _("No team yet. What a team is granted, each of its members has; teams may hold teams.")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        rows: QuerySet[Any] = super().get_queryset(request)
        return with_counts(rows, bindings_n=(RoleBinding, "subject"), members_n=(Membership, "team"))

    @admin.display(description=_("members"), ordering="members_n")
    def member_count(self, obj: Any) -> int:
        return int(obj.members_n)

    @admin.display(description=_("role bindings"), ordering="bindings_n")
    def binding_count(self, obj: Any) -> int:
        return int(obj.bindings_n)

    def get_changeform_initial_data(self, request: HttpRequest) -> dict[str, Any]:
        return {"ref": "team:", **super().get_changeform_initial_data(request)}

    def draft(self, request: HttpRequest, form: Any, formsets: Sequence[Any]) -> Draft:
        cleaned = form.cleaned_data
        draft = Draft(
            {
                "id": cleaned["ref"],
                "active": cleaned["active"],
                "locked": cleaned["locked"],
                "attributes": cleaned["attributes"] or {},
            }
        )
        rows = of_model(formsets, Membership)
        for number, row in kept_rows(rows):
            draft.add("members", {"id": row["member"].ref, **window(row)}, rows, number, "member")
        return draft

    def write(self, request: HttpRequest, write: Write, stored: Any, draft: Draft) -> Any:
        spec = schema.parse_team(draft.data)
        if stored is None:
            return subjects.team_create(actor=write.actor, realm=write.realm, spec=spec)
        return subjects.team_update(actor=write.actor, realm=write.realm, ref=stored.ref, spec=spec)

    def remove(self, request: HttpRequest, write: Write, stored: Any) -> None:
        subjects.team_delete(actor=write.actor, realm=write.realm, ref=stored.ref)
