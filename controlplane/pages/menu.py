"""The control pages in the menus: a group of the index and of the side bar, the tabs above a page, what the palette finds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, cast

from django.http import HttpRequest
from django.urls import reverse
from django.utils.translation import gettext_lazy as _

from controlplane.pages import every
from controlplane.pages.base import Look, Page
from controlplane.services import rights
from permissions import pdp
from permissions.admin.asker import actor_of

TITLE: Final = _("Control")


def visible(request: HttpRequest) -> list[Page]:
    """The pages this person may see, asked once a request; none while no decision can be given, but for a superuser."""
    found = getattr(request, "_permsite_pages", None)
    if found is None:
        # The login page has a menu too.
        pages = every() if request.user.is_authenticated else []
        try:
            may = rights.may_each(actor_of(request), [(page.view_code, rights.on_page(page.name)) for page in pages])
        except (pdp.Unavailable, pdp.InvalidRequestError):
            may = [False] * len(pages)
        found = [page for page, allowed in zip(pages, may, strict=True) if allowed or _opens(page, request)]
        request._permsite_pages = found  # type: ignore[attr-defined]
    return cast("list[Page]", found)


def _opens(page: Page, request: HttpRequest) -> bool:
    """Some show everybody what is their own."""
    if type(page).opens is Page.opens:
        return False
    try:
        return page.opens(Look(actor_of(request), page.name, {}))
    except (pdp.Unavailable, pdp.InvalidRequestError):
        return False


def url(name: str) -> str:
    """The overview is the root of the others; in a menu it has its own name, or it would be marked on all of them."""
    return reverse("admin:control_page", args=[name])


def group(request: HttpRequest) -> dict[str, Any] | None:
    """In the form of Django's list of apps, so that every template of either theme shows it."""
    pages = visible(request)
    if not pages:
        return None
    models = [
        {
            "name": page.title,
            "object_name": f"Control{page.name.title()}",
            "perms": {"add": False, "change": False, "delete": False, "view": True},
            "admin_url": url(page.name),
            "add_url": None,
            "view_only": True,
            "about": page.about,
            "icon": page.icon,
        }
        for page in pages
    ]
    return {
        "name": TITLE,
        "app_label": "control",
        "app_url": reverse("admin:control"),
        "has_module_perms": True,
        "models": models,
    }


@dataclass(frozen=True, slots=True)
class Found:
    """What Unfold's palette shows of a result."""

    title: str
    description: str
    link: str
    icon: str


def found(request: HttpRequest, term: str) -> list[Found]:
    """For Unfold's palette (Ctrl+K): pages whose name or title holds the term."""
    wanted = term.casefold()
    return [
        Found(str(page.title), str(TITLE), url(page.name), page.icon)
        for page in visible(request)
        if wanted in str(page.title).casefold() or wanted in page.name or wanted in str(TITLE).casefold()
    ]
