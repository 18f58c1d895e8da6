"""What people come for, through the real forms."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.browser.conftest import Visit
from tests.browser.pages import BASE, first

pytestmark = [pytest.mark.browser, pytest.mark.timeout(120)]
THEMES = pytest.mark.parametrize("theme", ["unfold", "plain"])


def choose(visit: Visit, field: str, text: str) -> None:
    """Picks from a completing select, as a person does."""
    visit.page.locator(f"#id_{field} + .select2 .select2-selection").click()
    visit.page.locator(".select2-container--open .select2-search__field").fill(text)
    visit.page.locator(".select2-results__option", has_text=text).first.click()


def check(visit: Visit, subject: str, permission: str, resource: str) -> str:
    visit.go(f"{BASE}/subject/{subject}/check/")
    visit.page.get_by_label("Permission").fill(permission)
    visit.page.get_by_label("Resource").fill(resource)
    visit.page.locator("form", has=visit.page.get_by_label("Permission")).get_by_role("button", name="Check").click()
    return str(visit.page.locator('.ps-answer[role="status"]').inner_text())


@THEMES
def test_a_role_bound_in_the_form_changes_the_next_check(visit: Callable[..., Visit], theme: str) -> None:
    here = visit(theme)
    bob = first(here, "subject", "bob")
    place = "server:8"
    assert "Denied" in check(here, bob, "post:read", place)
    here.go(f"{BASE}/rolebinding/add/")
    choose(here, "subject", "user:bob")
    choose(here, "role", "reader")
    choose(here, "scope", place)
    here.page.locator("#id_reason").fill("he asked")
    here.page.get_by_role("button", name="Save", exact=True).click()
    here.page.wait_for_url(f"**{BASE}/rolebinding/")
    assert "successfully" in here.text()
    answer = check(here, bob, "post:read", place)
    assert "Allowed" in answer
    # Revoked from the list, with the page that asks first.
    key = first(here, "rolebinding", "he+asked")
    here.page.locator(f'input[name="_selected_action"][value="{key}"]').check()
    here.page.locator('select[name="action"]').select_option("revoke")
    here.page.locator('button[name="index"]').click()
    here.page.get_by_label("Reason for this change").fill("no longer")
    here.page.get_by_role("button", name="Revoke").click()
    here.page.wait_for_url(f"**{BASE}/rolebinding/**")
    assert "Denied" in check(here, bob, "post:read", place)
    assert here.complaints == []


@THEMES
def test_a_role_gets_a_line_in_its_table(visit: Callable[..., Visit], theme: str) -> None:
    """Rows are added by Django's script, in Unfold below a tab of their own."""
    here = visit(theme)
    here.go(f"{BASE}/role/add/")
    here.page.locator("#id_name").fill(f"made in {theme}")
    if theme == "unfold":
        here.page.get_by_role("link", name="Permission lines").click()
    here.page.locator("#lines-group").get_by_text("Add another").click()
    here.page.locator("#id_lines-0-pattern").fill("post:*")
    here.page.get_by_role("button", name="Save and continue editing").click()
    here.page.wait_for_url("**/change/**")
    here.page.get_by_role("link", name="Effective permissions").click()
    here.page.wait_for_load_state()
    assert "post:purge" in here.text()
    assert here.complaints == []


@THEMES
def test_a_refused_form_says_why_and_changes_nothing(visit: Callable[..., Visit], theme: str) -> None:
    here = visit(theme, who="bob")
    here.go(f"{BASE}/rolebinding/add/")
    choose(here, "subject", "user:zed")
    choose(here, "role", "administrator")
    choose(here, "scope", "server:7")
    here.page.get_by_role("button", name="Save", exact=True).click()
    here.page.wait_for_load_state()
    assert "You cannot give more than you hold" in here.text()


@THEMES
def test_everything_is_reached_by_the_keyboard(visit: Callable[..., Visit], theme: str) -> None:
    """Tab alone leads from the top of a form to its last button, and what has the focus can be seen."""
    here = visit(theme)
    here.go(f"{BASE}/subject/{first(here, 'subject', 'zed')}/change/")
    reached = set()
    for _ in range(120):
        here.page.keyboard.press("Tab")
        reached.add(
            here.page.evaluate(
                "(e => e && e !== document.body ? (e.id || e.name || e.textContent.trim()) : '')(document.activeElement)"
            )
        )
    for wanted in ("id_ref", "id_active", "id_attributes", "id_change_reason", "check_permission", "check_context"):
        assert wanted in reached, wanted
    for wanted in ("Effective permissions", "Bindings", "History", "Switch", "Roles"):
        assert any(wanted in name for name in reached), wanted
    seen = here.page.evaluate(
        """() => { const tab = document.querySelector(".ps-tabs a"); tab.focus();
        return getComputedStyle(tab).outlineStyle !== "none" }"""
    )
    assert seen


def test_the_strict_policy_stands_on_every_answer(visit: Callable[..., Visit]) -> None:
    plain, unfold = visit("plain"), visit("unfold")
    for here, eval_allowed in ((plain, False), (unfold, True)):
        answer = here.page.request.get(f"{here.address}{BASE}/role/")
        policy = answer.headers["content-security-policy"]
        assert ("unsafe-eval" in policy) is eval_allowed
        script = next(part for part in policy.split(";") if "script-src" in part)
        assert "unsafe-inline" not in script and "object-src 'none'" in policy
