"""Checks over DRF: the same answers as the PDP, who may ask them, and tokens there and back."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from permissions import pdp, revisions
from permissions.revisions import HEADER, Head
from tests.permissions.api.world import Cast, item, make_key, refused, with_key
from tests.worlds import apply

pytestmark = pytest.mark.django_db

WINDOW = 'valid_from: "2090-01-01T00:00:00Z", valid_until: "2091-01-01T00:00:00Z"'
BOB_READS = {"subject": "user:bob", "permission": "post:read", "resource": "channel:9"}


def test_a_key_asks_anything_in_its_realm(cast: Cast) -> None:
    for asked, allowed, reason in (
        (BOB_READS, True, "granted"),
        ({**BOB_READS, "resource": "server:8"}, False, "no_grant"),
        ({**BOB_READS, "resource": None}, False, "no_grant"),
        ({**BOB_READS, "permission": "post:nonsense"}, False, "unknown_permission"),
        ({**BOB_READS, "subject": "user:nobody"}, False, "unknown_subject"),
        ({"subject": "team:care", "permission": "post:read", "resource": "server:7"}, True, "granted"),
    ):
        answer = cast.plain_key.post("check", asked)
        assert answer.status == 200, answer.body
        assert set(answer.json) == {"allowed", "reason", "revision", "source"}
        assert (answer.json["allowed"], answer.json["reason"]) == (allowed, reason)
        assert answer.json["revision"] == revisions.head("default").rev
        assert HEADER not in answer.headers


def test_a_person_asks_about_themselves(cast: Cast) -> None:
    mine = {"subject": "user:charlie", "permission": "post:read"}
    assert cast.charlie.post("check", mine).json["allowed"] is False
    assert cast.charlie.post("explain", mine).status == 200
    assert cast.charlie.post("check/batch", {"checks": [mine, mine]}).status == 200


@pytest.mark.parametrize("path", ["check", "explain", "check/batch"])
def test_about_others_they_need_to_be_allowed_there(cast: Cast, path: str) -> None:
    def body(one: dict[str, Any]) -> dict[str, Any]:
        return {"checks": [{"subject": "user:bob", "permission": "post:read"}, one]} if path == "check/batch" else one

    alices = {"subject": "user:alice", "permission": "post:read", "resource": "channel:9"}
    assert cast.bob.post(path, body(alices)).status == 200
    assert cast.alice.post(path, body(BOB_READS)).status == 200
    refused(cast.bob.post(path, body({**alices, "resource": "server:8"})), 403, "forbidden")
    refused(cast.bob.post(path, body({**alices, "resource": None})), 403, "forbidden")
    refused(cast.charlie.post(path, body(BOB_READS)), 403, "forbidden")
    refused(cast.nobody.post(path, body(BOB_READS)), 401, "unauthenticated")


def test_people_assert_nothing_and_keys_what_their_mode_lets_them(cast: Cast) -> None:
    apply(
        """
        bindings:
          - {subject: "user:charlie", allow: ["post:read"], condition: "subject.attributes.level == 3"}
          - {subject: "team:care", allow: ["post:purge"], scope: "server:7"}
        """
    )
    asked = {"subject": "user:charlie", "permission": "post:read", "subject_properties": {"level": 3}}
    answer = cast.charlie.post("check", asked).json
    assert (answer["allowed"], answer["reason"]) == (False, "condition_error")
    assert cast.plain_key.post("check", asked).json["allowed"] is True
    assert with_key(make_key("deaf", asserted="ignore")).post("check", asked).json["allowed"] is False
    # A caller who fills in names the parent of what the realm has never seen.
    unseen = {
        "subject": "user:bob",
        "permission": "post:purge",
        "resource": "post:1",
        "resource_properties": {"parent": "server:7"},
    }
    assert cast.plain_key.post("check", unseen).json["allowed"] is True
    assert cast.bob.post("check", unseen).json["allowed"] is False
    teams = {
        "subject": "user:charlie",
        "permission": "post:purge",
        "resource": "server:7",
        "subject_properties": {"teams": ["team:care"]},
    }
    assert cast.plain_key.post("check", teams).json["allowed"] is False
    assert with_key(make_key("loud", asserted="override")).post("check", teams).json["allowed"] is True


def test_context_reaches_conditions(cast: Cast) -> None:
    apply('bindings:\n  - {subject: "user:charlie", allow: ["post:read"], condition: "context.mfa == true"}\n')
    asked = {"subject": "user:charlie", "permission": "post:read"}
    assert cast.plain_key.post("check", {**asked, "context": {"mfa": True}}).json["allowed"] is True
    assert cast.plain_key.post("check", {**asked, "context": {"mfa": False}}).json["reason"] == "condition_false"
    assert cast.plain_key.post("check", asked).json["reason"] == "condition_error"


def test_a_later_instant_sees_later_windows(cast: Cast) -> None:
    apply(f'bindings:\n  - {{subject: "user:charlie", role: reader, {WINDOW}}}\n')
    asked = {"subject": "user:charlie", "permission": "post:read"}
    checks = [asked, {**asked, "at": "2090-06-01T00:00:00Z"}, {**asked, "at": "2092-01-01T00:00:00+02:00"}]
    assert [cast.plain_key.post("check", one).json["reason"] for one in checks] == ["not_yet_valid", "granted", "expired"]
    batch = cast.plain_key.post("check/batch", {"checks": checks}).json["results"]
    assert [one["reason"] for one in batch] == ["not_yet_valid", "granted", "expired"]
    assert cast.plain_key.post("explain", checks[1]).json["allowed"] is True


def test_a_batch_answers_in_order_and_equals_single_checks(cast: Cast) -> None:
    checks = [
        {"subject": subject, "permission": permission, "resource": resource}
        for subject in ("user:alice", "user:bob", "user:charlie")
        for permission in ("post:read", "post:edit")
        for resource in (None, "channel:9", "server:8")
    ]
    batch = cast.plain_key.post("check/batch", {"checks": checks}).json["results"]
    singles = [cast.plain_key.post("check", one).json for one in checks]
    assert [(b["allowed"], b["reason"]) for b in batch] == [(s["allowed"], s["reason"]) for s in singles]
    assert len({one["revision"] for one in batch}) == 1
    expected = pdp.check_many(checks)
    assert [one["allowed"] for one in batch] == [bool(decision) for decision in expected]


def test_an_empty_batch_has_no_results(cast: Cast) -> None:
    assert cast.plain_key.post("check/batch", {"checks": []}).json == {"results": []}


def test_a_batch_holds_a_thousand(cast: Cast) -> None:
    assert len(cast.plain_key.post("check/batch", {"checks": [BOB_READS] * 1000}).json["results"]) == 1000
    answer = cast.plain_key.post("check/batch", {"checks": [BOB_READS] * 1001})
    refused(answer, 400, "invalid")
    assert "at most 1000" in answer.places()["checks"]


def test_explain_tells_the_path_or_what_is_missing(cast: Cast) -> None:
    allowed = cast.plain_key.post("explain", BOB_READS).json
    assert (allowed["allowed"], allowed["reason"]) == (True, "granted")
    assert "caretaker" in str(allowed["path"]) and "team:care" in str(allowed["path"])
    denied = cast.plain_key.post("explain", {**BOB_READS, "resource": "server:8"}).json
    assert (denied["allowed"], denied["reason"]) == (False, "no_grant")
    assert denied["nearest"]
    for one in (allowed, denied):
        check = cast.plain_key.post("check", {**BOB_READS, "resource": "channel:9" if one is allowed else "server:8"}).json
        assert {key: one[key] for key in ("allowed", "reason", "revision")} == {
            k: check[k] for k in ("allowed", "reason", "revision")
        }


# Tokens.


@pytest.mark.django_db(transaction=True)
def test_a_revokes_token_ends_the_grant_in_the_next_check(cast: Cast) -> None:
    made = cast.alice.post("bindings/", {"subject": "user:charlie", "role": "reader"})
    asked = {"subject": "user:charlie", "permission": "post:read"}
    granted = cast.plain_key.post("check", asked, X_Permission_Token=made.headers[HEADER])
    assert granted.json["allowed"] is True
    assert revisions.parse(granted.headers[HEADER]).rev >= revisions.parse(made.headers[HEADER]).rev
    gone = cast.alice.delete(item("bindings", made.json["id"]))
    revoked = cast.plain_key.post("check", asked, X_Permission_Token=gone.headers[HEADER])
    assert revoked.json["allowed"] is False
    assert revoked.json["revision"] >= revisions.parse(gone.headers[HEADER]).rev
    for path, body in (("check/batch", {"checks": [asked]}), ("explain", asked)):
        answer = cast.plain_key.post(path, body, X_Permission_Token=gone.headers[HEADER])
        assert revisions.parse(answer.headers[HEADER]).rev >= revisions.parse(gone.headers[HEADER]).rev
    # The token that came back is one that may be sent again.
    assert cast.plain_key.post("check", asked, X_Permission_Token=revoked.headers[HEADER]).status == 200


def test_full_asks_for_the_newest_state(cast: Cast) -> None:
    answer = cast.plain_key.post("check", BOB_READS, X_Permission_Token="full")
    assert answer.status == 200
    assert revisions.parse(answer.headers[HEADER]).rev == revisions.head("default").rev


MALFORMED = ["nonsense", "v1.1.aaaaaaaa.1.AAAA", "FULL", "x" * 5000, "v1.…", ""]


def test_a_malformed_token_is_refused(cast: Cast) -> None:
    for path, token in itertools.product(["check", "check/batch", "explain"], MALFORMED):
        body = {"checks": [BOB_READS]} if path == "check/batch" else BOB_READS
        answer = cast.plain_key.post(path, body, X_Permission_Token=token)
        assert answer.status == 400
        assert HEADER in str(answer.problem)


def test_a_token_from_the_future_is_a_conflict(cast: Cast) -> None:
    head = revisions.head("default")
    ahead = revisions.mint(Head(head.realm_id, head.name, head.epoch, head.rev + 1000, head.stamp))
    refused(cast.plain_key.post("check", BOB_READS, X_Permission_Token=ahead), 409, "token_from_future")


def test_a_token_of_another_realm_is_refused(cast: Cast) -> None:
    apply("realm: acme\n")
    foreign = revisions.mint(revisions.head("acme"))
    refused(cast.plain_key.post("check", BOB_READS, X_Permission_Token=foreign), 400, "invalid_request")


# Bad input.


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"subject": None}, ""),
    ({"permission": None}, ""),
    ({"subject": 5}, "subject"),
    ({"subject": {"type": "user", "id": "bob"}}, "subject"),
    ({"permission": ["post:read"]}, "permission"),
    ({"resource": 7}, "resource"),
    ({"context": []}, "context"),
    ({"context": None}, "context"),
    ({"subject_properties": "x"}, "subject_properties"),
    ({"at": "yesterday"}, "at"),
    ({"at": 5}, "at"),
    ({"at": "2090-01-01T00:00:00"}, "at"),
    ({"colour": "red"}, "colour"),
]


def test_a_wrong_key_is_refused_with_its_place(cast: Cast) -> None:
    for change, place in WRONG:
        answer = cast.plain_key.post("check", {**BOB_READS, **change})
        refused(answer, 400, "invalid")
        assert place in answer.places()
        batch = cast.plain_key.post("check/batch", {"checks": [BOB_READS, {**BOB_READS, **change}]})
        refused(batch, 400, "invalid")
        assert (f"checks[1].{place}" if place else "checks[1]") in batch.places()


UNDECIDABLE: list[dict[str, Any]] = [
    {"subject": "bob"},
    {"subject": "user:*"},
    {"subject": "user:\x00"},
    {"subject": ""},
    {"permission": "post:*"},
    {"permission": "post"},
    {"resource": "server:*"},
    {"resource": "x" * 600},
    {"context": {"list": [0] * 1001}},
    {"at": "2001-01-01T00:00:00Z"},
]


def test_a_question_that_cannot_be_decided_is_a_400(cast: Cast) -> None:
    for change in UNDECIDABLE:
        refused(cast.plain_key.post("check", {**BOB_READS, **change}), 400, "invalid_request")
        refused(cast.plain_key.post("explain", {**BOB_READS, **change}), 400, "invalid_request")
        refused(cast.plain_key.post("check/batch", {"checks": [{**BOB_READS, **change}]}), 400, "invalid_request")


SHAPES: list[Any] = [[], "x", 5, None, {"checks": {}}, {"checks": None}, {"checks": [None]}, {"checks": ["x"]}, {}, {"check": []}]


def test_a_batch_of_another_shape_is_a_400(cast: Cast) -> None:
    for body in SHAPES:
        answer = cast.plain_key.send("POST", "check/batch", body)
        assert answer.status == 400
        assert answer.problem["detail"]
