"""An operator who watches while things happen: load, a restart, a store that dies, a cut network, a right that goes."""

from __future__ import annotations

import re
import time
from collections.abc import Callable

import pytest

from tests.browser.conftest import Sites, Visit
from tests.browser.load import Load, ask, call

pytestmark = [pytest.mark.browser, pytest.mark.timeout(150)]

TESTED = "[...document.querySelectorAll('#stream > li b')].filter(name => name.textContent === 'events.tested')"
LIVE = "document.body.dataset.connection === 'live'"
# A machine that is busy with other tests takes its time; the claims are about what is shown, not about how soon.
PATIENCE_S = 30.0


def until(here: Visit, test: str, argument: object = None) -> None:
    """Playwright's own waiting evaluates texts, which the strict policy forbids."""
    deadline = time.monotonic() + PATIENCE_S
    while not here.page.evaluate(test, argument):
        assert time.monotonic() < deadline, (test, badge(here), here.page.inner_text("#content-main")[:1500])
        here.page.wait_for_timeout(50)


def figure(here: Visit, name: str) -> str:
    return here.page.locator(f".ps-tile-value [data-live={name}]").inner_text()


def badge(here: Visit) -> str:
    return here.page.locator("#ps-status").inner_text()


def ids(here: Visit, where: str = "#stream") -> list[str]:
    return list(here.page.eval_on_selector_all(f"{where} > li", "rows => rows.map(row => row.dataset.id)"))


def watch(here: Visit, path: str = "/admin/control/") -> None:
    here.go(path)
    until(here, LIVE)


def send_test_event(site: Sites, here: Visit) -> None:
    """As the button of an empty page does."""
    cookies = {one["name"]: one["value"] for one in here.page.context.cookies()}
    answer = here.page.context.request.post(
        f"{here.address}/admin/control/events/",
        form={"action": "test", "change_reason": "looking", "csrfmiddlewaretoken": cookies["csrftoken"]},
        headers={"Referer": here.address},
        max_redirects=0,
    )
    assert answer.status == 302, answer.status


def test_the_overview_moves_while_checks_are_asked(visit: Callable[..., Visit], site: Sites) -> None:
    here = visit("unfold")
    watch(here)
    assert badge(here) == "Live"
    with Load(here.address, site.key):
        until(here, "parseFloat(document.querySelector('.ps-tile-value [data-live=checks_per_s]').textContent) > 1")
        first = figure(here, "checks_per_s")
        until(
            here,
            "before => document.querySelector('.ps-tile-value [data-live=checks_per_s]').textContent !== before",
            first,
        )
        until(here, "document.querySelectorAll('#latest > li').length > 0")
        until(here, "document.querySelector('[data-part=instances] tbody tr') !== null")
        drawn = here.page.evaluate(
            """() => { const canvas = document.querySelector("#rate canvas"), ink = canvas.getContext("2d");
            const data = ink.getImageData(0, 0, canvas.width, canvas.height).data;
            return new Set(Array.from({ length: data.length / 4 }, (_, i) => data.slice(4 * i, 4 * i + 3).join())).size }"""
        )
        assert drawn > 10  # lines, not an empty frame
    here.page.locator("#rate summary").click()
    until(here, "document.querySelectorAll('#rate tbody tr').length > 1")
    assert here.page.locator("[data-empty-while]").count() == 0 or here.page.locator("[data-empty-while]").is_hidden()
    assert here.complaints == []


def test_a_restarted_server_is_found_again(visit: Callable[..., Visit], site: Sites) -> None:
    theme = "plain"
    here = visit(theme)
    watch(here)
    shown = figure(here, "open_breakers")
    port = site.stop(theme)
    until(here, "document.body.classList.contains('ps-stale')")
    assert figure(here, "open_breakers") == shown  # grey, and not another figure
    assert "Live" not in badge(here)
    site.start(theme, port)
    until(here, LIVE)
    assert badge(here) == "Live"
    assert not here.page.evaluate("document.body.classList.contains('ps-stale')")


def test_a_valkey_that_dies_is_told_and_comes_back_and_no_event_is_lost_or_shown_twice(
    visit: Callable[..., Visit], site: Sites
) -> None:
    here = visit("unfold")
    watch(here, "/admin/control/events/?name=events.tested")
    send_test_event(site, here)
    until(here, f"{TESTED}.length === 1")
    site.kill_valkey()
    try:
        until(here, "!document.querySelector('[data-banner=store]').hidden")
        send_test_event(site, here)
        until(here, f"{TESTED}.length === 2")
    finally:
        site.start_valkey()
    until(here, f"document.querySelector('[data-banner=store]').hidden && {LIVE}")
    send_test_event(site, here)
    until(here, f"{TESTED}.length >= 3")
    found = ids(here)
    assert here.page.evaluate(f"{TESTED}.length") == 3
    assert len(found) == len(set(found))


def test_a_cut_network_turns_the_page_grey_and_what_was_missed_comes_once(visit: Callable[..., Visit], site: Sites) -> None:
    here = visit("unfold")
    watch(here, "/admin/control/events/?name=decision.deny")
    assert not ask(here.address, site.key, "charlie", "read", "7")
    until(here, "document.querySelector('#stream > li') !== null")
    here.page.context.set_offline(True)
    until(here, "document.body.classList.contains('ps-stale')")
    before = ids(here)
    assert not ask(here.address, site.key, "charlie", "edit", "7")
    here.page.context.set_offline(False)
    until(here, LIVE)
    until(here, "count => document.querySelectorAll('#stream > li').length > count", len(before))
    found = ids(here)
    assert len(found) == len(set(found))
    assert found[-len(before) :] == before


def test_a_watcher_whose_right_is_taken_loses_the_stream_and_is_told(visit: Callable[..., Visit], site: Sites) -> None:
    binding = {"subject": "user:charlie", "role": "onlooker"}
    made = call(site("unfold"), site.key, "POST", "/api/v1/bindings/", binding)
    here = visit("unfold", who="charlie")
    watch(here)
    call(here.address, site.key, "DELETE", f"/api/v1/bindings/{made['id']}/")
    until(here, "document.body.dataset.connection === 'refused'")
    assert badge(here) == "Not allowed any more"
    assert "may not see this page" in here.page.locator("#ps-notices").inner_text()
    assert here.page.evaluate("document.body.classList.contains('ps-stale')")
    assert here.page.goto(here.address + "/admin/control/").status == 403  # type: ignore[union-attr]  # an answer came


def test_events_are_filtered_by_the_link_held_back_and_found_again(visit: Callable[..., Visit], site: Sites) -> None:
    here = visit("plain")
    watch(here, "/admin/control/events/?subject=user:charlie")
    pause = here.page.get_by_role("button", name="Pause")
    pause.click()
    count = len(ids(here))
    for number in ("7", "8", "9"):
        ask(here.address, site.key, "charlie", "purge", number)
        ask(here.address, site.key, "zed", "purge", number)
    resume = here.page.get_by_role("button", name=re.compile(r"Go on \(3 held back\)"))
    resume.wait_for(timeout=1000 * PATIENCE_S)
    assert len(ids(here)) == count
    resume.click()
    until(here, "count => document.querySelectorAll('#stream > li').length === count + 3", count)
    texts = here.page.locator("#stream > li").all_inner_texts()
    assert all("user:charlie" in text for text in texts)
    link = here.page.locator("#stream > li time a").first.get_attribute("href") or ""
    here.go(link.removeprefix(here.address))
    facts = here.page.locator(".ps-facts").inner_text()
    assert "user:charlie" in facts and "post:purge" in facts
    assert here.complaints == []


@pytest.mark.parametrize("theme", ["unfold", "plain"])
def test_the_keys_lead_to_the_filter_and_to_the_help(visit: Callable[..., Visit], theme: str) -> None:
    here = visit(theme)
    watch(here, "/admin/control/events/")
    here.page.keyboard.press("/")
    assert here.page.evaluate("document.activeElement.name") == "name"
    here.page.keyboard.type("dec?/")
    assert here.page.input_value("#f-name") == "dec?/"
    here.page.keyboard.press("Escape")
    here.page.keyboard.press("?")
    assert here.page.locator("#ps-keys").is_visible()
    here.page.keyboard.press("Escape")
    assert here.page.locator("#ps-keys").is_hidden()
    if theme == "unfold":
        here.page.keyboard.press("Control+k")
        here.page.locator("#search-input-command").type("live ev")
        here.page.locator("#command-results a", has_text="Live events").wait_for(timeout=1000 * PATIENCE_S)
    else:
        assert here.page.locator("#nav-sidebar a", has_text="Live events").count() == 1


def test_the_first_page_shows_the_tiles_to_those_who_may_see_them(visit: Callable[..., Visit]) -> None:
    here = visit("unfold")
    here.go("/admin/")
    until(here, LIVE)
    assert here.page.locator(".ps-tile").count() == 6
    assert here.complaints == []
    other = visit("unfold", who="bob")
    other.go("/admin/")
    assert other.page.locator(".ps-tile").count() == 0
    assert other.complaints == []
