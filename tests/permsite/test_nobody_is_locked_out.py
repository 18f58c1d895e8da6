"""Under full maintenance every route is asked: what an operator needs is reachable, everything else is refused."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from typing import Any

import pytest
from django.contrib import admin
from django.urls import URLPattern, URLResolver, get_resolver

from controlplane.apps import NEVER_PATHS
from controlplane.middleware import MaintenanceGate
from permissions.authzen import metadata
from resilience import config, maintenance
from resilience.config import Snapshot

NEEDED = ("/admin/", "/admin/login/", "/static/x.css", "/i18n/setlang/", "/healthz", "/readyz", "/api/v1/maintenance")


@pytest.fixture(autouse=True)
def _maintenance() -> Iterator[None]:
    config.LIVE.consider(Snapshot(1, 1, {"maintenance": {"mode": "full", "reason": "new disks"}}), "test")
    yield
    config.LIVE.reset()


def routes(resolver: URLResolver, before: str = "/") -> Iterator[str]:
    for pattern in resolver.url_patterns:
        here = before + re.sub(r"^\^|\$$|\\Z$", "", str(pattern.pattern))
        if isinstance(pattern, URLResolver):
            yield from routes(pattern, here)
        elif isinstance(pattern, URLPattern):
            yield re.sub(r"<[^>]+>|\(\?P<[^>]+>[^)]*\)", "1", here)


def status_of(path: str, kind: str = "http") -> int:
    sent: list[dict[str, Any]] = []

    async def application(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    scope = {"type": kind, "path": path, "method": "POST", "headers": [], "client": ("10.0.0.1", 1)}
    asyncio.run(MaintenanceGate(application)(scope, receive, send))
    return int(sent[0]["status"])


def is_needed(path: str) -> bool:
    return any(path == prefix or path.startswith(prefix + "/") for prefix in NEVER_PATHS)


def test_the_switch_the_admin_the_login_and_the_probes_are_reachable():
    assert {path: status_of(path) for path in NEEDED} == dict.fromkeys(NEEDED, 200)


def test_every_route_is_either_an_operators_or_refused():
    found = {*routes(get_resolver()), metadata.EVALUATION, metadata.EVALUATIONS, metadata.WELL_KNOWN}
    assert len(found) > 60
    answers = {path: status_of(path) for path in found}
    assert answers == {path: 200 if is_needed(path) else 503 for path in found}
    assert sum(status == 503 for status in answers.values()) > 20


def test_every_page_of_the_admin_is_among_them():
    pages = [f"/admin/{path.lstrip('/')}" for path in routes(URLResolverOf(admin.site.urls[0]))]
    assert len(pages) > 60
    assert all(status_of(path) == 200 for path in pages)


class URLResolverOf(URLResolver):
    """The admin's own patterns, as if they were a site's."""

    def __init__(self, patterns: Any) -> None:
        self.url_patterns = patterns


def test_what_only_looks_like_an_exempt_path_is_refused():
    for path in ("/administration", "/healthz2", "/api/v1/maintenances", "/staticfiles", "/api/v1/systematic"):
        assert status_of(path) == 503, path
    assert maintenance.status().on
