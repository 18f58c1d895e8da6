"""interfaces.md, "HTTP", /api/v1: lines as in a bundle, checks, tokens, problems, who may ask, the menu."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client

from permissions import pdp
from permissions.revisions import head, mint
from tests.conformance.law.http import TOKEN, Api, key, path_of, person, reset
from tests.worlds import apply

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.both_databases]

WORLD = """
permissions:
  - {code: "post:read", title: "Read", menu: "content/posts"}
  - {code: "post:edit", menu: "content/posts"}
  - {code: "post:purge", menu: "danger"}
roles:
  - {name: reader, permissions: ["post:read"]}
  - {name: administrator, permissions: ["*", "permsite.*:*"]}
teams: [{id: "team:care", members: ["user:bob"]}]
resources: [{id: "server:7"}, {id: "channel:9", parent: "server:7"}, {id: "server:8"}]
bindings:
  - {subject: "user:alice", role: administrator}
  - {subject: "team:care", role: reader, scope: "server:7"}
  - {subject: "team:care", allow: ["permsite.decision:ask"], scope: "server:7"}
  - {subject: "user:attr", allow: ["post:read"], condition: "context.mfa == true"}
  - {subject: "user:later", allow: ["post:read"], valid_from: "2090-01-01T00:00:00Z"}
"""


@pytest.fixture
def admin() -> Api:
    for name in ("alice", "bob", "charlie"):
        User.objects.create_user(name)
    reset(WORLD)
    return key("admin", "--admin")


LINES: list[tuple[str, str, dict[str, Any], dict[str, Any]]] = [
    (
        "permissions",
        "code",
        {"code": "doc:sign", "title": "Sign", "requires": ["post:read"], "menu": "docs", "critical": True},
        {"title": "S"},
    ),
    ("groups", "name", {"name": "docs", "permissions": ["doc:sign", "doc:*"]}, {"permissions": ["doc:sign"]}),
    (
        "roles",
        "name",
        {
            "name": "signer/1",
            "inherits": ["reader"],
            "groups": ["docs"],
            "permissions": ["doc:see", {"code": "doc:mfa", "condition": "context.mfa == true"}],
            "exclude": ["doc:x"],
            "deny": ["doc:y"],
            "valid_until": "2090-01-01T00:00:00Z",
        },
        {"deny": []},
    ),
    ("subjects", "id", {"id": "service:a/b c", "attributes": {"n": 1, "f": 1.5}, "active": False}, {"active": True}),
    (
        "teams",
        "id",
        {"id": "group:ops", "members": ["user:bob", {"id": "user:eve", "valid_until": "2090-01-01T00:00:00Z"}]},
        {"members": []},
    ),
    (
        "resources",
        "id",
        {"id": "repo:openfga/openfga", "parent": "server:8", "attributes": {"a": [1]}, "inherit": False},
        {"inherit": True},
    ),
    (
        "bindings",
        "",
        {
            "subject": "team:care",
            "role": "reader",
            "scope": "channel:9",
            "condition": "resource.attributes.owner == subject.ref",
            "valid_from": "2026-01-01T00:00:00Z",
            "valid_until": "2026-12-31T00:00:00Z",
            "reason": "project x",
        },
        {"reason": "y"},
    ),
    ("bindings", "", {"subject": "user:bob", "deny": ["post:*"], "scope": "channel:9", "propagate": False}, {"propagate": True}),
    ("bindings", "", {"subject": "user:*", "allow": ["post:read"], "deny": ["post:edit"]}, {"deny": []}),
]


def _canonical(line: dict[str, Any]) -> dict[str, Any]:
    """Lists of a line are sets: their order is the server's."""
    return {name: sorted(map(str, value)) if isinstance(value, list) else value for name, value in line.items()}


def test_every_noun_takes_and_answers_the_line_of_a_bundle(admin: Api) -> None:
    for section, name, line, patch in LINES:
        made = admin("POST", f"{section}/", line)
        assert made.status_code == 201, (section, made.content)
        assert made.headers[TOKEN].startswith("v1.")
        body = made.json()
        ident = body.pop("id") if section == "bindings" else body[name]
        assert _canonical(body) == _canonical(line), section
        path = path_of(section, ident)
        found = admin.done(200, "GET", path)
        found = {k: v for k, v in found.items() if section != "bindings" or k != "id"}
        assert found == body
        changed = admin("PATCH", path, patch)
        assert changed.status_code == 200, changed.content
        assert changed.headers[TOKEN]
        assert all(changed.json().get(k, v) == v for k, v in patch.items())
        put = admin("PUT", path, line)
        assert put.status_code == 200, put.content
        assert {k: v for k, v in put.json().items() if section != "bindings" or k != "id"} == body
        if name:
            admin.refused(409, "conflict", "POST", f"{section}/", line)
        rows = admin.done(200, "GET", f"{section}/?limit=200")["results"]
        assert any(row.get(name or "id") == ident for row in rows)
    for section, name, line, _ in reversed([row for row in LINES if row[1]]):
        gone = admin("DELETE", path_of(section, line[name]))
        assert gone.status_code == 204, (section, gone.content)
        assert gone.headers[TOKEN]
        admin.refused(404, "not_found", "GET", path_of(section, line[name]))
        admin.refused(404, "not_found", "DELETE", path_of(section, line[name]))


def test_two_equal_bindings_have_two_ids(admin: Api) -> None:
    line = {"subject": "user:bob", "role": "reader"}
    first, second = (admin.done(201, "POST", "bindings/", line) for _ in range(2))
    assert first["id"] != second["id"]
    admin.done(204, "DELETE", path_of("bindings", first["id"]))
    assert admin.check("user:bob", "post:read") == "granted"
    admin.done(204, "DELETE", path_of("bindings", second["id"]))
    assert admin.check("user:bob", "post:read") == "no_grant"


def test_bad_lines_are_told_by_place_and_change_nothing(admin: Api) -> None:
    before = head("default").rev
    for section, line, where in (
        ("bindings", {"subject": "user:a", "role": "missing"}, "role"),
        ("bindings", {"subject": "user:a", "role": "reader", "colour": 1}, "colour"),
        ("bindings", {"subject": "user:a"}, ""),
        ("bindings", {"role": "reader"}, "subject"),
        ("bindings", {"subject": "nocolon", "role": "reader"}, "subject"),
        ("bindings", {"subject": "user:a", "allow": ["p:a"], "condition": "1 +"}, "condition"),
        ("bindings", {"subject": "user:a", "allow": ["p:a"], "valid_from": "x"}, "valid_from"),
        ("bindings", {"subject": "user:a", "allow": ["p:a"], "scope": "server:*"}, "scope"),
        ("roles", {"name": "x", "inherits": ["missing"]}, "inherits"),
        ("roles", {"name": "x", "permissions": [7]}, "permissions"),
        ("permissions", {"code": "post:*"}, "code"),
        ("subjects", {"id": "user:*"}, "id"),
        ("resources", {"id": "x:1", "inherit": "no"}, "inherit"),
        ("teams", {"id": "team:x", "members": ["nocolon"]}, "members"),
    ):
        problem = admin.refused(400, "invalid", "POST", f"{section}/", line)
        assert where in json.dumps(problem), problem
    for body in (b"{", b"[]", b'"x"', b'{"subject": "user:a", "subject": "user:b", "role": "reader"}', b"\xff"):
        assert admin("POST", "bindings/", body).status_code == 400, body
    assert head("default").rev == before


def test_cycles_and_what_is_in_use_are_conflicts(admin: Api) -> None:
    admin.done(201, "POST", "roles/", {"name": "a", "inherits": ["reader"]})
    for method, path, body in (
        ("PATCH", "roles/reader/", {"inherits": ["a"]}),
        ("PATCH", "resources/server:7/", {"parent": "channel:9"}),
        ("PATCH", "teams/team:care/", {"members": ["team:care"]}),
    ):
        answer = admin(method, path, body)
        assert answer.status_code in {400, 409}, (path, answer.content)
    assert admin.done(200, "GET", "roles/reader/").get("inherits", []) == []


def test_a_check_answers_decision_reason_revision_and_source(admin: Api) -> None:
    asking = key("pep")
    body = asking.done(200, "POST", "check", {"subject": "user:bob", "permission": "post:read", "resource": "channel:9"})
    assert set(body) == {"allowed", "reason", "revision", "source"}
    assert body["allowed"] is True
    assert body["revision"] == head("default").rev
    assert body["source"] in {"l1", "redis", "db", "live"}
    for subject, permission, resource, reason in (
        ("user:bob", "post:read", None, "no_grant"),
        ("user:bob", "post:purge", "channel:9", "no_grant"),
        ("user:bob", "post:nonsense", "channel:9", "unknown_permission"),
        ("user:ghost", "post:read", "channel:9", "unknown_subject"),
        ("team:care", "post:read", "channel:9", "granted"),
        ("user:attr", "post:read", None, "condition_error"),
        ("user:later", "post:read", None, "not_yet_valid"),
    ):
        assert asking.check(subject, permission, resource) == reason
    assert asking.check("user:attr", "post:read", context={"mfa": True}) == "granted"
    assert asking.check("user:later", "post:read", at="2090-01-01T00:00:00Z") == "granted"
    assert asking.check("user:later", "post:read", at="2089-12-31T23:59:59Z") == "not_yet_valid"
    one = {"subject": "user:bob", "permission": "post:read", "resource": "channel:9"}
    results = asking.done(
        200, "POST", "check/batch", {"checks": [one, {**one, "resource": "server:8"}, {**one, "subject": "user:x"}]}
    )
    assert [row["reason"] for row in results["results"]] == ["granted", "no_grant", "unknown_subject"]
    assert asking.done(200, "POST", "check/batch", {"checks": []})["results"] == []
    explained = asking.done(200, "POST", "explain", one)
    assert (explained["allowed"], explained["reason"]) == (True, "granted")
    assert "team:care" in json.dumps(explained["path"])
    assert asking.done(200, "POST", "explain", {**one, "resource": "server:8"})["nearest"] is not None


def test_a_malformed_check_is_a_400(admin: Api) -> None:
    good = {"subject": "user:bob", "permission": "post:read"}
    for body in (
        {"subject": "user:bob"},
        {"permission": "post:read"},
        {**good, "permission": "post:*"},
        {**good, "subject": "user:*"},
        {**good, "resource": "post:*"},
        {**good, "subject": "bob"},
        {**good, "subject": 7},
        {**good, "context": []},
        {**good, "context": {"l": list(range(1001))}},
        {**good, "at": "yesterday"},
        {**good, "at": "2090-01-01T00:00:00"},
        {**good, "permission": "post:e\u0301"},
    ):
        assert admin("POST", "check", body).status_code == 400, body
        assert admin("POST", "explain", body).status_code == 400, body
        answer = admin("POST", "check/batch", {"checks": [good, body]})
        assert answer.status_code == 400 or "results" in answer.json(), body
    for raw in (b"{", b"[]", b"null", b""):
        assert admin("POST", "check", raw or None).status_code == 400, raw
    assert admin("POST", "check/batch", {"checks": [good] * 1001}).status_code == 400
    assert len(admin.done(200, "POST", "check/batch", {"checks": [good] * 1000})["results"]) == 1000
    assert admin("GET", "check").status_code == 405


def test_tokens_go_in_and_out(admin: Api) -> None:
    asking = key("pep")
    one = {"subject": "user:charlie", "permission": "post:read"}
    made = admin("POST", "bindings/", {"subject": "user:charlie", "role": "reader"})
    token = made.headers[TOKEN]
    answer = asking("POST", "check", one, X_Permission_Token=token)
    assert answer.json()["allowed"] is True
    assert answer.headers[TOKEN]
    revoked = admin("DELETE", path_of("bindings", made.json()["id"]))
    answer = asking("POST", "check", one, X_Permission_Token=revoked.headers[TOKEN])
    assert answer.json()["allowed"] is False
    assert asking("POST", "check", one, X_Permission_Token="full").json()["allowed"] is False
    assert asking("POST", "check", one, X_Permission_Token=token).status_code == 200
    assert TOKEN not in asking("POST", "check", one).headers
    assert asking("POST", "check", one, X_Permission_Token="garbage").status_code == 400
    future = mint(replace(head("default"), rev=head("default").rev + 1000))
    asking.refused(409, "token_from_future", "POST", "check", one, X_Permission_Token=future)
    apply("realm: other\nsubjects: [{id: 'user:o'}]")
    foreign = apply("realm: other\nsubjects: [{id: 'user:p'}]").token
    assert asking("POST", "check", one, X_Permission_Token=str(foreign)).status_code == 400
    for known in (token, revoked.headers[TOKEN]):
        assert asking("POST", "check/batch", {"checks": [one]}, X_Permission_Token=known).headers[TOKEN]


def test_who_may_ask(admin: Api) -> None:
    mine = {"subject": "user:charlie", "permission": "post:read"}
    about_bob = {"subject": "user:bob", "permission": "post:read", "resource": "channel:9"}
    charlie, bob, alice = person("charlie"), person("bob"), person("alice")
    for path in ("check", "explain"):
        charlie.done(200, "POST", path, mine)
        charlie.refused(403, "forbidden", "POST", path, about_bob)
        alice.done(200, "POST", path, about_bob)
        bob.done(200, "POST", path, {**mine, "resource": "channel:9"})
        bob.refused(403, "forbidden", "POST", path, {**mine, "resource": "server:8"})
        bob.refused(403, "forbidden", "POST", path, mine)
    charlie.refused(403, "forbidden", "POST", "check/batch", {"checks": [mine, about_bob]})
    key("pep").done(200, "POST", "check", about_bob)
    for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": "Basic eDp5"}):
        assert Api(headers)("POST", "check", mine).status_code == 401


def test_people_assert_nothing_and_keys_what_their_mode_lets_them(admin: Api) -> None:
    apply('bindings: [{subject: "user:charlie", allow: ["post:edit"], condition: "subject.attributes.role == \'admin\'"}]')
    lie: dict[str, Any] = {"subject_properties": {"role": "admin", "teams": ["team:care"]}}
    for asker, reason in (
        (person("charlie"), "condition_error"),
        (key("fill"), "granted"),
        (key("override", "--asserted", "override"), "granted"),
        (key("ignore", "--asserted", "ignore"), "condition_error"),
    ):
        assert asker.check("user:charlie", "post:edit", **lie) == reason
        one = {"subject": "user:charlie", "permission": "post:edit", **lie}
        assert asker.done(200, "POST", "check/batch", {"checks": [one]})["results"][0]["reason"] == reason
        assert asker.done(200, "POST", "explain", one)["reason"] == reason
    assert key("o2", "--asserted", "override").check("user:charlie", "post:read", "server:7", **lie) == "granted"
    assert key("f2").check("user:charlie", "post:read", "server:7", **lie) == "no_grant"


def test_a_key_lives_in_its_realm_and_shows_itself_once(admin: Api) -> None:
    apply("realm: other\nbindings: [{subject: 'user:olga', allow: ['post:read']}]\nresources: [{id: 'server:9'}]")
    other = key("o", "--realm", "other", "--admin")
    assert other.check("user:olga", "post:read") == "granted"
    assert other.check("user:bob", "post:read", "channel:9") == "unknown_subject"
    assert [row["id"] for row in other.done(200, "GET", "resources/")["results"]] == ["server:9"]
    other.refused(404, "not_found", "GET", "resources/server:7/")
    other.refused(404, "not_found", "DELETE", "roles/reader/")
    assert admin.done(200, "GET", "roles/reader/")["name"] == "reader"
    made = admin("POST", "keys/", {"name": "ci", "asserted": "ignore"})
    assert made.status_code == 201, made.content
    plain = next(v for v in made.json().values() if isinstance(v, str) and v.startswith("ps_") and len(v) > 40)
    assert Api({"Authorization": plain}).check("user:bob", "post:read", "channel:9") == "granted"
    ident = made.json()["id"]
    assert plain not in json.dumps(admin.done(200, "GET", path_of("keys", ident)))
    assert plain not in json.dumps(admin.done(200, "GET", "keys/"))
    assert plain not in json.dumps(admin.done(200, "GET", "audit/?limit=200"))
    assert admin("DELETE", path_of("keys", ident)).status_code in {200, 204}
    assert Api({"Authorization": plain})("POST", "check", {"subject": "user:bob", "permission": "post:read"}).status_code == 401


def test_the_menu_is_the_callers_own_tree(admin: Api) -> None:
    alice = json.dumps(person("alice").done(200, "GET", "menu/"))
    assert all(word in alice for word in ("content", "posts", "danger", "post:purge", "post:read"))
    charlie = json.dumps(person("charlie").done(200, "GET", "menu/"))
    assert "post:" not in charlie
    admin.done(201, "POST", "bindings/", {"subject": "user:charlie", "role": "reader"})
    charlie = json.dumps(person("charlie").done(200, "GET", "menu/"))
    assert "post:read" in charlie
    assert "post:edit" not in charlie
    assert "danger" not in charlie
    assert Api({})("GET", "menu/").status_code == 401


def test_the_audit_tells_who_did_what_from_what_to_what(admin: Api) -> None:
    admin.done(200, "PATCH", "roles/reader/", {"title": "Readers"})
    rows = admin.done(200, "GET", "audit/?limit=200")["results"]
    row = next(row for row in rows if "Readers" in json.dumps(row.get("after")))
    assert "admin" in json.dumps(row)
    assert "Readers" not in json.dumps(row.get("before"))
    assert admin.done(200, "GET", path_of("audit", row["id"]))["id"] == row["id"]
    for method in ("PUT", "PATCH", "DELETE"):
        assert admin(method, path_of("audit", row["id"]), {}).status_code == 405
    assert admin("POST", "audit/", {}).status_code == 405
    assert admin.done(200, "GET", "revisions/")["results"]


def test_the_probes_and_the_document_are_there(admin: Api) -> None:
    client = Client()
    for path in ("/healthz", "/readyz"):
        assert client.get(path).status_code == 200
    schema = Client(headers=admin.headers).get("/api/schema/", headers={"Accept": "application/json"})
    assert schema.status_code == 200
    assert Client(headers=admin.headers).get("/api/docs/").status_code == 200
    admin.refused(404, "not_found", "GET", "nothing/")
    assert pdp.check("user:alice", "post:purge")
