"""Pages of a list that is no queryset of the admin's own."""

from __future__ import annotations

from typing import Any, Final

from django.core.paginator import Page, Paginator
from django.http import HttpRequest

PER_PAGE: Final = 100


def page_of(request: HttpRequest, items: Any, per_page: int = PER_PAGE) -> Page[Any]:
    """The page that `?page=` asks for; a number that is none, or too great, gives the nearest there is."""
    page = Paginator(items, per_page).get_page(request.GET.get("page"))
    query = request.GET.copy()
    query.pop("page", None)
    page.query = query.urlencode()  # type: ignore[attr-defined]  # for the links of the template
    return page
