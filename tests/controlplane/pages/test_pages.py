"""Every control page is drawn by the server, for whoever may see it, and by nobody else."""

from __future__ import annotations

import json
import shlex

import pytest
from django.test import RequestFactory

from controlplane.live.hub import HUB
from controlplane.pages import every
from controlplane.pages.overview import curl
from permissions.models import Permission, Realm, Role, RoleBinding, Subject
from tests.permissions.admin.world import build, desk

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def world(db: None) -> None:
    build()


def address(name: str) -> str:
    return "/admin/control/" if name == "overview" else f"/admin/control/{name}/"


def test_every_page_is_drawn_for_its_operator() -> None:
    client = desk("alice").client
    for page in every():
        answer = client.get(address(page.name))
        assert answer.status_code == 200, page.name
        assert 'id="ps-live"' in answer.content.decode(), page.name


def test_the_snapshot_answers_what_the_page_shows_to_whoever_may_see_it() -> None:
    for page in every():
        answer = desk("alice").client.get(f"/api/v1/system/snapshot/{page.name}")
        assert answer.status_code == 200, (page.name, answer.content[:300])
        assert answer.json()["page"] == page.name
        # What is one's own is shown to everybody.
        status = 200 if page.name == "sessions" else 403
        assert desk("charlie").client.get(f"/api/v1/system/snapshot/{page.name}").status_code == status, page.name
        assert desk("charlie").client.get(address(page.name)).status_code == status, page.name


def test_the_overview_shows_no_event_of_a_realm_one_may_not_look_into(monkeypatch: pytest.MonkeyPatch) -> None:
    Realm.objects.get_or_create(name="abroad")
    kept = [
        {"id": f"000000000000{n}-000000", "at": 1.0, "name": "decision.deny", "realm": realm, "subject": subject}
        for n, (realm, subject) in enumerate((("default", "user:here"), ("abroad", "user:hidden")))
    ]
    monkeypatch.setattr(HUB, "events", lambda after="", limit=0: kept)
    for path in (address("overview"), "/api/v1/system/snapshot/overview"):
        text = desk("vera").client.get(path).content.decode()
        assert "user:here" in text and "user:hidden" not in text, path


def test_the_line_to_be_pasted_is_one_word_of_a_shell_whatever_an_id_holds() -> None:
    realm = Realm.objects.get(name="default")
    RoleBinding.objects.filter(realm=realm).delete()
    Permission.objects.filter(realm=realm).delete()
    subject = Subject.objects.create(realm=realm, ref="user:o'hara;true")
    RoleBinding.objects.create(realm=realm, subject=subject, role=Role.objects.filter(realm=realm)[0])
    words = shlex.split(curl(RequestFactory().get("/")))
    assert json.loads(words[-1])["subject"]["id"] == "o'hara;true"


def test_a_page_that_is_none_is_not_found() -> None:
    assert desk("alice").client.get("/api/v1/system/snapshot/nothing").status_code == 404
    assert desk("alice").client.get("/admin/control/nothing/").status_code == 404


def test_the_menus_hold_what_may_be_seen_and_the_first_page_its_tiles() -> None:
    index = desk("alice").client.get("/admin/").content.decode()
    for page in every():
        assert f'href="/admin/control/{page.name}/"' in index, page.name
    assert "data-tiles" in index
    other = desk("charlie").client.get("/admin/").content.decode()
    assert "data-tiles" not in other and "/admin/control/overview/" not in other
    assert "/admin/control/sessions/" in other


def test_a_window_that_is_none_is_the_live_one_and_a_filter_stays_a_text() -> None:
    client = desk("alice").client
    data = client.get("/api/v1/system/snapshot/overview?window=%22%3E%3Cb%3E").json()["data"]
    assert data["window"] == "live"
    answer = client.get("/admin/control/events/?subject=%3Cscript%3E&event=nonsense&name=" + "x" * 5000)
    assert answer.status_code == 200
    assert "<script>" not in answer.content.decode().split('id="content-main"')[1]


@pytest.mark.parametrize("minutes", ["", "0", "11", "-1", "ten", "1.5", "9" * 400, "１０"])
def test_a_watch_of_no_sensible_length_is_refused_and_says_so(minutes: str) -> None:
    client = desk("alice").client
    form = {"action": "watch", "change_reason": "why", "subject": "user:zed", "minutes": minutes}
    answer = client.post("/admin/control/events/", form, follow=True)
    assert "must be a whole number from 1 to 10" in answer.content.decode()


def test_whoever_may_only_look_sees_why_the_buttons_rest_and_their_forms_do_nothing() -> None:
    client = desk("vera").client
    text = client.get("/admin/control/events/").content.decode()
    assert "This needs permsite.control:operate" in text
    for action in ("clear", "watch", "test"):
        form = {"action": action, "change_reason": "why", "subject": "user:zed", "minutes": "5"}
        answer = client.post("/admin/control/events/", form, follow=True)
        assert "permsite.control:operate" in answer.content.decode()
