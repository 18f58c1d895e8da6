"""Pages beside a form: the bindings of an object, and what a subject may do at a place, with where each comes from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlencode

from django.contrib import admin
from django.db.models import Q
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from permissions import pdp, selectors
from permissions.admin.asker import asker
from permissions.admin.check_box import ASK
from permissions.admin.paging import page_of
from permissions.admin.reasons import REASONS
from permissions.engine import platform, reasons
from permissions.models import Permission, Resource, RoleBinding

if TYPE_CHECKING:
    from permissions.admin.base import GuardedAdmin
    from permissions.models import Realm

# Each is one decision, some 10 µs; a realm with all of AWS's 17,000 actions stays under half a second.
MAX_CODES: Final = 20_000
_EXPLAINED: Final = 50
# What stands behind an answer → its letter and its word.
_STATES: Final = {
    "own": ("O", gettext_lazy("own")),
    "direct": ("O", gettext_lazy("direct")),
    "team": ("T", gettext_lazy("by team")),
    "everyone": ("E", gettext_lazy("by everyone")),
    "group": ("G", gettext_lazy("by group")),
    "inherited": ("I", gettext_lazy("inherited")),
    "conditional": ("C", gettext_lazy("conditional")),
    "denied": ("D", gettext_lazy("denied")),
    "withheld": ("W", gettext_lazy("withheld")),
}


def bindings_page(model_admin: GuardedAdmin, request: HttpRequest, obj: Any, where: dict[str, Any]) -> HttpResponse:
    """The bindings that name the object and may be seen; of a subject also those of its teams and of everyone of its type."""
    bindings: Any = admin.site._registry[RoleBinding]
    rows = bindings.get_queryset(request).select_related("subject", "role", "scope")
    if "subject" in where:
        facts = selectors.subject_facts(obj.realm_id, [obj.ref])[obj.ref]
        holders = {binding.holder for binding in facts.bindings} | {obj.ref, f"{obj.type}:*"}
        rows = rows.filter(Q(subject=obj) | Q(subject__ref__in=holders))
    else:
        rows = rows.filter(**where)
    page = page_of(request, rows.order_by("-id"))
    name = next(iter(where))
    add = reverse("admin:permissions_rolebinding_add") + "?" + urlencode({name: obj.pk})
    return TemplateResponse(
        request,
        "permissions/admin/bindings.html",
        {
            **model_admin.page_context(request, obj, "bindings", _("Bindings")),
            "page": page,
            "rows": [
                {
                    "binding": row,
                    "url": reverse("admin:permissions_rolebinding_change", args=[row.pk]),
                    "gives": bindings.gives(row),
                    "where": bindings.where(row),
                    "validity": bindings.in_force(row),
                    "through": row.subject.ref if "subject" in where and row.subject_id != obj.pk else "",
                }
                for row in page
            ],
            "is_subject": "subject" in where,
            "may_see": bindings.has_view_permission(request),
            "add_url": add if bindings.has_add_permission(request) else "",
        },
    )


def subject_effective(model_admin: GuardedAdmin, request: HttpRequest, obj: Any) -> HttpResponse:
    """Every code at one place, allowed or not; those that nothing names are left out unless asked for."""
    ask = asker(request)
    ref = request.GET.get("resource", "").strip()[:512]
    wanted = request.GET.get("q", "").strip()[:200]
    everything = request.GET.get("all") == "1"
    context: dict[str, Any] = {
        **model_admin.page_context(request, obj, "effective", _("Effective permissions")),
        "resource": ref,
        "q": wanted,
        "all": everything,
        "resources": Resource.objects.filter(realm=ask.realm).order_by("ref").values_list("ref", flat=True)[:300]
        if ask.may("permsite.resource:view")
        else [],
        "problem": "",
        "rows": [],
    }
    if obj.ref != ask.ref and not ask.may(ASK, ref or None):
        context["problem"] = _("Asking about others takes %(code)s at %(where)s.") % {"code": ASK, "where": ref or _("the realm")}
    else:
        try:
            context |= _rows(request, ask.realm, obj.ref, ref or None, wanted, everything=everything)
        except pdp.InvalidRequestError as error:
            context["problem"] = str(error)
        except pdp.Unavailable:
            context["problem"] = REASONS["unavailable"]
    return TemplateResponse(request, "permissions/admin/subject_effective.html", context)


def _rows(request: HttpRequest, realm: Realm, ref: str, resource: str | None, wanted: str, *, everything: bool) -> dict[str, Any]:
    codes = list(Permission.objects.filter(realm=realm).order_by("code").values_list("code", flat=True)[: MAX_CODES + 1])
    cut = len(codes) > MAX_CODES
    codes = [code for code in [*codes[:MAX_CODES], *sorted(platform.CODES)] if wanted in code]
    requests = [pdp.question(ref, code, resource) for code in codes]
    decisions = dict(zip(codes, pdp.decide_many(requests, realm=realm.name, full=True), strict=True))
    counts = {
        "allowed": sum(decision.allowed for decision in decisions.values()),
        "denied": sum(not decision.allowed for decision in decisions.values()),
    }
    shown = [code for code in codes if everything or decisions[code].reason != reasons.NO_GRANT]
    page = page_of(request, shown, _EXPLAINED)
    rows = []
    for code in page:
        told = pdp.explain(ref, code, resource, realm=realm.name).to_dict()
        state = _state(told, ref)
        letter, word = _STATES[state]
        rows.append(
            {
                "code": code,
                "allowed": told["allowed"],
                "state": state,
                "letter": letter,
                "word": word,
                "reason": REASONS.get(told["reason"], told["reason"]),
                "path": told["path"] or told["considered"][:3],
                "requires": told["requires"],
            }
        )
    return {"rows": rows, "page": page, "counts": counts, "cut": cut}


def _state(told: dict[str, Any], ref: str) -> str:
    """Where the answer comes from, by the step that decided."""
    if not told["allowed"]:
        return "denied" if told["reason"] == reasons.EXPLICIT_DENY else "withheld"
    step = next((s for s in told["path"] if s["effect"] == "allow"), None)
    if step is None:
        return "own"
    if step["conditions"]:
        return "conditional"
    if not step["via"]:
        return "everyone"
    if step["holder"] != ref:
        return "team"
    if step["role"] is None:
        return "direct"
    if step["inherits"]:
        return "inherited"
    return "group" if step["group"] else "own"
