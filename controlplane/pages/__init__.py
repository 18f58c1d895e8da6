"""The pages of the control plane, in the order in which they stand in menus: a new page is a line here."""

from __future__ import annotations

from controlplane.pages.base import Page

__all__ = ["every", "find"]

_pages: list[Page] = []


def every() -> list[Page]:
    if not _pages:
        from controlplane.pages import table  # noqa: PLC0415 - pages import services, which need the apps

        _pages.extend(kind() for kind in table.PAGES)
    return _pages


def find(name: str) -> Page | None:
    return next((page for page in every() if page.name == name), None)
