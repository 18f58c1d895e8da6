"""When maintenance begins every page is told before the switch turns; sockets that are not exempt close with 1013."""

from __future__ import annotations

import pytest

from controlplane.live.hub import HUB
from controlplane.live.port import LiveError
from resilience import config, maintenance
from resilience.maintenance import SWITCH

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def _off():
    yield
    config.LIVE.reset()


def test_the_notice_comes_first_and_then_the_close(site):
    page = site.watching("alice")
    maintenance.enable("new disks", mode="full")
    code, reason = page.closed()
    assert code == 1013 and reason == "Under maintenance: new disks"
    kinds = [message["type"] for message in page.heard]
    assert kinds[-1] == "bye" and page.heard[-1]["retry_after"] >= 60
    notice = page.heard[kinds.index("notice")]["notice"]
    assert notice == {"kind": "maintenance", "mode": "full", "reason": "new disks", "until": None}
    assert site.refused("alice") == 503


def test_the_notice_is_told_before_the_switch_turns(site, monkeypatch):
    told = []
    monkeypatch.setattr(HUB, "tell", lambda kind, body: told.append((kind, body, SWITCH.on)))
    maintenance.enable("new disks", mode="read_only")
    assert told == [("notice", {"kind": "maintenance", "mode": "read_only", "reason": "new disks", "until": None}, None)]
    assert SWITCH.on is not None


def test_a_store_that_is_away_does_not_hinder_the_switch_and_pages_here_are_told(site, monkeypatch):
    def away(*_args):
        raise LiveError("away")

    monkeypatch.setattr(HUB, "tell", away)
    page = site.watching("alice")
    maintenance.enable("new disks", mode="full")
    assert page.closed()[0] == 1013
    assert any(message["type"] == "notice" for message in page.heard)


def test_exempt_addresses_and_milder_modes_stay_and_are_told(site):
    page = site.watching("alice")
    maintenance.enable("reading only", mode="read_only")
    assert page.wait_for("notice")["notice"]["mode"] == "read_only"
    maintenance.enable("all", mode="full", allow=["127.0.0.1"])
    while page.wait_for("notice")["notice"]["mode"] != "full":
        pass
    maintenance.enable("the API alone", mode="full", paths=["/api/v1/check"])
    maintenance.disable()
    while page.wait_for("notice")["notice"]["mode"] != "off":
        pass
    site.frame()
    page.wait_for("frame")


def test_whoever_opens_a_page_during_maintenance_is_told_in_the_greeting(site):
    maintenance.enable("reading only", mode="read_only")
    assert site.open("alice").next()["notice"]["mode"] == "read_only"


def test_an_exempt_socket_is_asked_again_as_before(site):
    page = site.watching("alice")
    maintenance.enable("all", mode="full", allow=["127.0.0.1"])
    from controlplane.sockets.room import ROOM

    ROOM.rights_changed(None, None)
    site.frame()
    page.wait_for("frame")
