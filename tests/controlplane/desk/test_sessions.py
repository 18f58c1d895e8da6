"""Sessions: noted, seen by whom they belong to or who may, ended at the next request; lockouts seen and lifted; uses of keys."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.contrib.sessions.models import Session
from django.core.management import call_command
from django.test import Client
from django.utils import timezone

from controlplane.live.hub import HUB
from controlplane.live.port import LiveError
from controlplane.models import BrowserSession
from controlplane.services import browser_sessions
from controlplane.services import sessions as service
from permissions.identity import uses
from permissions.models import ApiKey, AuditEvent, KeyUse, Realm
from permissions.writing import Actor
from permsite import protection
from resilience import registry
from resilience.errors import StorageUnavailable
from tests.controlplane.desk.conftest import CONTROL, text_of, told
from tests.permissions.api.world import Cast, make_key, refused, with_key

pytestmark = pytest.mark.both_databases
FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0"


@pytest.fixture
def noted(desks: dict[str, Client]) -> dict[str, BrowserSession]:
    """Everybody has been here once, with a browser."""
    for client in desks.values():
        client.get("/admin/", headers={"User-Agent": FIREFOX}, REMOTE_ADDR="192.0.2.7")
    return {row.user.username: row for row in BrowserSession.objects.select_related("user")}


def test_a_login_is_noted_with_address_and_browser(noted: dict[str, BrowserSession]) -> None:
    assert set(noted) == {"alice", "bob", "charlie", "root"}
    row = noted["alice"]
    assert (row.address, row.browser) == ("192.0.2.7", FIREFOX)


def test_it_is_noted_again_only_after_a_minute(desks: dict[str, Client], noted: dict[str, BrowserSession]) -> None:
    BrowserSession.objects.update(address="before")
    desks["alice"].get("/admin/")
    assert BrowserSession.objects.get(pk=noted["alice"].pk).address == "before"
    browser_sessions.reset()
    desks["alice"].get("/admin/", REMOTE_ADDR="192.0.2.8")
    again = BrowserSession.objects.get(pk=noted["alice"].pk)
    assert again.address == "192.0.2.8" and again.begun_at == noted["alice"].begun_at


def test_a_real_login_is_noted_and_a_logout_forgets_it(desks: dict[str, Client]) -> None:
    User.objects.create_superuser("dora", password="a long passphrase")
    client = Client()
    assert client.post("/admin/login/", {"username": "dora", "password": "a long passphrase"}).status_code == 302
    assert BrowserSession.objects.filter(user__username="dora").count() == 1
    client.post("/admin/logout/")
    assert not BrowserSession.objects.filter(user__username="dora").exists()


def test_nobody_is_noted_for_a_file_a_probe_or_a_stranger(db: None) -> None:
    client = Client()
    client.get("/healthz")
    client.get("/admin/login/")
    assert not BrowserSession.objects.exists()


def test_what_runs_out_goes_with_its_session(noted: dict[str, BrowserSession]) -> None:
    Session.objects.update(expire_date=timezone.now() - dt.timedelta(days=1))
    call_command("clearsessions")
    assert not BrowserSession.objects.exists()


@pytest.mark.parametrize("agent", ["", "x" * 5_000, "a\tb\x7fc", "\u2028名", "<script>"])
def test_any_name_of_a_browser_is_kept_on_one_line(desks: dict[str, Client], agent: str) -> None:
    desks["alice"].get("/admin/", HTTP_USER_AGENT=agent)
    told_by = BrowserSession.objects.get(user__username="alice").browser
    assert len(told_by) <= 200 and told_by.isprintable()
    assert "<script>x" not in text_of(desks["alice"].get(f"{CONTROL}sessions/"))


def test_one_sees_ones_own_and_an_operator_sees_all(
    desks: dict[str, Client], noted: dict[str, BrowserSession], cast: Cast
) -> None:
    assert {line["subject"] for line in cast.charlie.get("sessions/").json["results"]} == {"user:charlie"}
    assert {line["subject"] for line in cast.bob.get("sessions/").json["results"]} == {
        "user:alice",
        "user:bob",
        "user:charlie",
        "user:root",
    }
    refused(cast.charlie.get("sessions/?subject=user:alice"), 403, "forbidden")
    assert cast.bob.get("sessions/?subject=user:nobody-here").json["results"] == []
    refused(cast.plain_key.get("sessions/"), 403, "forbidden")
    refused(cast.nobody.get("sessions/"), 401, "unauthenticated")
    assert "user:alice" not in text_of(desks["charlie"].get(f"{CONTROL}sessions/")).replace('user:alice" autocomplete', "")


def test_no_answer_tells_a_sessions_key(desks: dict[str, Client], noted: dict[str, BrowserSession], cast: Cast) -> None:
    key = noted["alice"].session_id
    assert key not in cast.bob.get("sessions/").body.decode()
    assert key not in text_of(desks["bob"].get(f"{CONTROL}sessions/"))


def test_an_ended_session_stops_at_the_next_request(
    cast: Cast,
    desks: dict[str, Client],
    noted: dict[str, BrowserSession],
    monkeypatch: pytest.MonkeyPatch,
    django_capture_on_commit_callbacks: Any,
) -> None:
    heard: list[Any] = []
    monkeypatch.setattr(HUB, "tell", lambda kind, body: heard.append((kind, body)))
    assert desks["alice"].get("/admin/").status_code == 200
    with django_capture_on_commit_callbacks(execute=True):
        assert cast.bob.delete(f"sessions/{noted['alice'].pk}/?reason=lost%20laptop").status == 204
    assert desks["alice"].get("/admin/").status_code == 302
    refused(cast.alice.get("sessions/"), 401, "unauthenticated")
    assert heard == [("rights", {"realm": "default", "subjects": ["user:alice"]})]
    event = AuditEvent.objects.get(action="control_session_revoke")
    assert (event.actor, event.object_id, event.reason) == ("user:bob", "user:alice", "lost laptop")
    refused(cast.bob.delete(f"sessions/{noted['alice'].pk}/"), 404, "not_found")


def test_a_store_of_news_that_is_away_ends_it_all_the_same(
    cast: Cast, noted: dict[str, BrowserSession], monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(kind: str, body: Any) -> None:
        raise LiveError("away")

    monkeypatch.setattr(HUB, "tell", away)
    assert cast.bob.delete(f"sessions/{noted['alice'].pk}/").status == 204
    assert not Session.objects.filter(pk=noted["alice"].session_id).exists()


def test_all_of_a_subject_end_at_once(cast: Cast, noted: dict[str, BrowserSession]) -> None:
    other = Client()
    other.force_login(User.objects.get(username="charlie"))
    other.get("/admin/login/")
    assert cast.bob.delete("sessions/?subject=user:charlie").json == {"ended": 2}
    refused(cast.bob.delete("sessions/?subject=user:charlie"), 404, "not_found")


def test_ones_own_end_without_a_right_and_the_present_one_stays(
    desks: dict[str, Client], noted: dict[str, BrowserSession]
) -> None:
    other = Client()
    other.force_login(User.objects.get(username="charlie"))
    other.get("/admin/login/")
    said = told(desks["charlie"], "sessions", {"action": "revoke_all", "subject": "user:charlie", "change_reason": "a spare one"})
    assert "1 session of user:charlie has ended" in said
    assert BrowserSession.objects.get(user__username="charlie").pk == noted["charlie"].pk


@pytest.mark.parametrize("who", ["alice", "root"])
def test_others_sessions_are_not_ended_without_the_right(cast: Cast, noted: dict[str, BrowserSession], who: str) -> None:
    refused(cast.charlie.delete(f"sessions/{noted[who].pk}/"), 403, "forbidden")
    refused(cast.charlie.delete("sessions/999999/"), 403, "forbidden")
    refused(cast.charlie.delete(f"sessions/?subject=user:{who}"), 403, "forbidden")
    assert BrowserSession.objects.filter(pk=noted[who].pk).exists()


@pytest.mark.parametrize("path", ["sessions/x/", "sessions/-1/", "sessions/1e3/", f"sessions/{'9' * 40}/", "sessions/%00/"])
def test_no_number_is_no_session(cast: Cast, path: str) -> None:
    assert cast.bob.delete(path).status == 404


@pytest.mark.parametrize(
    "query",
    ["subject=alice", "subject=user:a%00b", "limit=0", "limit=x", "limit=9999", "after=-1", "surprise=1", "subject=user:*"],
)
def test_a_bad_filter_is_named(cast: Cast, query: str) -> None:
    assert cast.bob.get(f"sessions/?{query}").status == 400


def test_all_of_everybody_is_never_meant(cast: Cast, noted: dict[str, BrowserSession]) -> None:
    refused(cast.bob.delete("sessions/"), 400, "bad_request")
    assert BrowserSession.objects.count() == 4


# Lockouts
@pytest.fixture
def locked(cast: Cast) -> str:
    """Somebody has guessed at mallory's password until the login refused."""
    limiter = registry.limiter(protection.LOGIN_USER)
    for _ in range(40):
        if not limiter.acquire("mallory").allowed:
            break
    return "mallory"


@pytest.fixture
def refusals(monkeypatch: pytest.MonkeyPatch, locked: str) -> None:
    """What every server tells once a second."""
    from resilience.refusals import Refused

    found = {"login.user": [Refused("mallory", 7), Refused("alice", 1)], "login.address": []}
    monkeypatch.setattr(registry.control, "top_refused", lambda rule, most: found[rule])


def test_who_is_kept_out_is_seen_and_let_in(cast: Cast, refusals: None) -> None:
    found = cast.bob.get("sessions/lockouts").json["results"]
    assert [(one["rule"], one["key"], one["refusals"]) for one in found] == [("login.user", "mallory", 7)]
    assert found[0]["retry_after_s"] > 0
    assert cast.bob.post("sessions/lockouts", {"rule": "login.user", "key": "mallory", "reason": "called"}).status == 200
    assert cast.bob.get("sessions/lockouts").json["results"] == []
    event = AuditEvent.objects.get(action="control_reset_key")
    assert (event.actor, event.reason) == ("user:bob", "called")


def test_a_subject_is_looked_at_by_name(cast: Cast, locked: str) -> None:
    assert [one["key"] for one in cast.bob.get("sessions/lockouts?subject=user:Mallory").json["results"]] == ["mallory"]
    assert cast.bob.get("sessions/lockouts?subject=user:alice").json["results"] == []


def test_a_store_that_is_away_is_said(cast: Cast, desks: dict[str, Client], monkeypatch: pytest.MonkeyPatch) -> None:
    def away(rule: str, most: int) -> None:
        raise StorageUnavailable("limiter", "away")

    monkeypatch.setattr(registry.control, "top_refused", away)
    refused(cast.bob.get("sessions/lockouts"), 503, "unavailable")
    assert "who is kept out is not known" in text_of(desks["bob"].get(f"{CONTROL}sessions/"))


BAD: dict[str, Any] = {
    "another rule": {"rule": "wire"},
    "a number": {"key": 7},
    "nothing": {"key": ""},
    "NUL": {"key": "a\u0000"},
    "long": {"key": "x" * 501},
    "no reason": {"reason": ""},
    "a blank reason": {"reason": "  "},
    "a flag": {"reason": True},
    "more": {"surprise": 1},
    "a rule that is none": {"rule": None},
}


@pytest.mark.parametrize("what", BAD)
def test_a_bad_unlock_is_refused(cast: Cast, what: str) -> None:
    asked = {"rule": "login.user", "key": "mallory", "reason": "called", **BAD[what]}
    assert cast.bob.post("sessions/lockouts", asked).status == 400
    assert not AuditEvent.objects.filter(action="control_reset_key").exists()


def test_only_an_operator_lets_in(cast: Cast, desks: dict[str, Client], refusals: None) -> None:
    refused(cast.charlie.get("sessions/lockouts"), 403, "forbidden")
    refused(cast.charlie.post("sessions/lockouts", {"rule": "login.user", "key": "mallory", "reason": "x"}), 403, "forbidden")
    fields = {"action": "unlock", "rule": "login.user", "key": "mallory", "change_reason": "called"}
    assert "this needs permsite.control:operate" in told(desks["charlie"], "sessions", fields)
    assert "mallory may try again" in told(desks["bob"], "sessions", fields)


# Keys
def test_a_use_of_a_key_is_written_down_without_a_revision(cast: Cast, desks: dict[str, Client]) -> None:
    uses.flush()
    KeyUse.objects.all().delete()
    caller = with_key(make_key("seldom", subject="user:alice"))
    before = Realm.objects.get(name="default").rev
    caller.get("roles/")
    caller.get("roles/")
    assert uses.flush() == 1 and uses.flush() == 0
    assert KeyUse.objects.get().key.name == "seldom"
    assert Realm.objects.get(name="default").rev == before
    page = text_of(desks["alice"].get(f"{CONTROL}sessions/"))
    assert "seldom" in page and str(KeyUse.objects.get().last_used_at.year) in page


def test_a_key_that_went_meanwhile_is_passed_over(db: None) -> None:
    uses.flush()
    uses.met.update({10**9, 10**9 + 1})
    assert uses.flush() == 0


def test_a_key_is_revoked_from_the_page_by_who_may(cast: Cast, desks: dict[str, Client]) -> None:
    row = ApiKey.objects.get(name="bobs")
    fields = {"action": "revoke_key", "realm": "default", "id": str(row.pk), "change_reason": "leaked"}
    assert "permsite.key:delete" in told(desks["bob"], "sessions", fields)
    assert "The key bobs is revoked" in told(desks["alice"], "sessions", fields)
    refused(cast.bobs_key.get("roles/"), 401, "unauthenticated")


def test_keys_are_shown_to_who_may_see_them(desks: dict[str, Client]) -> None:
    assert "API keys of the realm default" in text_of(desks["alice"].get(f"{CONTROL}sessions/"))
    assert "API keys of the realm" not in text_of(desks["bob"].get(f"{CONTROL}sessions/"))


def test_a_service_account_without_a_subject_ends_nothing_of_its_own(cast: Cast, noted: dict[str, BrowserSession]) -> None:
    nobody = Actor("key", "key:x", subject=None)
    assert not service.sessions_seen(nobody).exists()
