"""Bulk actions: first a page that says how many are hit and asks why, then one service call each, all in one write or none."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from django import forms
from django.contrib import admin, messages
from django.contrib.admin import helpers
from django.contrib.admin.widgets import AutocompleteSelect
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from permissions.admin.asker import current_realm
from permissions.errors import Invalid, Problem, Refused
from permissions.models import Membership, PermissionGroup, RoleGroup, Subject
from permissions.writing import Write

if TYPE_CHECKING:
    from permissions.admin.service import ServiceAdmin

# Each object is a service call of some milliseconds under the realm's lock, and every other writer waits for it.
MAX_OBJECTS: Final = 1_000
_SHOWN: Final = 20

Work = Callable[[Any, Write, Any, dict[str, Any]], None]


class PlainActionForm(forms.Form):
    """An action that needs nothing but a reason, which the page asks for itself."""

    def __init__(self, *args: Any, request: HttpRequest, **options: Any) -> None:
        super().__init__(*args, **options)


class UntilForm(PlainActionForm):
    until = forms.DateTimeField(
        label=gettext_lazy("Valid until (UTC)"),
        required=False,
        help_text=gettext_lazy("Empty: without an end."),
        widget=forms.DateTimeInput(attrs={"class": "ps-input", "type": "datetime-local"}, format="%Y-%m-%dT%H:%M"),
        input_formats=["%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%d %H:%M", "%Y-%m-%d"],
    )


class TeamForm(PlainActionForm):
    team = forms.ModelChoiceField(label=gettext_lazy("Team"), queryset=Subject.objects.none())
    until = UntilForm.base_fields["until"]

    def __init__(self, *args: Any, request: HttpRequest, **options: Any) -> None:
        super().__init__(*args, request=request, **options)
        field: Any = self.fields["team"]
        field.queryset = Subject.objects.filter(realm=current_realm(request), kind="team")
        field.widget = forms.Select(attrs={"class": "ps-input"}, choices=field.choices)
        if field.queryset.count() > 200:
            field.widget = AutocompleteSelect(Membership._meta.get_field("team"), admin.site)
        field.widget.choices = field.choices


class GroupForm(PlainActionForm):
    group = forms.ModelChoiceField(label=gettext_lazy("Permission group"), queryset=PermissionGroup.objects.none())

    def __init__(self, *args: Any, request: HttpRequest, **options: Any) -> None:
        super().__init__(*args, request=request, **options)
        field: Any = self.fields["group"]
        field.queryset = PermissionGroup.objects.filter(realm=current_realm(request))
        field.widget = forms.Select(attrs={"class": "ps-input"}, choices=field.choices)
        if field.queryset.count() > 200:
            field.widget = AutocompleteSelect(RoleGroup._meta.get_field("group"), admin.site)
        field.widget.choices = field.choices


def until_of(cleaned: dict[str, Any]) -> dt.datetime | None:
    moment: dt.datetime | None = cleaned.get("until")
    return moment


def bulk_action(
    title: Any, *, verb: str = "change", form: type[PlainActionForm] = PlainActionForm, danger: bool = False
) -> Callable[[Work], Any]:
    """Turns `work(admin, write, obj, cleaned)`, which calls one service for one object, into an action of a list."""

    def wrap(work: Work) -> Any:
        @admin.action(description=title, permissions=[verb])
        def action(self: ServiceAdmin, request: HttpRequest, queryset: QuerySet[Any]) -> HttpResponse | None:
            count = queryset.count()
            if count > MAX_OBJECTS:
                messages.error(
                    request,
                    _("%(count)s are chosen; at most %(most)s can be changed at once.") % {"count": count, "most": MAX_OBJECTS},
                )
                return None
            posted = "apply" in request.POST
            bound = form(request.POST if posted else None, request=request)
            if not posted or not bound.is_valid():
                return _ask(self, request, queryset, count, bound, title=title, name=work.__name__, danger=danger)
            write: Write = request._permsite_write  # type: ignore[attr-defined]
            for obj in queryset:
                try:
                    work(self, write, obj, bound.cleaned_data)
                except Refused as error:
                    raise _named(error, obj) from error
            messages.success(
                request,
                ngettext("%(title)s: %(count)s object.", "%(title)s: %(count)s objects.", count)
                % {"title": title, "count": count},
            )
            return None

        action.__name__ = work.__name__
        return action

    return wrap


def _named(error: Refused, obj: Any) -> Refused:
    """The same refusal, saying which of the many it was about."""
    if isinstance(error, Invalid):
        return Invalid([Problem(f"{obj}: {p.where}" if p.where else str(obj), p.message) for p in error.problems])
    return type(error)(f"{obj}: {error.detail}")


def _ask(
    model_admin: ServiceAdmin,
    request: HttpRequest,
    queryset: QuerySet[Any],
    count: int,
    form: PlainActionForm,
    *,
    title: Any,
    name: str,
    danger: bool,
) -> TemplateResponse:
    return TemplateResponse(
        request,
        "permissions/admin/action.html",
        {
            **model_admin.admin_site.each_context(request),
            "title": title,
            "subtitle": None,
            "opts": model_admin.opts,
            "media": model_admin.media + form.media,
            "form": form,
            "count": count,
            "shown": [str(obj) for obj in queryset[:_SHOWN]],
            "more": max(0, count - _SHOWN),
            "keys": [obj.pk for obj in queryset],
            "action_name": name,
            "danger": danger,
            "checkbox_name": helpers.ACTION_CHECKBOX_NAME,
            "change_reason": request.POST.get("change_reason", ""),
            "back": request.get_full_path(),
        },
    )
