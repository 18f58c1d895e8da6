"""Who may do what through the API: people, keys of each kind, and what each is told when refused."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth.models import User

from permissions.models import ApiKey, AuditEvent
from permissions.revisions import HEADER
from tests.permissions.api.world import Api, Cast, item, make_key, person, refused, with_key
from tests.worlds import apply

pytestmark = pytest.mark.django_db

BINDING = {"subject": "user:dana", "role": "reader", "scope": "channel:9"}


def last_entry() -> AuditEvent:
    entry = AuditEvent.objects.first()
    assert entry is not None
    return entry


# Bob manages below one server.


def test_bob_hands_out_what_he_holds_where_he_holds_it(cast: Cast) -> None:
    answer = cast.bob.post("bindings/", BINDING)
    assert answer.status == 201
    assert cast.bob.get(item("bindings", answer.json["id"])).json == answer.json
    assert last_entry().actor == "user:bob"
    assert cast.bob.delete(item("bindings", answer.json["id"])).status == 204


def test_bob_is_refused_elsewhere(cast: Cast) -> None:
    refused(cast.bob.post("bindings/", {**BINDING, "scope": "server:8"}), 403, "forbidden")
    refused(cast.bob.post("bindings/", {"subject": "user:dana", "role": "reader"}), 403, "forbidden")
    refused(cast.bob.post("roles/", {"name": "mine", "permissions": ["*"]}), 403, "forbidden")


def test_bob_hands_out_no_more_than_he_holds(cast: Cast) -> None:
    for body in (
        {**BINDING, "role": "editor"},
        {"subject": "user:bob", "allow": ["*"], "scope": "server:7"},
        {"subject": "user:bob", "allow": ["post:*"], "scope": "channel:9"},
        {"subject": "user:dana", "role": "administrator", "scope": "channel:9"},
    ):
        answer = cast.bob.post("bindings/", body)
        refused(answer, 403, "escalation")
        assert answer.problem["type"] == "/problems/escalation"
        assert HEADER not in answer.headers


def test_bob_sees_the_rows_of_his_server_alone(cast: Cast) -> None:
    assert [row["id"] for row in cast.bob.all("resources/")] == ["channel:9", "server:7"]
    assert {row.get("scope") for row in cast.bob.all("bindings/")} == {"server:7"}
    assert [row["id"] for row in cast.alice.all("resources/")] == ["channel:9", "server:7", "server:8"]
    refused(cast.bob.get("resources/server:8/"), 403, "forbidden")
    # What is not there is refused like what is hidden: the answer tells nobody which it is.
    refused(cast.bob.get("resources/server:999/"), 403, "forbidden")
    assert cast.bob.get("resources/?type=nothing").json == {"results": [], "next": None}


def test_what_bob_may_see_is_paged_without_a_gap(cast: Cast) -> None:
    apply(
        "resources:\n"
        + "".join(f'  - {{id: "doc:{n:04}", parent: "{"server:7" if n % 3 == 0 else "server:8"}"}}\n' for n in range(60))
    )
    seen = [row["id"] for row in cast.bob.all("resources/?limit=7&type=doc")]
    assert seen == [f"doc:{n:04}" for n in range(0, 60, 3)]
    assert [row["id"] for row in cast.bob.all("resources/?limit=7&type=doc&ordering=-id")] == seen[::-1]


def test_a_long_way_to_the_next_visible_row_is_walked_in_parts(cast: Cast, monkeypatch: pytest.MonkeyPatch) -> None:
    from permissions.api import nouns

    monkeypatch.setattr(nouns, "CHUNK", 5)
    monkeypatch.setattr(nouns, "MAX_LOOKED_AT", 10)
    lines = [f'  - {{id: "doc:{n:04}", parent: "server:{7 if n == 40 else 8}"}}\n' for n in range(50)]
    apply("resources:\n" + "".join(lines))
    first = cast.bob.get("resources/?type=doc").json
    assert first["results"] == []
    assert first["next"]
    assert [row["id"] for row in cast.bob.all("resources/?type=doc")] == ["doc:0040"]


def test_a_patch_takes_the_view_of_what_it_changes(cast: Cast) -> None:
    apply(
        """
        roles:
          - {name: blind, permissions: ["permsite.group:change", "post:*"]}
        bindings:
          - {subject: "user:charlie", role: blind}
        """
    )
    refused(cast.charlie.patch("groups/content/", {"title": "Mine"}), 403, "forbidden")
    assert cast.charlie.put("groups/content/", {"name": "content", "permissions": ["post:read"]}).status == 200


# Keys.


def test_a_key_acts_as_its_subject(cast: Cast) -> None:
    answer = cast.bobs_key.post("bindings/", BINDING)
    assert answer.status == 201
    assert (last_entry().actor, last_entry().actor_kind) == ("key:bobs", "key")
    refused(cast.bobs_key.post("bindings/", {**BINDING, "role": "editor"}), 403, "escalation")
    refused(cast.bobs_key.get("roles/"), 403, "forbidden")
    assert [row["id"] for row in cast.bobs_key.all("resources/")] == ["channel:9", "server:7"]


def test_an_administrators_key_is_audited_as_one(cast: Cast) -> None:
    assert cast.admin_key.post("roles/", {"name": "any", "permissions": ["*"]}).status == 201
    assert (last_entry().actor, last_entry().actor_kind) == ("key:admin", "administrator")


def test_a_superuser_is_break_glass_and_audited_as_one(cast: Cast) -> None:
    assert cast.root.post("roles/?reason=the%20house%20burns", {"name": "any"}).status == 201
    entry = last_entry()
    assert (entry.actor, entry.actor_kind, entry.reason) == ("user:root", "administrator", "the house burns")


def test_the_audit_names_the_request(cast: Cast) -> None:
    answer = cast.root.post("roles/", {"name": "any"}, X_Request_ID="abc-1")
    assert answer.headers["X-Request-ID"] == "abc-1"
    assert last_entry().request_id == "abc-1"


def test_a_key_is_made_once_shown_once_and_works(cast: Cast) -> None:
    made = cast.root.post("keys/", {"name": "ci", "subject": "user:alice", "asserted": "ignore"})
    assert made.status == 201
    assert made.headers["Cache-Control"] == "no-store"
    plain = made.json["key"]
    assert with_key(plain).get("roles/").status == 200
    read = cast.root.get(made.headers["Location"])
    assert read.json == {key: value for key, value in made.json.items() if key != "key"}
    for body in (read.body, cast.root.get("keys/").body, cast.root.get("audit/").body):
        assert plain.encode() not in body
        assert plain.rpartition("_")[2].encode() not in body
        assert ApiKey.objects.get(name="ci").digest.encode() not in body


def test_a_revoked_key_stops_and_cannot_be_revoked_twice(cast: Cast) -> None:
    made = cast.root.post("keys/", {"name": "ci", "admin": True}).json
    caller = with_key(made["key"])
    assert caller.get("roles/").status == 200
    assert cast.root.delete(item("keys", made["id"])).status == 204
    refused(caller.get("roles/"), 401, "unauthenticated")
    refused(caller.post("check", {"subject": "user:bob", "permission": "post:read"}), 401, "unauthenticated")
    refused(cast.root.delete(item("keys", made["id"])), 409, "conflict")
    assert cast.root.get(item("keys", made["id"])).json["revoked_at"]
    assert [row["name"] for row in cast.root.all("keys/?revoked=true")] == ["ci"]


def test_a_key_cannot_be_made_for_more_than_its_author_holds(cast: Cast) -> None:
    apply(
        """
        roles:
          - {name: keymaker, permissions: ["permsite.key:*"]}
        bindings:
          - {subject: "user:charlie", role: keymaker}
        """
    )
    assert cast.charlie.post("keys/", {"name": "ask"}).status == 201
    for body in ({"subject": "user:alice"}, {"admin": True}, {"asserted": "override"}):
        refused(cast.charlie.post("keys/", {"name": "more", **body}), 403, "escalation")


WRONG_KEYS: list[tuple[Any, str]] = [
    ({}, ""),
    ({"name": ""}, "name"),
    ({"name": 5}, "name"),
    ({"name": "x", "subject": "nocolon"}, "subject"),
    ({"name": "x", "asserted": "shout"}, "asserted"),
    ({"name": "x", "admin": "yes"}, "admin"),
    ({"name": "x", "valid_until": "soon"}, "valid_until"),
    ({"name": "x", "valid_until": "2001-01-01T00:00:00Z"}, "valid_until"),
    ({"name": "x", "admin": True, "subject": "user:bob"}, "subject"),
    ({"name": "x", "colour": "red"}, "colour"),
    ([], ""),
]


def test_a_wrong_key_line_is_refused_with_its_place(cast: Cast) -> None:
    for body, place in WRONG_KEYS:
        answer = cast.root.send("POST", "keys/", body)
        refused(answer, 400, "invalid")
        assert place in answer.places()


@pytest.mark.parametrize(
    "header", ["Bearer nonsense", "Bearer ", "ps_aaaaaaaa_" + "b" * 43, "Bearer ps_" + "x" * 5000, "Basic YTpi"]
)
def test_an_unknown_key_is_nobody(cast: Cast, header: str) -> None:
    refused(Api(headers={"Authorization": header}).get("roles/"), 401, "unauthenticated")


# Realms.


def test_a_key_belongs_to_its_realm(cast: Cast) -> None:
    apply("realm: acme\nroles:\n  - {name: boss, permissions: ['*']}\n")
    acme = with_key(make_key("acme", realm="acme", is_admin=True))
    assert [row["name"] for row in acme.all("roles/")] == ["boss"]
    assert acme.get("roles/?realm=acme").status == 200
    refused(acme.get("roles/?realm=default"), 403, "forbidden")
    refused(acme.post("check?realm=default", {"subject": "user:alice", "permission": "post:read"}), 403, "forbidden")
    # An administrator's key of another realm than the control realm sees and makes none but its own.
    assert [row["name"] for row in acme.all("realms/")] == ["acme"]
    assert acme.get("realms/acme/").status == 200
    refused(acme.get("realms/default/"), 403, "forbidden")
    refused(acme.get("realms/nowhere/"), 403, "forbidden")
    refused(acme.delete("realms/default/"), 403, "forbidden")
    refused(acme.post("realms/", {"name": "another"}), 403, "forbidden")
    assert [row["name"] for row in cast.admin_key.all("realms/")] == ["acme", "default"]


def test_a_person_names_the_realm(cast: Cast) -> None:
    apply(
        """
        realm: acme
        roles:
          - {name: boss, permissions: ["*", "permsite.*:*"]}
        bindings:
          - {subject: "user:charlie", role: boss}
        """
    )
    assert [row["name"] for row in cast.charlie.all("roles/?realm=acme")] == ["boss"]
    refused(cast.charlie.get("roles/"), 403, "forbidden")
    refused(cast.alice.get("roles/?realm=acme"), 403, "forbidden")
    assert cast.charlie.post("roles/?realm=acme", {"name": "clerk"}).status == 201
    assert [row["name"] for row in cast.root.all("roles/")] == ["administrator", "caretaker", "editor", "reader"]
    assert [row["name"] for row in cast.charlie.all("realms/")] == ["acme"]
    assert [row["name"] for row in cast.alice.all("realms/")] == ["default"]
    refused(cast.alice.get("realms/acme/"), 403, "forbidden")
    refused(cast.root.get("roles/?realm=nowhere"), 404, "not_found")
    refused(cast.root.get("roles/?realm=%00"), 400, "bad_request")


def test_a_new_realm_answers_at_once(cast: Cast) -> None:
    made = cast.root.post("realms/", {"name": "fresh"})
    assert made.status == 201
    token = made.headers[HEADER]
    asked = cast.root.post("check?realm=fresh", {"subject": "user:root", "permission": "post:read"}, X_Permission_Token=token)
    assert (asked.status, asked.json["allowed"]) == (200, False)
    refused(cast.root.post("roles/?realm=fresh", {"name": "r", "inherits": ["editor"]}), 400, "invalid")


def test_the_last_administrator_cannot_lock_themselves_out(cast: Cast) -> None:
    (own,) = cast.alice.all("bindings/?subject=user:alice")
    answer = cast.alice.delete(item("bindings", own["id"]))
    refused(answer, 409, "last_administrator")
    assert cast.alice.get("roles/").status == 200


# Sessions.


def test_a_session_needs_its_csrf_token_to_write(cast: Cast) -> None:
    alice = person("alice", csrf=True)
    assert alice.get("roles/").status == 200
    refused(alice.post("roles/", {"name": "any"}), 403, "forbidden")
    refused(alice.delete("roles/reader/"), 403, "forbidden")
    refused(alice.post("check", {"subject": "user:alice", "permission": "post:read"}), 403, "forbidden")
    alice.client.cookies["csrftoken"] = "c" * 32
    assert alice.post("roles/", {"name": "any"}, X_CSRFToken="c" * 32).status == 201


def test_a_missing_csrf_token_is_a_problem_document_wherever_it_is_missed(cast: Cast) -> None:
    alice = person("alice", csrf=True)
    refused(alice.post("/api/v1/nothing", {}), 404, "not_found")
    refused(alice.post("keys/", {"name": "x"}), 403, "forbidden")
    assert alice.send("POST", "/api/schema/").status == 405


def test_no_answer_may_be_kept_by_a_cache(cast: Cast) -> None:
    for answer in (cast.root.get("roles/"), cast.charlie.get("roles/"), cast.nobody.get("roles/"), cast.root.get("menu/")):
        assert answer.headers["Cache-Control"] == "no-store"


def test_a_key_needs_no_csrf_token(cast: Cast) -> None:
    key = with_key(make_key("more", is_admin=True))
    key.client.handler.enforce_csrf_checks = True
    assert key.post("roles/", {"name": "any"}).status == 201


def test_an_account_that_was_switched_off_is_nobody(cast: Cast) -> None:
    User.objects.filter(username="alice").update(is_active=False)
    refused(cast.alice.get("roles/"), 401, "unauthenticated")


def test_a_locked_subject_manages_nothing(cast: Cast) -> None:
    assert cast.root.patch("subjects/user:bob/", {"locked": True}).status == 200
    refused(cast.bob.get("resources/"), 403, "forbidden")
    refused(cast.bobs_key.post("bindings/", BINDING), 403, "forbidden")
