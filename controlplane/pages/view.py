"""Draws pages, answers their parts, and runs their actions; the same for all of them."""

from __future__ import annotations

from typing import Any, Final

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect
from django.template.loader import render_to_string
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.translation import gettext as _

from controlplane.pages import find
from controlplane.pages.base import REASON_FIELD, Look, Page
from controlplane.pages.menu import visible
from controlplane.services import rights
from permissions import pdp
from permissions.admin.asker import actor_of
from permissions.errors import Refused

# Where the page's script connects, and what it asks while it cannot.
SOCKET: Final = "/ws/control/"
EVENTS: Final = "/api/v1/system/events"
HISTORY: Final = "/api/v1/system/performance"
# What the audit keeps of a reason.
MAX_REASON: Final = 1000


def control_page(request: HttpRequest, name: str = "overview") -> HttpResponse:
    """Raises PermissionDenied, Http404."""
    page = find(name)
    if page is None:
        raise Http404
    look = Look(actor_of(request), page.name, request.GET, request)
    try:
        if not page.opens(look):
            raise PermissionDenied
        if request.method == "POST" and request.POST.get("action", "") in page.asks:
            answered = page.asks[request.POST["action"]](look, _fields(request))
            context = {**admin.site.each_context(request), **_context(page, look, request), **answered}
            return TemplateResponse(request, page.template, context)
        if request.method == "POST":
            return _act(page, look, request)
        if request.method not in ("GET", "HEAD"):
            return HttpResponseNotAllowed(["GET", "POST"])
        part = request.GET.get("part")
        if part is not None and part not in page.parts:
            raise Http404
        context = _context(page, look, request)
    except pdp.Unavailable:
        raise PermissionDenied from None
    if part is not None:
        answer = HttpResponse(render_to_string(page.parts[part], context, request))
        answer["Cache-Control"] = "no-store"
        return answer
    return TemplateResponse(request, page.template, {**admin.site.each_context(request), **context})


def _context(page: Page, look: Look, request: HttpRequest) -> dict[str, Any]:
    may_operate = look.may(rights.OPERATE)
    return {
        "title": page.title,
        "page_object": page,
        "look": look,
        "data": page.snapshot(look),
        "may_operate": may_operate,
        # Why a button cannot be pressed; empty when it can.
        "missing": ""
        if may_operate
        else _("This needs %(code)s on %(page)s.") % {"code": rights.OPERATE, "page": rights.on_page(page.name)},
        "tabs": tabs(request, page.name),
        "live_urls": live_urls(request, page.name),
        **page.context(look),
    }


def _act(page: Page, look: Look, request: HttpRequest) -> HttpResponse:
    """Post, then redirect to the page as it was filtered; services judge right and reason again."""
    act = page.actions.get(request.POST.get("action", ""))
    if act is None:
        raise Http404
    reason = request.POST.get(REASON_FIELD, "").strip()
    fields = _fields(request)
    if not reason or len(reason) > MAX_REASON or not reason.isprintable():
        messages.error(request, _("Say why, in 1 to %(most)s characters on one line.") % {"most": MAX_REASON})
    else:
        try:
            messages.success(request, act(look, fields, reason))
        except Refused as error:
            messages.error(request, error.detail)
            for problem in getattr(error, "problems", ()):
                messages.error(request, f"{problem.where}: {problem.message}")
        except ValueError as error:  # the kit's own refusals
            messages.error(request, str(error))
    return HttpResponseRedirect(request.get_full_path())


def _fields(request: HttpRequest) -> dict[str, str]:
    return {
        name: str(value) for name, value in request.POST.items() if name not in ("csrfmiddlewaretoken", "action", REASON_FIELD)
    }


def tabs(request: HttpRequest, active: str) -> list[dict[str, Any]]:
    """From page to page, of those that may be seen."""
    return [{"title": page.title, "url": page_url(page.name), "active": page.name == active} for page in visible(request)]


def live_urls(request: HttpRequest, name: str) -> dict[str, str]:
    """Where the page's script connects and asks; the snapshot is that of the page as it is filtered."""
    filters = request.GET.copy()
    filters.pop("part", None)
    snapshot = reverse("api-snapshot", args=[name])
    return {
        "socket": f"{SOCKET}?page={name}",  # its right is the one that is asked
        "snapshot": f"{snapshot}?{filters.urlencode()}" if filters else snapshot,
        "events": EVENTS,
        "history": HISTORY,
    }


def page_url(name: str) -> str:
    return reverse("admin:control_page", args=[name]) if name != "overview" else reverse("admin:control")
