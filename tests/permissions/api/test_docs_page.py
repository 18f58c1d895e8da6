"""/api/docs/ in Chromium: drawn from our own files under the site's policy, and usable with a session and with a key."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, expect

from tests.live import LiveServer
from tests.permissions.api.world import build, make_key

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]


@pytest.fixture
def page(browser: Browser, live_server_asgi: LiveServer) -> Iterator[Page]:
    """The page, held to its promises: no message of the console, nothing asked of another host."""
    complaints: list[str] = []
    context = browser.new_context(base_url=live_server_asgi.url, viewport={"width": 1280, "height": 1600})
    opened = context.new_page()

    def heard(message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            complaints.append(message.text)

    opened.on("console", heard)
    opened.on("pageerror", lambda error: complaints.append(str(error)))
    opened.on(
        "request",
        lambda request: None if request.url.startswith((live_server_asgi.url, "data:")) else complaints.append(request.url),
    )
    opened.goto("/api/docs/")
    expect(opened.get_by_text("May this subject do this to that?")).to_be_visible()
    yield opened
    context.close()
    assert complaints == []


def shown(page: Page, selector: str) -> None:
    """The page draws what is near the window: scrolls until there is such an element."""
    for _ in range(200):
        if page.locator(selector).count():
            page.locator(selector).scroll_into_view_if_needed()
            return
        page.mouse.wheel(0, 500)
        page.wait_for_timeout(100)
    raise AssertionError(f"{selector} is not drawn")


def test_it_is_drawn_from_our_own_files_under_the_sites_policy(page: Page) -> None:
    for tag in ("audit", "bindings", "decisions", "keys", "roles"):
        shown(page, f"#operations-tag-{tag}")
    policy = page.request.get("/api/docs/").headers["content-security-policy"]
    assert "script-src 'self';" in policy + ";"
    assert "unsafe" not in policy
    shown(page, "#operations-roles-roles_create")
    page.locator("#operations-roles-roles_create").click()
    expect(page.get_by_text("Create a role")).to_be_visible()
    if os.environ.get("KEEP_SCREENSHOTS"):
        page.screenshot(path=os.environ["KEEP_SCREENSHOTS"])


def test_a_key_tried_there_asks_a_real_question(page: Page) -> None:
    build()
    key = make_key("docs")
    page.get_by_role("button", name="Authorize").first.click()
    page.locator("input[aria-label='auth-bearer-value']").fill(key)
    page.locator(".auth-btn-wrapper button.authorize").first.click()
    page.locator("button.btn-done").first.click()
    page.locator("#operations-decisions-check").click()
    page.get_by_role("button", name="Try it out").click()
    page.locator("textarea.body-param__text").fill('{"subject": "user:bob", "permission": "post:read", "resource": "channel:9"}')
    page.get_by_role("button", name="Execute").click()
    expect(page.locator(".live-responses-table td.response-col_status").last).to_contain_text("200")
    expect(page.locator(".live-responses-table")).to_contain_text('"allowed": true')


def test_a_person_who_is_logged_in_writes_from_there(page: Page, live_server_asgi: LiveServer) -> None:
    alice = build().alice
    page.context.add_cookies(
        [{"name": "sessionid", "value": alice.client.cookies["sessionid"].value, "url": live_server_asgi.url}]
    )
    page.reload()
    expect(page.get_by_text("May this subject do this to that?")).to_be_visible()
    shown(page, "#operations-roles-roles_create")
    page.locator("#operations-roles-roles_create").click()
    page.get_by_role("button", name="Try it out").click()
    page.locator("textarea.body-param__text").fill('{"name": "made in the docs"}')
    page.get_by_role("button", name="Execute").click()
    expect(page.locator(".live-responses-table td.response-col_status").last).to_contain_text("201")
    assert alice.get("roles/made%20in%20the%20docs/").status == 200
