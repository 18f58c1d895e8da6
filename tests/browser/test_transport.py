"""The page's script alone, against a server made of answers, on a clock of the test's, while the network does its worst."""

from __future__ import annotations

import json
import mimetypes
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from django.template.loader import render_to_string
from playwright.sync_api import Browser, Page, Route, WebSocketRoute

pytestmark = [pytest.mark.browser, pytest.mark.timeout(60)]

STATIC = Path(__file__).resolve().parents[2] / "controlplane" / "static"
ORIGIN = "http://site.test"
BEGAN_S = 1_700_000_000
HEAD = """<!doctype html><html lang="en"><head><meta charset="utf-8">
<script src="/static/controlplane/vendor/idiomorph.min.js" defer></script>
<script type="module" src="/static/controlplane/live.js"></script>
<script type="module" src="/static/controlplane/overview.js"></script></head>"""
BODY = """<span id="figure" data-live="checks_per_s" data-format="rate">–</span>
<div data-part="board" data-renew="2" data-topics="breaker."><input id="typed" value=""><p id="told">drawn 0</p>
<details id="fold"><summary>more</summary>text</details></div>
<p id="no-events">none</p><ol id="latest" data-most="20"></ol>"""


def event(number: int, **more: Any) -> dict[str, Any]:
    return {"id": f"{BEGAN_S}000-{number:06d}", "at": BEGAN_S, "name": "test.event", "severity": "info", "data": {}, **more}


@dataclass
class Server:
    """What answers the page. `accepts`: whether a socket opens at all; `sent`: what the page said over it."""

    page: Page
    accepts: bool = True
    is_up: bool = True
    status: int = 200
    sockets: list[WebSocketRoute] = field(default_factory=list)
    sent: list[dict[str, Any]] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    stored: list[dict[str, Any]] = field(default_factory=list)
    parts: int = 0
    tries: int = 0
    seq: int = 0

    def route(self, route: Route) -> None:
        url = urlsplit(route.request.url)
        if url.path.startswith("/static/"):
            file = STATIC / url.path.removeprefix("/static/")
            route.fulfill(body=file.read_bytes(), content_type=mimetypes.guess_type(file.name)[0] or "text/plain")
        elif not self.is_up:
            route.abort()
        elif "part=" in url.query:
            self.parts += 1
            if self.status != 200:
                route.fulfill(status=self.status)
                return
            route.fulfill(
                body=f'<input id="typed" value=""><p id="told">drawn {self.parts}</p>'
                '<details id="fold"><summary>more</summary>text</details>',
                content_type="text/html",
            )
        elif url.path.startswith("/api/"):
            self.asked.append(route.request.url.removeprefix(ORIGIN))
            if self.status != 200:
                route.fulfill(status=self.status, json={})
            elif "snapshot" in url.path:
                self.seq += 1
                route.fulfill(json={"frame": self.made(7.0), "frame_age_s": 0.5, "nodes": [], "data": {}})
            elif "events" in url.path:
                after = parse_qs(url.query).get("after", [""])[0]
                found = [one for one in self.stored if one["id"] > after]
                route.fulfill(json={"events": found, "last": found[-1]["id"] if found else after})
            else:
                route.fulfill(json={"at": [], "figures": {}})
        elif url.path == "/page":
            urls = {
                "socket": "/ws/control/",
                "snapshot": "/api/v1/system/snapshot/overview",
                "events": "/api/v1/system/events",
                "history": "/api/v1/system/performance",
            }
            live = render_to_string(
                "controlplane/pages/live.html", {"live_urls": urls, "page_object": {"streams": ["events"]}, "data": {"last": ""}}
            )
            route.fulfill(body=f"{HEAD}<body>{live}{BODY}</body></html>", content_type="text/html")
        else:
            route.fulfill(status=404)

    def connected(self, socket: WebSocketRoute) -> None:
        self.tries += 1
        if not self.accepts:
            socket.close(code=1011)
            return
        self.sockets.append(socket)
        socket.on_message(lambda text: self.sent.append(json.loads(text)))
        self.say({"type": "hello"})

    def made(self, checks: float | None) -> dict[str, Any]:
        return {"seq": self.seq, "at": BEGAN_S + self.seq, "checks_per_s": checks}

    def say(self, message: dict[str, Any]) -> None:
        self.sockets[-1].send(json.dumps(message))

    def frame(self, checks: float | None) -> None:
        self.seq += 1
        self.say({"type": "frame", "frame": self.made(checks)})

    def events(self, *numbers: int) -> None:
        found = [event(number) for number in numbers]
        self.say({"type": "events", "events": found, "last": found[-1]["id"]})

    # What the page shows.

    def pass_s(self, seconds: float) -> None:
        """Half a second at a time: an answer must be able to come between two of the page's looks."""
        for _ in range(round(seconds * 2)):
            self.page.clock.run_for(500)
            self.page.evaluate("0")

    def until(self, test: str, seconds: float = 40.0) -> None:
        for _ in range(round(seconds * 2)):
            if self.page.evaluate(test):
                return
            self.pass_s(0.5)
        raise AssertionError(f"{test} did not come true; {self.state()}, {self.badge()!r}, {self.tries} tries")

    def text(self, selector: str) -> str:
        """A locator would wait by the clock that stands still."""
        return str(self.page.evaluate("selector => document.querySelector(selector).textContent", selector)).strip()

    def state(self) -> str:
        return str(self.page.evaluate("document.body.dataset.connection"))

    def badge(self) -> str:
        return self.text("#ps-status [data-label]")

    def is_grey(self) -> bool:
        return bool(self.page.evaluate("document.body.classList.contains('ps-stale')"))

    def figure(self) -> str:
        return self.text("#figure")

    def subscribed(self) -> dict[str, Any]:
        """What it asked for last."""
        return [one for one in self.sent if one["type"] == "subscribe"][-1]

    def rows(self) -> list[int]:
        found = self.page.eval_on_selector_all("#latest > li", "rows => rows.map(row => row.dataset.id)")
        return [int(one.split("-")[1]) for one in found]

    def live(self) -> None:
        self.until("document.body.dataset.connection !== undefined")
        self.frame(12.5)
        self.until("document.body.dataset.connection === 'live'", 2)


@pytest.fixture
def server(browser: Browser) -> Iterator[Callable[..., Server]]:
    contexts = []

    def open_page(**given: Any) -> Server:
        context = browser.new_context(reduced_motion="reduce")
        contexts.append(context)
        page = context.new_page()
        found = Server(page, **given)
        page.clock.install(time=BEGAN_S * 1000)
        page.clock.pause_at(BEGAN_S * 1000 + 1)
        page.route("**/*", found.route)
        page.route_web_socket("**/ws/control/", found.connected)
        page.goto(f"{ORIGIN}/page")
        return found

    yield open_page
    for context in contexts:
        context.close()


def test_a_frame_moves_the_figures_and_three_seconds_without_one_turn_them_grey_and_never_to_zero(
    server: Callable[..., Server],
) -> None:
    here = server()
    here.live()
    assert here.figure() == "12.5/s" and here.badge() == "Live" and not here.is_grey()
    here.pass_s(2.5)
    assert not here.is_grey()
    here.pass_s(1.5)
    assert here.is_grey() and here.figure() == "12.5/s"
    assert "Stale" in here.badge() and "Live" not in here.badge()
    here.frame(3)
    here.until("document.body.dataset.connection === 'live'", 2)
    assert here.figure() == "3/s" and not here.is_grey()


def test_what_is_unknown_is_a_dash_and_what_is_nothing_is_a_zero(server: Callable[..., Server]) -> None:
    here = server()
    here.live()
    here.frame(None)
    here.pass_s(0.5)
    assert here.figure() == "–"
    here.frame(0)
    here.pass_s(0.5)
    assert here.figure() == "0/s"


def test_the_same_frame_again_is_no_sign_of_life(server: Callable[..., Server]) -> None:
    here = server()
    here.live()
    for _ in range(8):
        here.pass_s(0.5)
        here.say({"type": "frame", "frame": here.made(12.5)})
    assert here.is_grey()


def test_after_three_failures_it_asks_every_five_seconds_and_goes_on_trying(server: Callable[..., Server]) -> None:
    here = server(accepts=False)
    here.until("document.body.dataset.connection === 'asking'")
    assert here.tries >= 3
    assert here.figure() == "7/s" and "Live" not in here.badge()
    here.stored = [event(1), event(2)]
    asked, tries = len([url for url in here.asked if "snapshot" in url]), here.tries
    here.pass_s(20)
    more = len([url for url in here.asked if "snapshot" in url]) - asked
    assert 3 <= more <= 5
    assert here.tries > tries
    assert here.rows() == [2, 1]
    here.accepts = True
    here.until("document.body.dataset.connection !== 'asking'")
    here.live()
    asked = len(here.asked)
    here.pass_s(12)
    assert len(here.asked) == asked
    assert here.subscribed()["after"] == event(2)["id"]


def test_it_waits_longer_each_time_and_never_longer_than_fifteen_seconds(server: Callable[..., Server]) -> None:
    here = server(accepts=False, is_up=True)
    # The highest draw of the jitter.
    here.page.evaluate("Math.random = () => 0.999")
    here.until("document.body.dataset.connection === 'asking'")
    here.pass_s(60)
    tries = here.tries
    here.pass_s(30)
    assert 2 <= here.tries - tries <= 3


def test_it_resumes_behind_the_last_event_and_shows_each_once(server: Callable[..., Server]) -> None:
    here = server()
    here.live()
    here.events(1, 2, 3)
    here.pass_s(0.5)
    here.sockets[-1].close(code=1012)
    here.until("document.querySelector('.ps-notice') !== null", 2)
    assert "restarts" in here.text(".ps-notice")
    count = len(here.sockets)
    while len(here.sockets) == count:
        here.pass_s(0.5)
    here.pass_s(0.5)
    assert here.subscribed()["after"] == event(3)["id"]
    here.events(2, 3, 4)
    here.events(4, 5)
    here.pass_s(0.5)
    assert here.rows() == [5, 4, 3, 2, 1]
    assert here.page.evaluate("document.querySelectorAll('.ps-notice').length") == 0


def test_a_gap_is_told_and_the_parts_are_read_anew(server: Callable[..., Server]) -> None:
    here = server()
    here.live()
    drawn = here.parts
    here.say({"type": "gap", "dropped": 42, "last": event(50)["id"]})
    here.pass_s(0.5)
    assert "42 events were missed" in here.text(".ps-notice")
    assert here.parts > drawn
    here.sockets[-1].close(code=1012)
    count = len(here.sockets)
    while len(here.sockets) == count:
        here.pass_s(0.5)
    here.pass_s(0.5)
    assert here.subscribed()["after"] == event(50)["id"]


def test_a_right_that_is_gone_is_told_and_nothing_is_tried_again(server: Callable[..., Server]) -> None:
    here = server()
    here.live()
    here.sockets[-1].close(code=4403)
    here.until("document.body.dataset.connection === 'refused'", 2)
    tries, asked, parts = here.tries, len(here.asked), here.parts
    here.pass_s(30)
    assert (here.tries, len(here.asked), here.parts) == (tries, asked, parts)
    assert here.is_grey() and here.badge() == "Not allowed any more"
    assert "may not see this page" in here.text("#ps-notices")


def test_a_right_that_is_gone_is_found_out_by_asking_too(server: Callable[..., Server]) -> None:
    here = server(accepts=False, status=403)
    here.until("document.body.dataset.connection === 'refused'")
    tries = here.tries
    here.pass_s(30)
    assert here.tries == tries


def test_maintenance_is_told_and_the_page_comes_back_after_it(server: Callable[..., Server]) -> None:
    here = server()
    here.live()
    here.say({"type": "notice", "notice": {"kind": "maintenance", "mode": "full", "reason": "new disks", "until": None}})
    here.say({"type": "bye", "retry_after": 5, "reason": "maintenance"})
    here.sockets[-1].close(code=1013)
    here.until("document.querySelectorAll('.ps-notice').length === 2", 2)
    assert "new disks" in here.text("#ps-notices")
    tries = here.tries
    here.pass_s(4.5)
    assert here.tries == tries
    here.pass_s(2)
    assert here.tries == tries + 1


def test_a_socket_that_says_nothing_is_pinged_and_given_up(server: Callable[..., Server]) -> None:
    here = server()
    here.live()
    here.pass_s(11)
    assert here.sent[-1] == {"type": "ping"}
    tries = here.tries
    here.pass_s(8)
    assert here.tries > tries


def test_a_hidden_page_wants_nothing_and_catches_up_when_it_is_seen(server: Callable[..., Server]) -> None:
    here = server()
    here.live()
    here.events(1)
    hide = """hidden => { Object.defineProperty(document, "hidden", { value: hidden, configurable: true });
      document.dispatchEvent(new Event("visibilitychange")); }"""
    here.page.evaluate(hide, True)
    here.pass_s(0.5)
    assert here.sent[-1] == {"type": "subscribe", "topics": [], "filters": {}}
    parts = here.parts
    here.pass_s(10)
    assert here.parts == parts
    here.page.evaluate(hide, False)
    here.pass_s(0.5)
    assert here.sent[-1]["after"] == event(1)["id"] and "frame" in here.sent[-1]["topics"]
    assert here.is_grey() and here.parts > parts


def test_a_part_keeps_what_was_typed_and_unfolded_and_turns_grey_when_it_cannot_be_renewed(server: Callable[..., Server]) -> None:
    here = server()
    here.live()
    here.page.evaluate("document.getElementById('typed').focus()")
    here.page.keyboard.type("half a reason")
    here.page.evaluate("document.getElementById('fold').open = true")
    drawn = here.parts
    here.until("document.getElementById('told').textContent !== 'drawn 0'")
    assert here.parts > drawn
    assert here.page.evaluate("document.getElementById('typed').value") == "half a reason"
    assert here.page.evaluate("document.activeElement.id") == "typed"
    assert here.page.evaluate("document.getElementById('fold').open")
    here.status = 500
    here.until("document.querySelector('[data-part]').classList.contains('ps-old')")
    assert here.text("#told").startswith("drawn")
    here.status = 200
    here.until("!document.querySelector('[data-part]').classList.contains('ps-old')")


def test_an_event_of_its_topic_renews_a_part_at_once(server: Callable[..., Server]) -> None:
    here = server()
    here.live()
    here.pass_s(2.5)
    drawn = here.parts
    here.events(1)
    here.page.clock.run_for(200)
    here.page.evaluate("0")
    assert here.parts == drawn
    here.say({"type": "events", "events": [event(2, name="breaker.opened")], "last": event(2)["id"]})
    for _ in range(4):  # less than until it is due by itself
        here.page.evaluate("0")
        here.page.clock.run_for(200)
    assert here.parts == drawn + 1
