"""The simulator: what it answers, that it changes nothing, who may ask, and what is refused."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import urlencode

import pytest
from django.test import Client

from permissions.models import Assertion, AuditEvent, Realm
from tests.controlplane.desk.conftest import CONTROL, text_of, told
from tests.permissions.api.world import Cast
from tests.worlds import apply

pytestmark = pytest.mark.both_databases
QUESTION = {"subject": "user:zed", "permission": "post:read", "resource": "server:8"}


def ask(client: Client, **query: str) -> str:
    return text_of(client.get(f"{CONTROL}simulator/?{urlencode({**QUESTION, **query})}"))


def snapshot(who: Any, **query: str) -> Any:
    return who.get(f"system/snapshot/simulator?{urlencode({**QUESTION, **query})}").json["data"]


def test_an_answer_has_its_path_its_layer_and_its_revision(cast: Cast) -> None:
    answer = snapshot(cast.alice)["answer"]
    assert (answer["allowed"], answer["reason"]) == (True, "granted")
    assert answer["revision"] == Realm.objects.get(name="default").rev
    assert answer["path"][0]["role"] == "reader" and answer["path"][0]["pattern"] == "post:read"
    assert answer["layer"] in ("l1", "redis", "db", "live") and answer["check_us"] > 0 and answer["check_agrees"]


def test_a_denial_says_what_would_help(cast: Cast) -> None:
    answer = snapshot(cast.alice, resource="server:7")["answer"]
    assert (answer["allowed"], answer["reason"]) == (False, "no_grant")
    assert {near["kind"] for near in answer["nearest"]} >= {"elsewhere", "role"}


def test_asking_changes_nothing(desks: dict[str, Client]) -> None:
    before = (Realm.objects.get(name="default").rev, AuditEvent.objects.count())
    assert "What decided" in ask(desks["alice"])
    ask(desks["alice"], mode="who")
    ask(desks["alice"], mode="what")
    assert (Realm.objects.get(name="default").rev, AuditEvent.objects.count()) == before


def test_who_can_and_what_can(cast: Cast) -> None:
    assert snapshot(cast.alice, mode="who")["list"]["results"] == ["user:alice", "user:zed"]
    assert snapshot(cast.alice, mode="what")["list"]["results"] == [{"permission": "post:read", "resource": "server:8"}]


def test_a_reason_leads_to_its_page(desks: dict[str, Client]) -> None:
    assert '?about=granted"' in ask(desks["alice"])
    assert "No binding of the subject" in text_of(desks["alice"].get(f"{CONTROL}simulator/?about=no_grant"))


@pytest.mark.parametrize("about", ["../../etc/passwd", "nonsense", "%00", "..%2f"])
def test_no_other_file_is_shown(desks: dict[str, Client], about: str) -> None:
    assert "about-title" not in text_of(desks["alice"].get(f"{CONTROL}simulator/?about={about}"))


def test_empty_it_has_examples_from_the_data(desks: dict[str, Client]) -> None:
    page = text_of(desks["alice"].get(f"{CONTROL}simulator/"))
    assert "Three examples" in page and "subject=user%3A" in page


def test_about_others_only_who_may_ask(desks: dict[str, Client], cast: Cast) -> None:
    assert "asking about others needs permsite.decision:ask" in ask(desks["bob"], resource="server:8")
    # bob is a caretaker of server:7, with the right to ask there.
    assert "Nothing gives this permission here" in ask(desks["bob"], resource="server:7")
    assert "Granted" in ask(desks["bob"], subject="user:bob", resource="server:7")
    assert desks["charlie"].get(f"{CONTROL}simulator/").status_code == 403


def test_the_right_is_that_of_the_realm_asked_about(desks: dict[str, Client], cast: Cast) -> None:
    apply('version: 1\nrealm: other\npermissions: [{code: "a:b"}]\nsubjects: [{id: "user:alice"}]\n')
    page = ask(desks["alice"], realm="other", subject="user:zed", permission="a:b")
    assert "asking about others needs permsite.decision:ask" in page
    # Nor are its permissions offered to be asked about.
    assert 'value="a:b"' not in text_of(desks["alice"].get(f"{CONTROL}simulator/?realm=other"))
    assert 'value="a:b"' in text_of(desks["root"].get(f"{CONTROL}simulator/?realm=other"))
    assert "No such permission" in ask(desks["root"], realm="other", subject="user:alice", permission="no:such")
    assert "there is no realm" in ask(desks["root"], realm="nowhere")
    assert "belongs to the realm" in str(snapshot(cast.admin_key, realm="other")["problems"])


WRONG: dict[str, dict[str, str]] = {
    "no ref": {"subject": "zed"},
    "a pattern": {"permission": "post:*"},
    "NUL": {"subject": "user:a\x00b"},
    "not normal": {"subject": "user:a\u0301"},
    "no JSON": {"context": "{"},
    "a list": {"context": "[1]"},
    "NaN": {"context": '{"a": NaN}'},
    "infinite": {"context": '{"a": 1e999}'},
    "deep": {"context": "[" * 1_500},
    "deep object": {"context": '{"a":' * 700 + "1" + "}" * 700},
    "huge number": {"context": '{"a": ' + "9" * 400 + "}"},
    "twice": {"context": '{"a": 1, "a": 2}'},
    "long": {"context": json.dumps({"a": "x" * 5_000})},
    "a day that is none": {"at": "2026-13-45T00:00"},
    "words for a time": {"at": "tomorrow"},
    "past for a list": {"mode": "who", "at": "2020-01-01T00:00"},
    "before history": {"at": "0001-01-01T00:00:00Z"},
}


@pytest.mark.parametrize("what", WRONG)
def test_what_is_wrong_is_said_on_the_page(desks: dict[str, Client], what: str) -> None:
    page = ask(desks["alice"], **WRONG[what])
    assert 'class="ps-errors"' in page and "answer-title" not in page


def batch(client: Client, text: str, **more: str) -> str:
    return text_of(client.post(f"{CONTROL}simulator/", {"action": "batch", "realm": "default", "checks": text, **more}))


@pytest.mark.parametrize(
    "text",
    [
        "user:zed post:read server:8\n# a note\n\nuser:zed\tpost:read\tserver:7\n",
        json.dumps([{**QUESTION}, {**QUESTION, "resource": "server:7", "context": {"mfa": True}}]),
        json.dumps({"checks": [{**QUESTION}, {**QUESTION, "resource": None}]}),
    ],
)
def test_a_pasted_batch_is_answered(desks: dict[str, Client], text: str) -> None:
    page = batch(desks["alice"], text)
    assert "1 allowed" in page and "1 denied" in page


@pytest.mark.parametrize(
    "text",
    ["", "   ", "user:zed", "a b c d", "{}", "[]", "[1]", '{"checks": {}}', "[" * 3_000, '[{"subject": 1, "permission": "a:b"}]',
     '[{"subject": "user:a", "permission": "a:b", "x": 1}]', "[NaN]", "user:zed post:*", "user:zed post:read\n" * 1_001,
     json.dumps([QUESTION] * 1_001), '[{"subject": "user:\\ud800", "permission": "a:b"}]',
     '[{"subject": "user:a", "permission": "a:b", "at": true}]', '[{"subject": "user:a", "permission": "a:b", "context": []}]'],
)  # fmt: skip
def test_a_bad_batch_says_why(desks: dict[str, Client], text: str) -> None:
    page = batch(desks["alice"], text)
    assert 'class="ps-errors"' in page and " allowed</span>" not in page


def test_a_batch_needs_the_right_at_each_place(desks: dict[str, Client]) -> None:
    assert "asking about others needs" in batch(desks["bob"], "user:zed post:read server:7\nuser:zed post:read server:8")


def test_a_question_is_kept_run_and_deleted_from_the_page(desks: dict[str, Client]) -> None:
    fields = {
        **QUESTION,
        "action": "save_assertion",
        "realm": "default",
        "name": "zed",
        "expected": "denied",
        "change_reason": "why",
    }
    assert "Kept as the assertion zed" in told(desks["alice"], "simulator", fields)
    run = {"action": "run_assertions", "realm": "default"}
    assert "0 of 1 hold" in text_of(desks["alice"].post(f"{CONTROL}simulator/", run))
    row = Assertion.objects.get()
    gone = {"action": "delete_assertion", "realm": "default", "id": str(row.pk), "change_reason": "why"}
    assert "does not hold permsite.policy:delete" in told(desks["bob"], "simulator", gone)
    assert "deleted" in told(desks["alice"], "simulator", gone)
    assert not Assertion.objects.exists()
    assert AuditEvent.objects.filter(action="assertion.delete", reason="why").exists()


@pytest.mark.parametrize(
    "changes",
    [
        {"name": ""},
        {"expected": "perhaps"},
        {"expected": ""},
        {"realm": "nowhere"},
        {"context": "{"},
        {"at": "x"},
        {"subject": ""},
    ],
)
def test_what_cannot_be_kept_is_not(desks: dict[str, Client], changes: dict[str, str]) -> None:
    fields = {
        **QUESTION,
        "action": "save_assertion",
        "realm": "default",
        "name": "zed",
        "expected": "denied",
        "change_reason": "why",
    }
    assert told(desks["alice"], "simulator", {**fields, **changes})
    assert not Assertion.objects.exists()


@pytest.mark.parametrize("number", ["", "x", "-1", "1e3", "9" * 30, "١"])
def test_no_number_no_deletion(desks: dict[str, Client], number: str) -> None:
    assert told(
        desks["alice"], "simulator", {"action": "delete_assertion", "realm": "default", "id": number, "change_reason": "y"}
    )
