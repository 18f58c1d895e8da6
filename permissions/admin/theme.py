"""The look: base classes of Unfold or of Django's own admin, by ADMIN_THEME. Nothing here is in one version of Unfold only."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.conf import settings

__all__ = [
    "ActionForm",
    "AdminPasswordChangeForm",
    "ModelAdmin",
    "TabularInline",
    "UserChangeForm",
    "UserCreationForm",
    "is_unfold",
]

if TYPE_CHECKING:
    from django.contrib import admin
    from django.contrib.admin.helpers import ActionForm
    from django.contrib.auth.forms import AdminPasswordChangeForm, AdminUserCreationForm, UserChangeForm

    class ModelAdmin(admin.ModelAdmin[Any]): ...

    class TabularInline(admin.TabularInline[Any, Any]): ...

    UserCreationForm = AdminUserCreationForm
elif getattr(settings, "ADMIN_THEME", "plain") == "unfold":  # a project that only installs the app has no theme of ours
    from unfold.admin import ModelAdmin, TabularInline
    from unfold.forms import ActionForm, AdminPasswordChangeForm, UserChangeForm, UserCreationForm
else:
    from django.contrib.admin import ModelAdmin, TabularInline
    from django.contrib.admin.helpers import ActionForm
    from django.contrib.auth.forms import AdminPasswordChangeForm, UserChangeForm
    from django.contrib.auth.forms import AdminUserCreationForm as UserCreationForm


def is_unfold() -> bool:
    return getattr(settings, "ADMIN_THEME", "plain") == "unfold"
