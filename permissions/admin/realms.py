"""Realms: the law of each, which one the session works in, and what each revision touched."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Final

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from permissions.admin.asker import Asker, asker, choose_realm, current_realm, is_break_glass
from permissions.admin.base import View, reason_of, request_id_of
from permissions.admin.drafts import Draft
from permissions.admin.paging import page_of
from permissions.admin.service import ServiceAdmin
from permissions.bundle import schema
from permissions.errors import Refused
from permissions.models import AuditEvent, Changelog, Realm
from permissions.services import realms
from permissions.writing import Write

# Asking about a realm loads its model: beyond so many, a list of all would take seconds.
MAX_REALMS: Final = 100
KINDS: Final = {
    "m": gettext_lazy("model"),
    "s": gettext_lazy("subject"),
    "t": gettext_lazy("team"),
    "r": gettext_lazy("resource"),
    "k": gettext_lazy("key"),
    "f": gettext_lazy("flush"),
    "*": gettext_lazy("everything"),
}


@admin.register(Realm)
class RealmAdmin(ServiceAdmin):
    noun = "realm"
    list_display = ("name", "combining", "unknown_subjects", "suspended", "rev", "is_current")
    list_filter = ("combining", "suspended")
    search_fields = ("name",)
    ordering = ("name",)
    readonly_fields = ("rev",)
    pages: ClassVar = (("revisions", gettext_lazy("Revisions")),)
    empty_hint = gettext_lazy("There is no realm. The command migrate makes the realm default.")

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        law = ("name", "combining", "resource_types", "unknown_subjects", "suspended")
        return [
            (None, {"fields": law}),
            (gettext_lazy("Freshness"), {"fields": ("staleness_s", "static_grace_s", *(("rev",) if obj is not None else ()))}),
        ]

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        # A realm keeps its name: its audit chain is kept under it, and keys are read with it.
        return ("rev",) if obj is None else ("rev", "name")

    def realm_of(self, obj: Any) -> Realm:
        realm: Realm = obj
        return realm

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        return self.visible(request, admin.ModelAdmin.get_queryset(self, request))

    def visible(self, request: HttpRequest, rows: QuerySet[Any]) -> QuerySet[Any]:
        if is_break_glass(request):
            return rows
        seen = [realm.pk for realm in rows.order_by("name")[:MAX_REALMS] if Asker(request, realm).may(self.code("view"))]
        return rows.filter(pk__in=seen)

    def has_add_permission(self, request: HttpRequest) -> bool:
        # Nobody holds anything in a realm that is not there yet.
        return is_break_glass(request)

    @admin.display(description=gettext_lazy("you work here"), boolean=True)
    def is_current(self, obj: Any) -> bool:
        return bool(obj.name == getattr(self, "_shown_realm", None))

    def audited_as(self, obj: Any) -> tuple[str, str]:
        return "realm", str(obj.name)

    def in_write(self, request: HttpRequest, view: View, refused: Callable[[Refused], HttpResponse]) -> HttpResponse:
        """A new realm is a write of its own: it cannot be held by the lock of another one."""
        if request.path != self.url("add"):
            return super().in_write(request, view, refused)
        try:
            return view()
        except Refused as error:
            return refused(error)

    def draft(self, request: HttpRequest, form: Any, formsets: Sequence[Any]) -> Draft:
        cleaned = form.cleaned_data
        return Draft(
            {
                "name": cleaned.get("name") or form.instance.name,
                "combining": cleaned["combining"],
                "resource_types": cleaned["resource_types"] or {},
                "unknown_subjects": cleaned["unknown_subjects"],
                "settings": {key: cleaned[key] for key in ("staleness_s", "static_grace_s", "suspended")},
            }
        )

    def write(self, request: HttpRequest, write: Write | None, stored: Any, draft: Draft) -> Realm:
        spec = schema.parse_realm(draft.data)
        if stored is None:
            actor = self.actor(request)
            return realms.realm_create(actor=actor, spec=spec, reason=reason_of(request), request_id=request_id_of(request))
        if write is None:
            raise RuntimeError("a change outside a write")
        return realms.realm_update(actor=write.actor, realm=write.realm, spec=spec)

    def remove(self, request: HttpRequest, write: Write, stored: Any) -> None:
        realms.realm_delete(actor=write.actor, realm=write.realm)

    def get_actions(self, request: HttpRequest) -> dict[str, Any]:
        # Deleting realms is done one by one, each in its own write.
        return {}

    def goes_along(self, objs: Sequence[Any]) -> dict[str, int]:
        counted = {}
        for realm in objs:
            for name in ("bindings", "roles", "groups", "permissions", "subjects", "resources", "keys"):
                rows = getattr(realm, name)
                counted[str(rows.model._meta.verbose_name_plural)] = rows.count()
        return counted

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view
        return [
            path("switch/", view(self.switch_view), name="permissions_realm_switch"),
            path("<path:object_id>/revisions/", view(self.revisions_view), name="permissions_realm_revisions"),
            *super().get_urls(),
        ]

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        self._shown_realm = current_realm(request).name
        return super().changelist_view(request, extra_context)

    def switch_view(self, request: HttpRequest) -> HttpResponse:
        """Which realm to work in. It changes nothing but the session."""
        rows = list(Realm.objects.order_by("name")[:MAX_REALMS])
        # Any right of managing in it will do: whoever may only see its audit must be able to get there.
        mine = [realm for realm in rows if any(Asker(request, realm).may(code) for code in _ENTRY)]
        if request.method == "POST":
            wanted = next((realm for realm in mine if realm.name == request.POST.get("realm")), None)
            if wanted is None:
                raise PermissionDenied
            choose_realm(request, wanted)
            messages.success(request, _("You now work in the realm %(realm)s.") % {"realm": wanted})
            return HttpResponseRedirect(reverse("admin:index"))
        return TemplateResponse(
            request,
            "permissions/admin/realm_switch.html",
            {
                **self.admin_site.each_context(request),
                "title": _("Which realm to work in"),
                "subtitle": None,
                "opts": self.opts,
                "media": self.media,
                "realms": mine,
                "current": current_realm(request),
            },
        )

    def revisions_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        self.follow_realm(request, object_id)
        realm = admin.ModelAdmin.get_object(self, request, object_id) if self.has_module_permission(request) else None
        if not asker(request).may("permsite.audit:view"):
            raise PermissionDenied
        realm = realm or current_realm(request)
        revs = Changelog.objects.filter(realm_id=realm.pk).values_list("rev", flat=True).distinct().order_by("-rev")
        page = page_of(request, revs, 50)
        numbers = list(page)
        touched: dict[int, list[Any]] = defaultdict(list)
        for row in Changelog.objects.filter(realm_id=realm.pk, rev__in=numbers).order_by("kind", "object_id")[:5_000]:
            touched[row.rev].append(row)
        entries: dict[int, list[Any]] = defaultdict(list)
        for event in AuditEvent.objects.filter(realm_name=realm.name, revision__in=numbers).order_by("seq")[:5_000]:
            entries[event.revision or 0].append(event)
        return TemplateResponse(
            request,
            "permissions/admin/revisions.html",
            {
                **self.page_context(request, realm, "revisions", _("Revisions")),
                "page": page,
                "rows": [
                    {
                        "rev": rev,
                        "at": touched[rev][0].at if touched[rev] else None,
                        "touched": [(KINDS.get(row.kind, row.kind), row.object_id) for row in touched[rev][:12]],
                        "more": max(0, len(touched[rev]) - 12),
                        "entries": entries[rev][:5],
                        "more_entries": max(0, len(entries[rev]) - 5),
                    }
                    for rev in numbers
                ],
            },
        )


_ENTRY: Final = tuple(
    f"permsite.{noun}:view"
    for noun in ("realm", "binding", "role", "group", "permission", "subject", "team", "resource", "key", "audit")
)
