"""What happened: the audit, read only, with the difference of each entry; and the history of one object, which is its audit."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from permissions import audit
from permissions.admin.asker import asker, current_realm
from permissions.admin.base import GuardedAdmin
from permissions.admin.lists import short
from permissions.admin.paging import page_of
from permissions.models import AuditEvent, Realm

_ABSENT: Final = object()


@dataclass(frozen=True, slots=True)
class Change:
    """One key of the object. `mark` is + (came), − (went) or ~ (changed); lists say what came and went in them."""

    key: str
    mark: str
    before: str = ""
    after: str = ""
    gone: tuple[str, ...] = ()
    come: tuple[str, ...] = ()


def difference(before: Mapping[str, Any] | None, after: Mapping[str, Any] | None) -> list[Change]:
    """Key by key, what an entry changed; what stayed the same is left out."""
    old, new = before or {}, after or {}
    changes = []
    for key in [*old, *(key for key in new if key not in old)]:
        was, now = old.get(key, _ABSENT), new.get(key, _ABSENT)
        if was == now:
            continue
        mark = "+" if was is _ABSENT else "−" if now is _ABSENT else "~"
        if isinstance(was if was is not _ABSENT else now, list) and isinstance(now if now is not _ABSENT else was, list):
            left = [] if was is _ABSENT else was
            right = [] if now is _ABSENT else now
            gone = tuple(shown(item) for item in left if item not in right)
            come = tuple(shown(item) for item in right if item not in left)
            changes.append(Change(key, mark, gone=gone, come=come))
        else:
            changes.append(Change(key, mark, "" if was is _ABSENT else shown(was), "" if now is _ABSENT else shown(now)))
    return changes


def shown(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, sort_keys=True)


@admin.register(AuditEvent)
class AuditEventAdmin(GuardedAdmin):
    noun = "audit"
    list_display = ("seq", "moment", "actor", "action", "object_id", "revision", "reason")
    list_display_links = ("seq", "action")
    list_filter = ("action", "actor_kind", ("at", admin.DateFieldListFilter))
    search_fields = ("actor", "object_id", "reason", "request_id")
    search_help_text = gettext_lazy("Actor, object, reason or request id")
    ordering = ("-seq",)
    change_list_template = "permissions/admin/audit_list.html"
    empty_hint = gettext_lazy("No change yet. Every write leaves an entry here, with what was before and after.")

    def realm_of(self, obj: Any) -> Realm:
        return Realm.objects.filter(name=obj.realm_name).first() or Realm(name=obj.realm_name)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        return admin.ModelAdmin.get_queryset(self, request).filter(realm_name=current_realm(request).name)

    @admin.display(description=gettext_lazy("at (UTC)"), ordering="at")
    def moment(self, obj: Any) -> str:
        return short(obj.at)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def get_actions(self, request: HttpRequest) -> dict[str, Any]:
        return {}

    def get_urls(self) -> list[URLPattern]:
        return [
            path("verify/", self.admin_site.admin_view(self.verify_view), name="permissions_auditevent_verify"),
            *super().get_urls(),
        ]

    def verify_view(self, request: HttpRequest) -> HttpResponse:
        """Walks the realm's chain and says what was found. A POST, since it reads every entry; it changes nothing."""
        if request.method != "POST" or not self.has_view_permission(request):
            raise PermissionDenied
        found = audit.verify(current_realm(request).name)
        if found.first_bad is None:
            messages.success(request, _("The chain holds: %(count)s entries, none altered.") % {"count": found.checked})
        else:
            messages.error(
                request,
                _("The chain is broken at entry %(seq)s: %(problem)s.") % {"seq": found.first_bad, "problem": found.problem},
            )
        return HttpResponseRedirect(self.url("changelist"))

    def changeform_view(
        self, request: HttpRequest, object_id: str | None = None, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        if request.method not in {"GET", "HEAD"} or object_id is None:
            raise PermissionDenied
        event = self.object_or_denied(request, object_id)
        if event is None:
            return self.gone(request, object_id)
        return TemplateResponse(
            request,
            "permissions/admin/audit_event.html",
            {
                **self.page_context(request, event, "change", _("Audit entry %(seq)s") % {"seq": event.seq}),
                "page_tabs": [],
                "event": event,
                "changes": difference(event.before, event.after),
                "erased": audit.ERASED in (event.before, event.after),
                "back": self.url("changelist"),
            },
        )


def history_page(model_admin: GuardedAdmin, request: HttpRequest, obj: Any) -> HttpResponse:
    """The audit of one object, newest first. Seeing it takes the right to see the audit."""
    kind, ident = model_admin.audited_as(obj)
    allowed = asker(request).may("permsite.audit:view")
    rows = AuditEvent.objects.filter(realm_name=model_admin.realm_of(obj).name, object_type=kind, object_id=ident)
    page = page_of(request, rows.order_by("-seq") if allowed else rows.none(), 25)
    return TemplateResponse(
        request,
        "permissions/admin/history.html",
        {
            **model_admin.page_context(request, obj, "history", _("History")),
            "allowed": allowed,
            "page": page,
            "rows": [(event, difference(event.before, event.after)) for event in page],
        },
    )
