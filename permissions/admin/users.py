"""Django's accounts: who may log in here. Each has its subject, written by trigger with the account.

Whoever sets the password of an account can act as its subject, and a new account adopts the subject of its name with all that is
bound to it. So beside `permsite.subject:…` it takes `permsite.realm:escalate`; a superuser's account only a superuser changes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from django.contrib import admin
from django.contrib.auth.admin import UserAdmin as DjangoUserAdmin
from django.contrib.auth.models import Group, User
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.utils.translation import gettext_lazy as _

from permissions import conf
from permissions.admin import theme
from permissions.admin.asker import asker, choose_realm, current_realm, is_break_glass
from permissions.admin.base import GuardedAdmin
from permissions.admin.drafts import Refusal, explained
from permissions.errors import LastAdministrator, Refused
from permissions.models import Realm
from permissions.services.administrators import administrators
from permissions.writing import Write

ESCALATE: Final = "permsite.realm:escalate"
# What the audit tells of an account: never its password, of which only the fact of a change counts.
AUDITED: Final = ("username", "email", "first_name", "last_name", "is_active", "is_staff", "is_superuser")


class AccountForm(theme.UserChangeForm):  # type: ignore[type-arg]  # generic in the stubs alone
    """What the database refused, or a guard, as an error of the form."""

    refusal: Refusal | None = None

    def _post_clean(self) -> None:
        super()._post_clean()  # type: ignore[misc]  # Django's hook, unknown to the stubs
        if self.refusal is not None:
            self.refusal.show_in_form(self)


class NewAccountForm(theme.UserCreationForm):  # type: ignore[type-arg]  # generic in the stubs alone
    refusal: Refusal | None = None

    def _post_clean(self) -> None:
        super()._post_clean()  # type: ignore[misc]  # Django's hook, unknown to the stubs
        if self.refusal is not None:
            self.refusal.show_in_form(self)


class UserAdmin(GuardedAdmin, DjangoUserAdmin):  # type: ignore[type-arg]  # generic in the stubs alone
    noun = "subject"
    form = AccountForm
    add_form = NewAccountForm
    change_password_form = theme.AdminPasswordChangeForm
    list_display = ("username", "email", "is_active", "is_staff", "is_superuser", "last_login")
    list_filter = ("is_active", "is_staff", "is_superuser")
    search_fields = ("username", "email", "first_name", "last_name")
    fieldsets = (
        (None, {"fields": ("username", "password")}),
        (_("Person"), {"fields": ("first_name", "last_name", "email")}),
        (_("Logging in"), {"fields": ("is_active", "is_staff", "is_superuser")}),
        (_("Dates"), {"fields": ("last_login", "date_joined")}),
    )
    readonly_fields = ("last_login", "date_joined")
    filter_horizontal = ()
    actions = ()
    empty_hint = _("No account yet.")

    def realm_of(self, obj: Any) -> Realm:
        return Realm.objects.filter(name=conf.django_realm()).first() or Realm(name=conf.django_realm())

    def follow_realm(self, request: HttpRequest, object_id: str | None) -> None:
        """Accounts belong to one realm, whichever the session works in; its rights count."""
        realm = self.realm_of(None)
        if realm.pk not in (None, current_realm(request).pk):
            choose_realm(request, realm)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        return admin.ModelAdmin.get_queryset(self, request)

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return current_realm(request).name == conf.django_realm() and asker(request).may(self.code("view"))

    def has_add_permission(self, request: HttpRequest) -> bool:
        return self._may_account(request, "create")

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return self._may_account(request, "change", obj)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return self._may_account(request, "delete", obj)

    def _may_account(self, request: HttpRequest, verb: str, obj: Any = None) -> bool:
        if is_break_glass(request):
            return True
        if obj is not None and obj.is_superuser:
            return False
        ask = asker(request)
        return ask.realm.name == conf.django_realm() and ask.may(self.code(verb)) and ask.may(ESCALATE)

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        fixed = ("last_login", "date_joined")
        return fixed if is_break_glass(request) else (*fixed, "is_superuser")

    def get_form(self, request: HttpRequest, obj: Any = None, change: bool = False, **kwargs: Any) -> Any:
        form: Any = super().get_form(request, obj, change=change, **kwargs)
        form.refusal = getattr(request, "_permsite_refusal", None)
        return form

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        before = told(User.objects.get(pk=obj.pk)) if change else None
        with_administrator = _administrator(request)
        super().save_model(request, obj, form, change)
        self._record(request, "change" if change else "create", obj, before, told(obj))
        _refuse_lockout(request, with_administrator)

    def delete_model(self, request: HttpRequest, obj: Any) -> None:
        before, with_administrator = told(obj), _administrator(request)
        super().delete_model(request, obj)
        self._record(request, "delete", obj, before, None)
        _refuse_lockout(request, with_administrator)

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        for obj in queryset:
            if not self.has_delete_permission(request, obj):
                raise PermissionDenied
            self.delete_model(request, obj)

    def _record(
        self, request: HttpRequest, verb: str, obj: Any, before: dict[str, object] | None, after: dict[str, object] | None
    ) -> None:
        write: Write = request._permsite_write  # type: ignore[attr-defined]
        if before != after:
            write.record(f"user.{verb}", "user", str(obj.get_username()), before, after)

    def user_change_password(self, request: HttpRequest, id: str, form_url: str = "") -> HttpResponse:
        self.follow_realm(request, id)
        parent = super().user_change_password
        user = self.get_object(request, id)
        if user is None or not self.has_change_permission(request, user):
            raise PermissionDenied
        if request.method != "POST":
            return parent(request, id, form_url)

        def work() -> HttpResponse:
            response = parent(request, id, form_url)
            if response.status_code == 302:
                ask: Write = request._permsite_write  # type: ignore[attr-defined]
                ask.record("user.password", "user", str(user.get_username()), None, None)
            return response

        def refused(error: Refused) -> HttpResponse:
            self.message_user(request, explained(error), level="error")
            return HttpResponseRedirect(request.path)

        return self.in_write(request, work, refused)

    def goes_along(self, objs: Sequence[Any]) -> dict[str, int]:
        return {str(_("subjects")): len(objs)}

    def audited_as(self, obj: Any) -> tuple[str, str]:
        return "user", str(obj.get_username())

    def page_tabs(self, request: HttpRequest, obj: Any, active: str = "change") -> list[dict[str, Any]]:
        return [tab for tab in super().page_tabs(request, obj, active) if tab["url"]]


def told(user: Any) -> dict[str, object]:
    return {name: getattr(user, name) for name in AUDITED if getattr(user, name, None) not in ("", None)}


def _administrator(request: HttpRequest) -> str | None:
    return next(administrators(current_realm(request)), None)


def _refuse_lockout(request: HttpRequest, before: str | None) -> None:
    """An account that is switched off takes its subject with it: the last administrator's may not."""
    if before is not None and _administrator(request) is None:
        raise LastAdministrator(f"{before} would be left without any way in")


admin.site.unregister(User)
# Beside PermissionGroup it would only confuse: nothing here reads it.
admin.site.unregister(Group)
admin.site.register(User, UserAdmin)
