"""An explanation names what decided, or what is missing least."""

from __future__ import annotations

import json
from typing import Any

import pytest

from permissions.engine.explain import explain
from permissions.engine.scopes import build_subject
from permissions.engine.types import Request
from tests.permissions.engine.asking import ALICE, BOB, CHARLIE, NOW, Realm, role

SEND = "channel:send"


def chat(*roles, **settings) -> Realm:
    realm = Realm(
        role("viewer", groups=["reading"]),
        role("member", "channel:se*", inherits=["viewer"]),
        *roles,
        groups={"reading": ["*:view"]},
        codes=[SEND, "channel:view", "channel:pin"],
        **settings,
    )
    return realm.tree("server:7").tree("channel:9", "server:7").tree("channel:1", "server:7", inherit=False)


def only(steps: list[dict[str, Any]]) -> dict[str, Any]:
    assert len(steps) == 1, steps
    return steps[0]


def test_an_allow_names_teams_binding_scope_role_and_line():
    realm = chat().bind("team:all", "member", scope="server:7").member("team:staff", "team:all").member(BOB, "team:staff")
    step = only(realm.explain(BOB, SEND, "channel:9").path)
    assert step == {
        "permission": SEND,
        "effect": "allow",
        "outcome": "holds",
        "binding": 1,
        "holder": "team:all",
        "via": [BOB, "team:staff", "team:all"],
        "scope": "server:7",
        "tier": "roles_and_teams",
        "role": "member",
        "inherits": [],
        "group": None,
        "pattern": "channel:se*",
        "conditions": [],
    }


def test_an_inherited_code_of_a_group_names_the_whole_way():
    step = only(chat().bind(ALICE, "member").explain(ALICE, "channel:view").path)
    assert (step["role"], step["inherits"], step["group"], step["pattern"]) == ("member", ["viewer"], "reading", "*:view")
    assert (step["scope"], step["via"]) == (None, [ALICE])


def test_a_binding_of_everyone_says_so():
    step = only(chat().bind("user:*", allow=(SEND,)).explain(CHARLIE, SEND).path)
    assert (step["tier"], step["holder"], step["via"], step["role"]) == ("everyone", "user:*", [], None)


def test_a_deny_is_what_decided_and_the_allow_is_considered():
    realm = chat().bind(ALICE, "member").bind(ALICE, deny=("channel:*",), scope="server:7")
    told = realm.explain(ALICE, SEND, "channel:9")
    assert (only(told.path)["effect"], only(told.path)["binding"]) == ("deny", 2)
    assert [step["binding"] for step in told.to_dict()["considered"]] == [1]
    assert [(missing["kind"], missing["binding"]) for missing in told.nearest] == [("deny", 2)]


def test_under_overlay_only_what_stood_last_decided():
    realm = chat(combining="overlay").bind(ALICE, "member").bind("user:*", deny=(SEND,), scope="channel:9")
    assert only(realm.explain(ALICE, SEND, "channel:9").path)["binding"] == 2
    realm.bind(ALICE, allow=(SEND,), scope="channel:9")
    assert only(realm.explain(ALICE, SEND, "channel:9").path)["binding"] == 3


def test_a_condition_tells_what_it_said():
    realm = chat(role("careful", ("channel:pin", "context.mfa"))).bind(ALICE, "careful", condition="true")
    told = realm.explain(ALICE, "channel:pin", context={"mfa": False})
    assert (told.decision.reason, told.path) == ("condition_false", [])
    considered = only(told.to_dict()["considered"])
    assert considered["conditions"] == [
        {"text": "true", "outcome": "holds"},
        {"text": "context.mfa", "outcome": "condition_false"},
    ]
    assert told.nearest[0]["kind"] == "condition"
    assert "context.mfa (false)" in told.nearest[0]["text"]
    assert "context.mfa (error)" in realm.explain(ALICE, "channel:pin").nearest[0]["text"]


@pytest.mark.parametrize(
    ("window", "kind", "said"),
    [
        ({"end": "2026-01-01"}, "expired", "ended at 2026-01-01T00:00:00Z"),
        ({"start": "2027-01-01"}, "not_yet_valid", "begins at 2027-01-01T00:00:00Z"),
    ],
)
def test_a_window_tells_when(window, kind, said):
    told = chat().bind(ALICE, "member", **window).explain(ALICE, SEND)
    assert (told.decision.reason, told.nearest[0]["kind"]) == (kind, kind)
    assert said in told.nearest[0]["text"]


def test_an_ended_membership_is_told_with_the_way_it_was():
    realm = chat().bind("team:staff", "member").member(BOB, "team:staff", end="2026-01-01")
    told = realm.explain(BOB, SEND)
    assert told.steps[0].via == (BOB, "team:staff")
    assert "membership that has ended" in told.nearest[0]["text"]


def test_a_private_node_is_named():
    told = chat().bind(ALICE, "member", scope="server:7").explain(ALICE, SEND, "channel:1")
    assert (told.nearest[0]["kind"], told.nearest[0]["node"], told.nearest[0]["binding"]) == ("private", "channel:1", 1)


def test_a_grant_elsewhere_is_named():
    told = chat().bind(ALICE, "member", scope="channel:1").explain(ALICE, SEND, "channel:9")
    assert (told.nearest[0]["kind"], told.nearest[0]["scope"]) == ("elsewhere", "channel:1")
    told = chat().bind(ALICE, "member", scope="server:7", propagate=False).explain(ALICE, SEND, "channel:9")
    assert "at server:7 only" in told.nearest[0]["text"]


def test_an_exclusion_is_named():
    told = chat(role("muted", inherits=["member"], exclude=["*:send"])).bind(ALICE, "muted").explain(ALICE, SEND)
    assert {"kind": "excluded", "role": "muted", "by": "muted", "pattern": "*:send"}.items() <= told.nearest[0].items()


def test_roles_that_would_do_are_named_the_smallest_first():
    told = chat(role("all", "*")).explain(CHARLIE, SEND, "channel:9")
    assert [(missing["kind"], missing.get("role")) for missing in told.nearest] == [("role", "member"), ("role", "all")]
    assert chat().explain(CHARLIE, "channel:pin").nearest[0]["kind"] == "none"


def test_a_missing_requirement_is_explained_itself():
    realm = Realm(role("r", "channel:pin"), role("s", SEND), requires={"channel:pin": [SEND]}).bind(ALICE, "r")
    told = realm.explain(ALICE, "channel:pin")
    assert (told.decision.reason, told.requires) == ("requires", SEND)
    assert told.nearest[0]["role"] == "s"
    gone = Realm(role("r", "a:x"), requires={"a:x": ["gone:y"]}).bind(ALICE, "r").explain(ALICE, "a:x")
    assert (gone.requires, gone.nearest[0]["kind"]) == ("gone:y", "permission")


@pytest.mark.parametrize(
    ("change", "reason", "kind"),
    [
        ({"known": False}, "unknown_subject", "subject"),
        ({"active": False}, "subject_inactive", "subject"),
        ({}, "unknown_permission", "permission"),
    ],
)
def test_what_must_come_before_any_grant_is_named(change, reason, kind):
    realm = chat().subject(CHARLIE, **change)
    told = realm.explain(CHARLIE, "no:such" if not change else SEND)
    assert (told.decision.reason, only(told.nearest)["kind"], told.path) == (reason, kind, [])


def test_a_suspended_realm_is_named():
    assert chat(suspended=True).explain(CHARLIE, SEND).nearest[0]["kind"] == "realm"


def test_an_explanation_is_json_and_has_lines_for_people():
    realm = chat().bind(ALICE, "member", scope="server:7", condition="context.mfa")
    told = realm.explain(ALICE, SEND, "channel:9", context={"mfa": True})
    assert json.loads(json.dumps(told.to_dict()))["chain"] == ["realm:default", "server:7", "channel:9"]
    assert told.lines() == [
        "allow channel:send by channel:se*: user:alice, role member, at server:7, binding 1: holds; context.mfa → holds"
    ]
    assert chat().explain(CHARLIE, SEND).lines() == ["role member (2 permissions) would give it"]


def test_a_snapshot_without_its_facts_cannot_be_explained():
    realm = chat()
    bare = build_subject(realm.facts(ALICE), NOW, keep_facts=False)
    with pytest.raises(ValueError, match="without its facts"):
        explain(realm.table(), bare, None, Request(ALICE, SEND), NOW)
