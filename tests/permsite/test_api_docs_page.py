"""The API's documentation in a real browser: offline, under the strict policy, without an error."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.browser


def test_swagger_shows_the_operations_under_the_strict_policy(live_server_asgi, page):
    errors: list[str] = []
    elsewhere: list[str] = []
    page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on(
        "request",
        lambda request: None if request.url.startswith((live_server_asgi.url, "data:")) else elsewhere.append(request.url),
    )
    page.goto(f"{live_server_asgi.url}/api/docs/")
    page.wait_for_selector(".opblock", timeout=20_000)
    assert page.locator(".opblock").count() >= 5  # it draws what is near the window
    page.locator(".opblock-summary-control").first.click()
    page.wait_for_selector(".opblock-body", timeout=20_000)
    assert errors == []
    assert elsewhere == []
