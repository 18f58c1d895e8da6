"""ModelAdmin → services: what a form and its inlines say becomes one spec, and one service writes it."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from django import forms
from django.db.models import Model, QuerySet
from django.forms import BaseInlineFormSet, ModelForm
from django.http import HttpRequest
from django.utils.translation import gettext as _

from permissions.admin import theme
from permissions.admin.asker import current_realm
from permissions.admin.base import GuardedAdmin, in_realm
from permissions.admin.drafts import Draft, Refusal
from permissions.admin.forms import SpecForm, with_bounded_keys, with_names
from permissions.audit import canonical
from permissions.bundle.schema import to_dict
from permissions.errors import Conflict
from permissions.services.specs import spec_of
from permissions.writing import Write


class ServiceAdmin(GuardedAdmin):
    """An object that has a line in a bundle. A subclass names its noun, and turns drafts into services' calls."""

    form = SpecForm

    def get_form(self, request: HttpRequest, obj: Any = None, change: bool = False, **kwargs: Any) -> type[ModelForm[Any]]:
        form: Any = super().get_form(request, obj, change=change, **kwargs)
        form.refusal = getattr(request, "_permsite_refusal", None)
        return form  # type: ignore[no-any-return]

    def _create_formsets(self, request: HttpRequest, obj: Any, change: bool) -> Any:
        formsets, inlines = super()._create_formsets(request, obj, change)  # type: ignore[misc]  # unknown to the stubs
        refusal: Refusal | None = getattr(request, "_permsite_refusal", None)
        if refusal is not None:
            for formset in formsets:
                if formset.is_valid():
                    refusal.show_in_rows(formset)
        return formsets, inlines

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        """Nothing yet: the object is one spec with its inlines, and one service writes it, in `save_related`."""

    def save_related(self, request: HttpRequest, form: Any, formsets: Any, change: bool) -> None:
        if getattr(request, "_permsite_refusal", None) is not None:
            raise RuntimeError("a refused form was found valid")
        write: Any = getattr(request, "_permsite_write", None)
        # The form has filled the instance with what was typed; the service compares with what is stored.
        stored = self.model._default_manager.get(pk=form.instance.pk) if change else None
        if stored is not None:
            self._refuse_stale(request, stored)
        draft = self.draft(request, form, formsets)
        request._permsite_places = draft.places  # type: ignore[attr-defined]
        saved = self.write(request, write, stored, draft)
        # What follows (messages, redirects, rights on the new object) reads the instance: let it be what is stored.
        form.instance.pk = saved.pk
        form.instance.refresh_from_db()

    if TYPE_CHECKING:
        # Each subclass has its own: what the form says, the one service that creates or changes, the one that deletes.
        def draft(self, request: HttpRequest, form: Any, formsets: Sequence[BaseInlineFormSet[Any, Any, Any]]) -> Draft: ...

        def write(self, request: HttpRequest, write: Write, stored: Any, draft: Draft) -> Model: ...

        def remove(self, request: HttpRequest, write: Write, stored: Any) -> None: ...

    def delete_model(self, request: HttpRequest, obj: Any) -> None:
        self.remove(request, request._permsite_write, obj)  # type: ignore[attr-defined]

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        for obj in queryset:
            self.remove(request, request._permsite_write, obj)  # type: ignore[attr-defined]

    def get_deleted_objects(self, objs: Any, request: HttpRequest) -> tuple[list[str], dict[str, int], set[str], list[str]]:
        """What goes with them, counted. Django's own walks every related row, which for a role can be all bindings there are."""
        chosen = list(objs[:200]) if isinstance(objs, QuerySet) else list(objs)
        lines = [str(obj) for obj in chosen]
        if isinstance(objs, QuerySet) and (total := objs.count()) > len(chosen):
            lines.append(_("and %(count)s more") % {"count": total - len(chosen)})
        return lines, self.goes_along(chosen), set(), self.protected_by(chosen)

    def goes_along(self, objs: Sequence[Any]) -> dict[str, int]:
        """Name of a kind of object → how many of them are deleted as well."""
        return {}

    def protected_by(self, objs: Sequence[Any]) -> list[str]:
        return []

    def version_of(self, obj: Any) -> str:
        """A digest of the stored state. A form that was opened on another state would silently undo what came between."""
        return hashlib.sha256(canonical(to_dict(spec_of(obj))).encode()).hexdigest()[:20]

    def _refuse_stale(self, request: HttpRequest, stored: Any) -> None:
        seen = request.POST.get("permsite_version", "")
        if seen and seen != self.version_of(stored):
            raise Conflict(
                _("somebody else changed this while you were editing. Look at the current state in a new tab, then save again.")
            )

    def render_change_form(self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        obj = kwargs.get("obj")
        # What was typed has been put into `obj`: the version is that of what is stored.
        stored = None if obj is None else self.model._default_manager.filter(pk=obj.pk).first()
        context["permsite_version"] = "" if stored is None else self.version_of(stored)
        return super().render_change_form(request, context, *args, **kwargs)


class Lines(theme.TabularInline):
    """An inline whose rows belong to the object's spec: whoever may change the object may change them."""

    extra = 0
    tab = True
    show_change_link = False

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return True

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return True

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return True

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return True

    def formfield_for_foreignkey(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        kwargs.setdefault("queryset", in_realm(db_field, current_realm(request)))
        return with_bounded_keys(super().formfield_for_foreignkey(db_field, request, **kwargs))

    def formfield_for_dbfield(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        field = with_names(super().formfield_for_dbfield(db_field, request, **kwargs))
        if isinstance(field, forms.CharField | forms.TypedChoiceField):
            # A cell of Django's table has no label: its column's heading is tied to nothing.
            field.widget.attrs["aria-label"] = field.label
        return field

    def get_formset(self, request: HttpRequest, obj: Any = None, **kwargs: Any) -> Any:
        base: Any = super().get_formset(request, obj, **kwargs)

        class Named(base):  # type: ignore[misc]  # built anew for each request, as Django does
            def add_fields(self, form: Any, index: int | None) -> None:
                super().add_fields(form, index)
                if "DELETE" in form.fields:
                    form.fields["DELETE"].widget.attrs["aria-label"] = _("Delete")

        return Named
