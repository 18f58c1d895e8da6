"""What the screens share: who may, the tabs from screen to screen, how a refusal is said."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from django import forms
from django.http import HttpRequest
from django.urls import reverse
from django.utils.translation import gettext, gettext_lazy

from controlplane.services import config as service
from controlplane.services import rights
from permissions import pdp
from permissions.admin.asker import actor_of
from permissions.admin.base import MAX_REASON, reason_of, request_id_of
from permissions.admin.history import Change, shown
from permissions.errors import Refused

__all__ = ["MAX_REASON", "lines", "may", "missing", "reason_of", "refusal_texts", "request_id_of", "tabs", "typed_version"]

TITLES: Final[dict[str, Any]] = {
    "limiters": gettext_lazy("Rate limits"),
    "breakers": gettext_lazy("Circuit breakers"),
    "bulkheads": gettext_lazy("Bulkheads"),
    "retries": gettext_lazy("Retries"),
    "pipelines": gettext_lazy("Pipelines"),
    "overrides": gettext_lazy("Overrides"),
    "cache": gettext_lazy("Caches"),
    "alerts": gettext_lazy("Alerts"),
    "decision_log": gettext_lazy("Decision log"),
    "forces": gettext_lazy("Forces"),
    "history": gettext_lazy("History of rows"),
    "maintenance": gettext_lazy("Maintenance"),
}


def may(request: HttpRequest, code: str, page: str) -> bool:
    """Asked once a request. While no decision can be given, only a superuser may."""
    known: dict[tuple[str, str], bool] | None = getattr(request, "_permsite_control", None)
    if known is None:
        known = request._permsite_control = {}  # type: ignore[attr-defined]
    if (code, page) not in known:
        try:
            known[code, page] = bool(request.user.is_authenticated) and rights.may(actor_of(request), code, page)
        except (pdp.Unavailable, pdp.InvalidRequestError):
            known[code, page] = False
    return known[code, page]


def missing(request: HttpRequest, code: str, page: str) -> str:
    """Why a button cannot be pressed; empty when it can."""
    if may(request, code, page):
        return ""
    return gettext("This needs %(code)s on %(page)s.") % {"code": code, "page": page}


def url(name: str, *args: Any) -> str:
    return reverse(f"admin:controlplane_configrevision_{name}", args=args)


def switch_url() -> str:
    return reverse("admin:control_page", args=["maintenance"])


def tabs(request: HttpRequest, active: str) -> list[dict[str, Any]]:
    found: list[tuple[str, Any, str]] = []
    if may(request, rights.CONFIG_VIEW, rights.CONFIG_PAGE):
        found.append(("", gettext_lazy("Versions"), url("changelist")))
        found += [(name, TITLES.get(name, name), url("section", name)) for name in service.editable()]
    if may(request, rights.VIEW, rights.MAINTENANCE_PAGE):
        found.append(("maintenance", gettext_lazy("Maintenance"), switch_url()))
    return [{"title": title, "url": where, "active": name == active} for name, title, where in found]


def lines(changes: Iterable[service.Change]) -> list[Change]:
    """As the table of differences shows them."""
    return [
        Change(
            change.path,
            "+" if change.before is None else "−" if change.after is None else "~",
            "" if change.before is None else shown(change.before),
            "" if change.after is None else shown(change.after),
        )
        for change in changes
    ]


def refusal_texts(error: Refused, prefix: str) -> list[tuple[str | None, str]]:
    """(field of the form or None, what is wrong); `prefix` is the path of what the form edits."""
    problems = getattr(error, "problems", ())
    if not problems or isinstance(error, service.Stale):
        told: list[tuple[str | None, str]] = [(None, error.detail)]
        return told + [(None, f"{problem.where}: {problem.message}") for problem in problems]
    return [
        (problem.where.removeprefix(prefix + "."), problem.message)
        if problem.where.startswith(prefix + ".")
        else (None, problem.message)
        for problem in problems
    ]


def show_refusal(form: forms.Form, error: Refused, prefix: str) -> None:
    for name, message in refusal_texts(error, prefix):
        form.add_error(
            name if name in form.fields else None, message if name is None or name in form.fields else f"{name}: {message}"
        )


def typed_version(request: HttpRequest) -> int | None:
    """The version this form was drawn from; a text that is none counts as one that is in force no more."""
    text = request.POST.get("version", "")
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 19 else -1
