"""What an answer carries beside its yes or no, over the whole site: obligations always, reasons where asked for, nothing else."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from permissions.models import Realm
from permissions.services.keys import key_create
from permissions.writing import SYSTEM
from tests.permissions.authzen.wire import call
from tests.worlds import apply

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.both_databases]

STEP_UP = {"id": "mfa", "type": "step-up", "properties": {"acr_value": "urn:example:loa:3", "amr_values": ["mfa"]}}
NOTIFY = {"id": "tell", "type": "notification", "properties": {"to": "audit@example.org", "body": "a record was written"}}
END = {"id": "end", "type": "session_termination"}
WORLD = f"""
permissions: [{{code: "record:read"}}, {{code: "record:write"}}, {{code: "record:purge"}}]
roles:
  - {{name: reader, permissions: ["record:read"]}}
  - {{name: writer, inherits: [reader], permissions: ["record:write"], obligations: [{json.dumps(NOTIFY)}]}}
  - {{name: chief, permissions: ["record:write"], obligations: [{json.dumps(NOTIFY)}]}}
subjects: [{{id: "user:alice"}}, {{id: "user:bob"}}, {{id: "user:charlie"}}]
resources: [{{id: "record:1"}}, {{id: "record:2"}}]
bindings:
  - {{subject: "user:alice", role: writer, scope: "record:1", obligations: [{json.dumps(STEP_UP)}]}}
  - {{subject: "user:alice", role: chief, scope: "record:1"}}
  - {{subject: "user:bob", role: reader, scope: "record:1"}}
  - {{subject: "user:charlie", deny: ["record:*"], obligations: [{json.dumps(END)}]}}
"""


class Wire:
    def __init__(self) -> None:
        from permsite.asgi import build

        apply(WORLD)
        realm = Realm.objects.get(name="default")
        _, self._key = key_create(actor=SYSTEM, realm=realm, name="pep", reason="test")
        self._site = build()

    def ask(self, path: str, body: dict[str, Any]) -> Any:
        pairs = [("Authorization", f"Bearer {self._key}"), ("Content-Type", "application/json")]
        answer = asyncio.run(call(self._site, "POST", f"/access/v1/{path}", pairs, [json.dumps(body).encode()]))
        assert answer.status == 200, answer.body
        return answer.json


@pytest.fixture
def wire(transactional_db: None) -> Wire:
    return Wire()


def question(who: str, action: str, what: str = "1", **more: Any) -> dict[str, Any]:
    return {
        "subject": {"type": "user", "id": who},
        "action": {"name": action},
        "resource": {"type": "record", "id": what},
        **more,
    }


def ids(answer: dict[str, Any]) -> set[str]:
    return {duty["id"] for duty in answer["context"]["obligations"]}


def test_obligations_of_roles_and_bindings_come_with_what_they_grant(wire):
    for _ in range(2):  # read from the database, then from memory
        answer = wire.ask("evaluation", question("alice", "write"))
        assert answer["decision"] is True
        assert set(answer) == {"decision", "context"}
        assert set(answer["context"]) == {"obligations"}
        assert sorted(answer["context"]["obligations"], key=lambda duty: duty["id"]) == [STEP_UP, NOTIFY]


def test_what_no_obliging_grant_decided_carries_none(wire):
    for _ in range(2):
        assert wire.ask("evaluation", question("bob", "read")) == {"decision": True}
        assert wire.ask("evaluation", question("bob", "write")) == {"decision": False}
        # Obligations belong to what grants: a deny brings none.
        assert wire.ask("evaluation", question("charlie", "read")) == {"decision": False}


def test_each_item_of_a_batch_carries_its_own(wire):
    items = [question("alice", "write"), question("bob", "read"), question("charlie", "read"), {"resource": None}]
    for _ in range(2):
        first, second, third, broken = wire.ask("evaluations", {**question("alice", "read"), "evaluations": items})["evaluations"]
        assert ids(first) == {"mfa", "tell"}
        assert (second, third) == ({"decision": True}, {"decision": False})
        assert broken["context"]["error"]["status"] == 400


def test_what_a_client_says_it_supports_changes_nothing(wire):
    asked = question("alice", "write", context={"supported_obligations": ["notification"]})
    assert ids(wire.ask("evaluation", asked)) == {"mfa", "tell"}


def test_an_explained_yes_tells_its_path_and_its_obligations(wire):
    context = wire.ask("evaluation", question("alice", "write", context={"explain": True}))["context"]
    assert context["reason"] == "granted"
    assert {step["role"] for step in context["path"]} == {"writer", "chief"}
    assert {duty["id"] for duty in context["obligations"]} == {"mfa", "tell"}
    assert "allowed" not in context


def test_an_explained_no_tells_the_reason_and_what_is_missing(wire):
    context = wire.ask("evaluation", question("bob", "write", context={"explain": True}))["context"]
    assert (context["reason"], context["path"]) == ("no_grant", [])
    assert context["nearest"]
    denied = wire.ask("evaluation", question("charlie", "read", context={"explain": True}))["context"]
    assert denied["reason"] == "explicit_deny"
    assert denied["path"][0]["effect"] == "deny"


def test_in_a_batch_only_those_are_explained_that_ask(wire):
    items = [{}, {"context": {"explain": True}}, {"action": {"name": "write"}, "context": {"explain": True}}]
    plain, yes, no = wire.ask("evaluations", {**question("bob", "read"), "evaluations": items})["evaluations"]
    assert plain == {"decision": True}
    assert (yes["decision"], yes["context"]["reason"]) == (True, "granted")
    assert (no["decision"], no["context"]["reason"]) == (False, "no_grant")
    every = wire.ask("evaluations", {**question("bob", "read"), "context": {"explain": True}, "evaluations": [{}, {}]})
    assert [item["context"]["reason"] for item in every["evaluations"]] == ["granted", "granted"]


def test_a_batch_that_ends_early_explains_what_it_decided(wire):
    body = {**question("bob", "write", context={"explain": True}), "evaluations": [{}, {}]}
    answers = wire.ask("evaluations", {**body, "options": {"evaluations_semantic": "deny_on_first_deny"}})["evaluations"]
    assert [(answer["decision"], answer["context"]["reason"]) for answer in answers] == [(False, "no_grant")]


@pytest.mark.parametrize(
    ("direction", "expected"),
    [
        ("subject", [{"type": "user", "id": "alice"}]),
        ("resource", [{"type": "record", "id": "1"}]),
        ("action", [{"name": "read"}, {"name": "write"}]),
    ],
)
def test_a_search_names_entities_and_nothing_else_explained_or_not(wire, direction, expected):
    for context in ({}, {"explain": True}):
        found = wire.ask(f"search/{direction}", question("alice", "write", context=context))
        assert set(found) == {"results"}
        assert sorted(found["results"], key=json.dumps) == expected
