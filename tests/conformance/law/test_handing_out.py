"""Section "Handing out": nobody gives what they do not hold, and what they do hold they may."""

from __future__ import annotations

from typing import Any

import pytest

from tests.conformance.law.http import Api, key, path_of, reset
from tests.worlds import apply

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.both_databases]

WORLD = """
permissions: [{code: "p:a"}, {code: "p:b"}, {code: "p:c"}, {code: "q:x"}, {code: "q:y"}]
groups: [{name: small, permissions: ["p:a"]}, {name: big, permissions: ["p:a", "p:c"]}]
roles:
  - {name: administrator, permissions: ["*", "permsite.*:*"]}
  - {name: ra, permissions: ["p:a"]}
  - {name: rb, permissions: ["p:b"]}
  - {name: rc, permissions: ["p:c"]}
  - {name: rpattern, permissions: ["p:*"]}
  - {name: rconditional, permissions: [{code: "p:a", condition: "context.mfa == true"}]}
  - {name: rdeny, permissions: ["p:a"], deny: ["p:c"]}
  - {name: rinherits, inherits: [rc]}
  - {name: rgroup, groups: [big]}
  - {name: clerk, permissions: ["p:a", "p:b", "q:x", "q:y", "permsite.*:*"], exclude: ["permsite.realm:escalate"]}
  - {name: escalator, permissions: ["permsite.*:*"]}
subjects: [{id: "user:charlie"}]
teams:
  - {id: "team:strong", members: ["user:strong"]}
  - {id: "team:weak"}
resources:
  - {id: "server:7"}
  - {id: "channel:9", parent: "server:7"}
  - {id: "server:8"}
  - {id: "channel:8", parent: "server:8"}
bindings:
  - {subject: "user:alice", role: administrator}
  - {subject: "user:bob", role: clerk}
  - {subject: "user:local", role: clerk, scope: "server:7"}
  - {subject: "user:free", role: escalator}
  - {subject: "team:strong", role: rc}
  - {subject: "user:barred", allow: ["p:c"]}
  - {subject: "user:barred", deny: ["p:c"]}
  - {subject: "user:until", role: clerk, valid_until: "2090-01-01T00:00:00Z"}
  - {subject: "user:mfa", allow: ["p:a"], condition: "context.mfa == true"}
  - {subject: "user:mfa", allow: ["permsite.binding:*"]}
  - {subject: "user:here", allow: ["p:a"], scope: "server:7", propagate: false}
  - {subject: "user:here", allow: ["permsite.binding:*"]}
  - {subject: "user:mover", allow: ["p:c"], scope: "server:8"}
  - {subject: "user:bob", allow: ["p:a"], scope: "server:8", reason: marked}
"""


@pytest.fixture
def world() -> None:
    reset(WORLD)


def as_(name: str) -> Api:
    return key(name, "--subject", f"user:{name}")


def test_a_binding_gives_at_most_what_its_author_holds_there(world: None) -> None:
    bob, local = as_("bob"), as_("local")
    for line in (
        {"subject": "user:charlie", "role": "ra"},
        {"subject": "user:charlie", "allow": ["p:a", "p:b"]},
        {"subject": "user:*", "role": "rb", "scope": "channel:9"},
        {"subject": "user:charlie", "role": "rconditional"},
        {"subject": "user:charlie", "role": "rdeny"},
        {"subject": "user:charlie", "deny": ["*"]},
        {"subject": "user:charlie", "allow": ["q:x", "q:y"]},
    ):
        bob.done(201, "POST", "bindings/", line)
    for line in (
        {"subject": "user:charlie", "role": "rc"},
        {"subject": "user:charlie", "allow": ["p:c"]},
        {"subject": "user:charlie", "allow": ["p:*"]},
        {"subject": "user:charlie", "allow": ["q:*"]},  # holds both registered today: patterns are judged, not expansions
        {"subject": "user:charlie", "allow": ["q:?"]},
        {"subject": "user:charlie", "allow": ["*"]},
        {"subject": "user:charlie", "role": "rpattern"},
        {"subject": "user:charlie", "role": "rinherits"},
        {"subject": "user:charlie", "role": "rgroup"},
        {"subject": "user:charlie", "role": "administrator"},
        {"subject": "user:charlie", "allow": ["permsite.realm:escalate"]},
        {"subject": "user:charlie", "allow": ["p:c"], "condition": "false"},
        {"subject": "user:charlie", "allow": ["p:c"], "valid_from": "2090-01-01T00:00:00Z"},
        {"subject": "user:bob", "allow": ["p:c"]},
        {"subject": "user:charlie", "allow": ["never:seen"]},
    ):
        bob.refused(403, "escalation", "POST", "bindings/", line)
    for scope in ("server:7", "channel:9"):
        local.done(201, "POST", "bindings/", {"subject": "user:charlie", "role": "ra", "scope": scope})
    elsewhere: tuple[dict[str, str], ...] = ({}, {"scope": "server:8"}, {"scope": "channel:8"})
    for there in elsewhere:
        local.refused(403, "forbidden", "POST", "bindings/", {"subject": "user:charlie", "role": "ra", **there})
    local.refused(403, "escalation", "POST", "bindings/", {"subject": "user:charlie", "role": "rc", "scope": "channel:9"})


def test_what_is_held_narrowly_is_given_as_narrowly(world: None) -> None:
    until, mfa, here = as_("until"), as_("mfa"), as_("here")
    give = {"subject": "user:charlie", "allow": ["p:a"]}
    until.done(201, "POST", "bindings/", {**give, "valid_until": "2090-01-01T00:00:00Z"})
    until.done(201, "POST", "bindings/", {**give, "valid_until": "2089-01-01T00:00:00Z", "valid_from": "2088-01-01T00:00:00Z"})
    until.refused(403, "escalation", "POST", "bindings/", give)
    until.refused(403, "escalation", "POST", "bindings/", {**give, "valid_until": "2090-01-01T00:00:00.000001Z"})
    mfa.done(201, "POST", "bindings/", {**give, "condition": "context.mfa == true"})
    mfa.refused(403, "escalation", "POST", "bindings/", give)
    mfa.refused(403, "escalation", "POST", "bindings/", {**give, "condition": "true"})
    here.done(201, "POST", "bindings/", {**give, "scope": "server:7", "propagate": False})
    here.refused(403, "escalation", "POST", "bindings/", {**give, "scope": "server:7"})
    here.refused(403, "escalation", "POST", "bindings/", {**give, "scope": "channel:9", "propagate": False})


def test_no_other_write_hands_out_either(world: None) -> None:
    bob = as_("bob")
    alice = as_("alice")
    alice.done(201, "POST", "bindings/", {"subject": "user:charlie", "role": "rgroup", "scope": "channel:9"})
    weak = alice.done(201, "POST", "bindings/", {"subject": "user:charlie", "allow": ["p:c"], "condition": "context.mfa == true"})
    denial = alice.done(201, "POST", "bindings/", {"subject": "user:charlie", "deny": ["p:c"]})
    attempts: list[tuple[str, str, Any]] = [
        ("PATCH", path_of("groups", "big"), {"permissions": ["p:a", "p:c", "q:*"]}),
        ("PATCH", path_of("roles", "ra"), {"permissions": ["p:c"]}),
        ("PATCH", path_of("roles", "ra"), {"permissions": ["p:*"]}),
        ("PATCH", path_of("roles", "ra"), {"inherits": ["rc"]}),
        ("PATCH", path_of("roles", "ra"), {"groups": ["big"]}),
        ("PATCH", path_of("roles", "rdeny"), {"deny": []}),
        ("PATCH", path_of("teams", "team:strong"), {"members": ["user:strong", "user:bob"]}),
        ("PATCH", path_of("teams", "team:strong"), {"members": ["user:strong", "team:weak"]}),
        ("PATCH", path_of("bindings", weak["id"]), {"condition": ""}),
        ("PATCH", path_of("bindings", denial["id"]), {"deny": ["p:b"]}),
        ("DELETE", path_of("bindings", denial["id"]), None),
    ]
    alice.done(201, "POST", "bindings/", {"subject": "user:charlie", "role": "ra"})
    alice.done(201, "POST", "bindings/", {"subject": "user:other", "role": "rdeny"})
    alice.done(201, "POST", "bindings/", {"subject": "user:other", "role": "rc"})
    allowed = []
    for method, path, body in attempts:
        answer = bob(method, path, body)
        if answer.status_code != 403 or b"escalation" not in answer.content:
            allowed.append((method, path, body, answer.status_code, answer.content[:200]))
    assert not allowed
    assert bob.check("user:charlie", "p:c") == "explicit_deny"


HIDDEN = """
permissions: [{code: "p:s", requires: ["p:t"]}]
roles:
  - {name: excluding, permissions: ["p:*"], exclude: ["p:c"]}
  - {name: over, permissions: ["p:c"], valid_until: "2020-01-01T00:00:00Z"}
  - {name: barring, deny: ["p:c"]}
  - {name: barring.heir, inherits: [barring]}
subjects: [{id: "user:off", active: false}, {id: "user:locked", locked: true}]
teams:
  - {id: "team:barred", members: ["user:member"]}
  - {id: "team:inner", members: ["user:in"]}
  - {id: "team:outer", members: ["team:inner"]}
resources: [{id: "room:p", inherit: false}, {id: "room:d"}, {id: "room:x", parent: "room:d"}]
bindings:
  - {subject: "user:x", role: excluding}
  - {subject: "user:x", role: over}
  - {subject: "user:x", allow: ["p:s"]}
  - {subject: "user:off", allow: ["p:c"]}
  - {subject: "user:locked", allow: ["p:c"]}
  - {subject: "user:member", allow: ["p:c"]}
  - {subject: "team:barred", deny: ["p:c"]}
  - {subject: "user:in", allow: ["p:c"]}
  - {subject: "team:outer", role: barring.heir}
  - {subject: "user:strong", deny: ["p:c"], scope: "room:d"}
  - {subject: "user:here", allow: ["p:c"], scope: "room:d", propagate: false}
"""


def test_what_would_give_without_naming_it_is_refused_too(world: None) -> None:
    apply(HIDDEN)
    bob, alice = as_("bob"), as_("alice")
    allowed: list[Any] = []
    late = alice.done(201, "POST", "bindings/", {"subject": "user:x", "allow": ["p:c"], "valid_until": "2021-01-01T00:00:00Z"})
    near = alice.done(201, "POST", "bindings/", {"subject": "user:x", "allow": ["p:c"], "scope": "room:d", "propagate": False})
    for method, path, body in (
        ("PATCH", "permissions/p:s/", {"requires": []}),
        ("PATCH", "roles/excluding/", {"exclude": []}),
        ("PATCH", "roles/over/", {"valid_until": None}),
        ("PATCH", "roles/barring/", {"deny": []}),
        ("PATCH", "roles/barring.heir/", {"inherits": []}),
        ("PATCH", "subjects/user:off/", {"active": True}),
        ("PATCH", "subjects/user:locked/", {"locked": False}),
        ("PATCH", "teams/team:barred/", {"members": []}),
        ("PATCH", "teams/team:outer/", {"members": []}),
        ("DELETE", "teams/team:barred/", None),
        ("PATCH", "resources/room:p/", {"inherit": True}),
        ("DELETE", "resources/room:p/", None),
        ("PATCH", "resources/room:x/", {"parent": None}),
        ("PATCH", path_of("bindings", late["id"]), {"valid_until": None}),
        ("PATCH", path_of("bindings", near["id"]), {"propagate": True}),
        ("PATCH", path_of("bindings", near["id"]), {"scope": None}),
        ("PATCH", path_of("bindings", near["id"]), {"subject": "user:*"}),
        ("PATCH", "realms/default/", {"combining": "overlay"}),
        ("PATCH", "realms/default/", {"unknown_subjects": "everyone"}),
        ("POST", "keys/", {"name": "k", "admin": True}),
        ("POST", "keys/", {"name": "k", "subject": "user:alice"}),
        ("POST", "keys/", {"name": "k", "subject": "team:strong"}),
    ):
        answer = bob(method, path, body)
        if answer.status_code != 403:
            allowed.append((method, path, body, answer.status_code, answer.content[:200]))
    assert not allowed


def test_a_move_that_gives_is_refused_and_one_that_does_not_is_made(world: None) -> None:
    bob, alice = as_("bob"), as_("alice")
    bob.refused(403, "escalation", "PATCH", path_of("resources", "channel:9"), {"parent": "server:8"})  # user:mover gets p:c
    assert alice.check("user:mover", "p:c", "channel:9") == "no_grant"
    alice.done(200, "PATCH", path_of("resources", "channel:9"), {"parent": "server:8"})
    assert alice.check("user:mover", "p:c", "channel:9") == "granted"
    alice.done(200, "PATCH", path_of("resources", "channel:9"), {"inherit": False})
    assert alice.check("user:mover", "p:c", "channel:9") == "no_grant"
    bob.refused(403, "forbidden", "PATCH", path_of("resources", "channel:9"), {"inherit": True})  # nothing of his reaches it
    bob.done(201, "POST", "resources/", {"id": "thread:1", "parent": "server:7"})
    bob.done(200, "PATCH", path_of("resources", "thread:1"), {"parent": None})


def test_who_may_escalate_and_who_administers_give_freely(world: None) -> None:
    as_("free").done(201, "POST", "bindings/", {"subject": "user:charlie", "allow": ["*"]})
    key("adm", "--admin").done(201, "POST", "bindings/", {"subject": "user:charlie", "role": "administrator"})
    as_("alice").done(201, "POST", "bindings/", {"subject": "user:charlie", "allow": ["p:*", "*"]})


def test_managing_needs_the_code_of_its_noun_and_verb(world: None) -> None:
    charlie, plain = as_("charlie"), key("plain")
    for caller in (charlie, plain):
        for method, path, body in (
            ("POST", "bindings/", {"subject": "user:charlie", "role": "ra"}),
            ("POST", "roles/", {"name": "x"}),
            ("POST", "groups/", {"name": "x"}),
            ("POST", "permissions/", {"code": "x:y"}),
            ("POST", "subjects/", {"id": "user:x"}),
            ("POST", "teams/", {"id": "team:x"}),
            ("POST", "resources/", {"id": "x:1"}),
            ("POST", "keys/", {"name": "x"}),
            ("PATCH", "roles/ra/", {"title": "x"}),
            ("DELETE", "roles/ra/", None),
            ("DELETE", "teams/team:weak/", None),
            ("GET", "audit/", None),
            ("GET", "bindings/", None),
            ("GET", "keys/", None),
        ):
            answer = caller(method, path, body)
            listed = method == "GET" and answer.status_code == 200 and answer.json()["results"] == []
            assert answer.status_code == 403 or listed, (method, path, answer.status_code, answer.content)


def test_the_last_administrator_cannot_lock_themselves_out(world: None) -> None:
    alice, root = as_("alice"), key("adm", "--admin")
    lines = {row["subject"] + row.get("role", ""): row["id"] for row in root.done(200, "GET", "bindings/?limit=200")["results"]}
    for who in ("user:freeescalator", "user:bobclerk"):
        root.done(204, "DELETE", path_of("bindings", lines[who]))
    mine = path_of("bindings", lines["user:aliceadministrator"])
    for method, path, body in (
        ("DELETE", mine, None),
        ("PATCH", mine, {"scope": "server:7"}),
        ("PATCH", mine, {"valid_until": "2090-01-01T00:00:00Z"}),
        ("PATCH", mine, {"condition": "context.mfa == true"}),
        ("PATCH", "subjects/user:alice/", {"active": False}),
        ("PATCH", "subjects/user:alice/", {"locked": True}),
        ("DELETE", "subjects/user:alice/", None),
        ("PATCH", "roles/administrator/", {"permissions": ["*"]}),
        ("PATCH", "roles/administrator/", {"deny": ["permsite.*:*"]}),
        ("POST", "bindings/", {"subject": "user:alice", "deny": ["permsite.*:*"]}),
        ("POST", "bindings/", {"subject": "user:*", "deny": ["permsite.binding:create"]}),
    ):
        answer = alice(method, path, body)
        assert answer.status_code in {403, 409}, (method, path, body, answer.status_code, answer.content)
    assert alice.check("user:alice", "permsite.binding:create") == "granted"
    alice.done(201, "POST", "bindings/", {"subject": "user:charlie", "role": "administrator"})
    alice.done(204, "DELETE", mine)
