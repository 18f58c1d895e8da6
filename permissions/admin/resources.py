"""Resources: the tree that bindings hang on, as a list, as a tree, and each with what hangs on it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any, ClassVar, Final

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import URLPattern, path
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from permissions.admin import panels
from permissions.admin.asker import MAX_ASKED, asker, current_realm
from permissions.admin.drafts import Draft
from permissions.admin.lists import RefTypeFilter, with_counts
from permissions.admin.service import ServiceAdmin
from permissions.bundle import schema
from permissions.models import Resource, RoleBinding
from permissions.services import resources
from permissions.writing import Write

MAX_TREE: Final = 2_000


@admin.register(Resource)
class ResourceAdmin(ServiceAdmin):
    noun = "resource"
    scoped = True
    list_display = ("ref", "parent", "inherit", "child_count", "binding_count")
    list_select_related = ("parent",)
    list_filter = (RefTypeFilter, "inherit", ("parent", admin.EmptyFieldListFilter))
    search_fields = ("ref",)
    search_help_text = gettext_lazy("Id, such as server:7")
    ordering = ("ref",)
    autocomplete_fields = ("parent",)
    fieldsets = ((None, {"fields": ("ref", "parent", "inherit", "attributes")}),)
    pages: ClassVar = (("bindings", gettext_lazy("Bindings")), ("place", gettext_lazy("Place in the tree")))
    change_list_template = "permissions/admin/resource_list.html"
    empty_hint = gettext_lazy("No resource yet. Whatever a binding names as its scope is registered by it.")

    def node_of(self, obj: Any) -> str | None:
        return str(obj.ref)

    def visible(self, request: HttpRequest, rows: QuerySet[Any]) -> QuerySet[Any]:
        ask = asker(request)
        if ask.break_glass:
            return rows
        keys, too_many = ask.nodes(self.code("view"), rows)
        if too_many:
            told_once(request)
        return rows.filter(pk__in=keys)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        rows: QuerySet[Any] = super().get_queryset(request)
        return with_counts(rows, children_n=(Resource, "parent"), bindings_n=(RoleBinding, "scope"))

    @admin.display(description=gettext_lazy("below"), ordering="children_n")
    def child_count(self, obj: Any) -> int:
        return int(obj.children_n)

    @admin.display(description=gettext_lazy("role bindings"), ordering="bindings_n")
    def binding_count(self, obj: Any) -> int:
        return int(obj.bindings_n)

    def draft(self, request: HttpRequest, form: Any, formsets: Sequence[Any]) -> Draft:
        cleaned = form.cleaned_data
        parent = cleaned["parent"]
        return Draft(
            {
                "id": cleaned["ref"],
                "parent": None if parent is None else parent.ref,
                "inherit": cleaned["inherit"],
                "attributes": cleaned["attributes"] or {},
            }
        )

    def write(self, request: HttpRequest, write: Write, stored: Any, draft: Draft) -> Resource:
        spec = schema.parse_resource(draft.data)
        if stored is None:
            return resources.resource_create(actor=write.actor, realm=write.realm, spec=spec)
        return resources.resource_update(actor=write.actor, realm=write.realm, ref=stored.ref, spec=spec)

    def remove(self, request: HttpRequest, write: Write, stored: Any) -> None:
        resources.resource_delete(actor=write.actor, realm=write.realm, ref=stored.ref)

    def goes_along(self, objs: Sequence[Any]) -> dict[str, int]:
        return {str(_("role bindings")): RoleBinding.objects.filter(scope__in=[obj.pk for obj in objs]).count()}

    def protected_by(self, objs: Sequence[Any]) -> list[str]:
        keys = [obj.pk for obj in objs]
        children = Resource.objects.filter(parent__in=keys).exclude(pk__in=keys).select_related("parent")
        return [f"{child} ({child.parent})" for child in children.order_by("ref")[:20]]

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view
        prefix = f"{self.opts.app_label}_{self.opts.model_name}"
        return [
            path("tree/", view(self.tree_view), name=f"{prefix}_tree"),
            path("<path:object_id>/bindings/", view(self.bindings_view), name=f"{prefix}_bindings"),
            path("<path:object_id>/place/", view(self.place_view), name=f"{prefix}_place"),
            *super().get_urls(),
        ]

    def bindings_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        obj = self.object_or_denied(request, object_id)
        return self.gone(request, object_id) if obj is None else panels.bindings_page(self, request, obj, {"scope": obj})

    def tree_view(self, request: HttpRequest) -> HttpResponse:
        if not self.has_view_or_change_permission(request):
            raise PermissionDenied
        rows = list(self.get_queryset(request).order_by("ref")[: MAX_TREE + 1])
        return TemplateResponse(
            request,
            "permissions/admin/resource_tree.html",
            {
                **self.admin_site.each_context(request),
                "title": _("Resources of %(realm)s as a tree") % {"realm": current_realm(request)},
                "subtitle": None,
                "opts": self.opts,
                "media": self.media,
                "rows": in_tree_order(rows[:MAX_TREE]),
                "cut": len(rows) > MAX_TREE,
                "most": MAX_TREE,
                "has_add_permission": self.has_add_permission(request),
            },
        )

    def place_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        obj = self.object_or_denied(request, object_id)
        if obj is None:
            return self.gone(request, object_id)
        above, node, seen = [], obj.parent, {obj.pk}
        while node is not None and node.pk not in seen:
            seen.add(node.pk)
            above.append(node)
            node = node.parent
        below = self.get_queryset(request).filter(parent=obj).order_by("ref")
        return TemplateResponse(
            request,
            "permissions/admin/resource_place.html",
            {
                **self.page_context(request, obj, "place", _("Place in the tree")),
                "above": [(n, self.url("change", n.pk)) for n in reversed(above)],
                "node": obj,
                "below": [(n, self.url("change", n.pk)) for n in below[:MAX_TREE]],
            },
        )


def told_once(request: HttpRequest) -> None:
    """Says that the list was cut; a page asks for the rows several times, the message comes once."""
    if not getattr(request, "_permsite_told", False):
        request._permsite_told = True  # type: ignore[attr-defined]
        messages.warning(
            request,
            _("Only the first %(most)s were looked at for what you may see. Search or filter to find the others.")
            % {"most": MAX_ASKED},
        )


def in_tree_order(rows: Sequence[Any]) -> list[tuple[Any, int]]:
    """Each row with its depth, parents before children. A row whose parent is not shown stands at the top."""
    shown = {row.pk for row in rows}
    below: dict[int | None, list[Any]] = defaultdict(list)
    for row in rows:
        below[row.parent_id if row.parent_id in shown else None].append(row)
    found: list[tuple[Any, int]] = []
    pending = [(row, 0) for row in reversed(below[None])]
    while pending:
        row, depth = pending.pop()
        found.append((row, depth))
        pending.extend((child, depth + 1) for child in reversed(below[row.pk]))
    return found
