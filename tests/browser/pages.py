"""Addresses of the admin's pages, found through its own lists."""

from __future__ import annotations

import re

from tests.browser.conftest import Visit

NOUNS = ("rolebinding", "role", "permissiongroup", "permission", "subject", "team", "resource", "realm", "auditevent", "apikey")
BASE = "/admin/permissions"


def first(visit: Visit, noun: str, search: str = "") -> str:
    """The key of the first object that a list shows for a search."""
    visit.go(f"{BASE}/{noun}/?q={search}")
    for link in visit.page.locator(f'#result_list a[href*="/{noun}/"]').all():
        found = re.search(rf"/{noun}/([^/]+)/change/", link.get_attribute("href") or "")
        if found:
            return found.group(1)
    raise AssertionError(f"no {noun} for {search!r}")


def operators_pages(visit: Visit) -> list[str]:
    """The configuration's: its versions, of which one is made where there is none, each section, one entry, the switch."""
    base = "/admin/controlplane/configrevision"
    sections = ("limiters", "breakers", "bulkheads", "retries", "pipelines")
    visit.go(f"{base}/")
    if not visit.page.locator("#result_list").count():
        visit.go(f"{base}/section/limiters/browser/")
        visit.page.fill("#param_limit", "5")
        visit.page.fill("#id_change_reason", "page")
        visit.page.click("form.ps-form button[type=submit]")
        visit.page.wait_for_load_state()
        visit.go(f"{base}/")
    version = visit.page.locator('#result_list a[href*="/change/"]').first.get_attribute("href") or ""
    return [
        f"{base}/",
        version.split("?")[0],
        "/admin/control/maintenance/",
        f"{base}/section/breakers/browser/",
        *(f"{base}/section/{section}/" for section in sections),
    ]


def control_pages(visit: Visit) -> list[str]:
    """From the index's own group, so that a new page is looked at without a word here."""
    visit.go("/admin/")
    links = visit.page.locator("section[aria-labelledby=group-control] li a").all()
    found = [link.get_attribute("href") or "" for link in links]
    assert len(found) > 9, found
    return [*found, "/admin/control/?window=1h", "/admin/control/events/?severity=critical&subject=user:nobody"]


_found: list[str] = []


def every_page(visit: Visit) -> list[str]:
    """The addresses, looked for once a process: all looks are of one world."""
    if not _found:
        _found.extend(_look_for(visit))
    return _found


def _look_for(visit: Visit) -> list[str]:
    """The index, each list with its counts, each form, new and old, and the pages beside them."""
    pages = ["/admin/", f"{BASE}/resource/tree/", f"{BASE}/realm/switch/", "/admin/auth/user/", "/admin/password_change/"]
    for noun in NOUNS:
        pages.append(f"{BASE}/{noun}/?_facets=True")
        if noun not in ("auditevent", "realm"):
            pages.append(f"{BASE}/{noun}/add/")
        if noun != "apikey":
            key = first(visit, noun)
            pages.append(f"{BASE}/{noun}/{key}/change/")
            if noun not in ("auditevent", "realm"):
                pages.append(f"{BASE}/{noun}/{key}/delete/")
    role, subject, resource = first(visit, "role", "editor"), first(visit, "subject", "bob"), first(visit, "resource", "channel")
    pages += [f"{BASE}/role/{role}/{page}/" for page in ("effective", "bindings", "history")]
    pages += [f"{BASE}/subject/{subject}/{page}/" for page in ("effective", "check", "bindings", "history")]
    pages += [f"{BASE}/resource/{resource}/{page}/" for page in ("place", "bindings")]
    pages.append(f"{BASE}/realm/{first(visit, 'realm')}/revisions/")
    return pages + operators_pages(visit) + control_pages(visit)
