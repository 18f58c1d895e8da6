"""interfaces.md, "HTTP", /access/v1: the same law on the wire, asserted modes of keys, tokens and plain errors."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth.models import User

from tests.conformance.law.http import TOKEN, Api, key, reset
from tests.worlds import apply

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.both_databases]

WORLD = """
permissions: [{code: "doc:read"}, {code: "doc:edit"}]
subjects: [{id: "user:bob", attributes: {dept: sales}}]
teams: [{id: "team:eng"}]
resources: [{id: "folder:1"}, {id: "doc:1", attributes: {state: open}}]
bindings:
  - {subject: "user:bob", allow: ["doc:dept"], condition: "subject.attributes.dept == 'it'"}
  - {subject: "user:bob", allow: ["doc:level"], condition: "subject.attributes.level == 9"}
  - {subject: "user:bob", allow: ["doc:float"], condition: "context.n == 0.5"}
  - {subject: "user:bob", allow: ["doc:int"], condition: "context.n == 1"}
  - {subject: "user:bob", allow: ["doc:soft"], condition: "action.attributes.soft == true"}
  - {subject: "user:bob", allow: ["doc:state"], condition: "resource.attributes.state == 'closed'"}
  - {subject: "user:bob", allow: ["doc:read"], scope: "folder:1"}
  - {subject: "team:eng", allow: ["doc:edit"]}
"""
PATH = "/access/v1/evaluation"
MANY = "/access/v1/evaluations"


@pytest.fixture(autouse=True)
def _world() -> None:
    reset(WORLD)


def question(name: str, ident: str = "1", *, who: str = "bob", **extra: Any) -> dict[str, Any]:
    """`subject`, `action`, `resource` in `extra` are properties."""
    body: dict[str, Any] = {
        "subject": {"type": "user", "id": who},
        "action": {"name": name},
        "resource": {"type": "doc", "id": ident},
    }
    for member, value in extra.items():
        if member == "context":
            body[member] = value
        else:
            body[member]["properties"] = value
    return body


def decides(api: Api, body: dict[str, Any]) -> bool:
    answer = api.wire(body)
    assert answer.status == 200, answer.body
    assert set(answer.json) == {"decision"}
    decision: bool = answer.json["decision"]
    return decision


def test_a_key_s_asserted_mode_decides_what_properties_do() -> None:
    fill, override, ignore = (key(m, "--asserted", m) for m in ("fill", "override", "ignore"))
    assert decides(key("default"), question("level", subject={"level": 9}))
    for body, wanted in (
        (question("dept", subject={"dept": "it"}), (False, True, False)),
        (question("level", subject={"level": 9}), (True, True, False)),
        (question("level", subject={"level": "9"}), (False, False, False)),
        (question("state", resource={"state": "closed"}), (False, True, False)),
        (question("state", "2", resource={"state": "closed"}), (True, True, False)),
        (question("read", "unseen", resource={"parent": "folder:1"}), (True, True, False)),
        (question("soft", action={"soft": True}), (True, True, None)),
        (question("read", "unseen"), (False, False, False)),
        (question("int", context={"n": 1}), (True, True, True)),
        (question("int", context={"n": "1"}), (False, False, False)),
        (question("float", context={"n": 0.5}), (True, True, True)),
        (question("edit", subject={"teams": ["team:eng"]}), (False, True, False)),
        (question("edit", who="stranger", subject={"teams": ["team:eng"]}), (False, True, False)),
    ):
        found = tuple(decides(api, body) for api in (fill, override, ignore))
        assert all(w is None or w == f for w, f in zip(wanted, found, strict=True)), (body, found)


def test_what_is_malformed_is_a_400_with_a_plain_string() -> None:
    api = key("k")
    good = question("read")
    for body in (
        {},
        {**good, "subject": {"type": "user"}},
        {**good, "subject": {"type": "user", "id": 7}},
        {**good, "subject": {"type": "user", "id": "*"}},
        {**good, "subject": {"type": "us:er", "id": "a"}},
        {**good, "subject": {"type": "user", "id": "e\u0301"}},
        {**good, "subject": {"type": "user", "id": " a"}},
        {**good, "subject": {"type": "user", "id": "a\u0007"}},
        {**good, "resource": {"type": "doc", "id": "*"}},
        {**good, "resource": {"type": "doc"}},
        {**good, "action": {"name": "*"}},
        {**good, "action": {"name": "re?d"}},
        {**good, "action": {"name": ""}},
        {**good, "action": "read"},
        {**good, "context": []},
        {**good, "context": {"l": list(range(1001))}},
        {**good, "subject": {"type": "user", "id": "bob", "properties": {"l": list(range(1001))}}},
        b"{",
        b"[]",
        b"",
        b'{"subject": 1, "subject": 2}',
    ):
        answer = api.wire(body)
        assert answer.status == 400, (body, answer.body)
        assert isinstance(answer.json, str)
    assert api.wire({**good, "extra": 1, "context": {"l": list(range(1000))}}).status == 200


def test_a_batch_inherits_defaults_and_ends_as_asked() -> None:
    api = key("k", "--asserted", "override")
    yes, no = {"action": {"name": "int"}}, {"action": {"name": "edit"}}
    base = {**question("int"), "context": {"n": 1}}

    def decisions(**more: Any) -> list[bool]:
        answer = api.wire({**base, **more}, MANY)
        assert answer.status == 200, answer.body
        return [row["decision"] for row in answer.json["evaluations"]]

    assert decisions(evaluations=[yes, no, {}]) == [True, False, True]
    assert decisions(evaluations=[{"context": {"n": 2}}, {"context": {}}]) == [False, False]
    for semantic, wanted in (
        ("deny_on_first_deny", [True, False]),
        ("permit_on_first_permit", [True]),
        ("execute_all", [True, False, True]),
    ):
        assert decisions(evaluations=[yes, no, yes], options={"evaluations_semantic": semantic}) == wanted
    assert api.wire({**base, "evaluations": []}, MANY).json == {"decision": True}
    assert decisions(evaluations=[yes, {"subject": {"type": "user"}}]) == [True, False]
    assert decisions(evaluations=[yes, {"resource": {"type": "doc", "id": "*"}}]) == [True, False]
    assert len(decisions(evaluations=[{}] * 1000)) == 1000
    wrong: tuple[dict[str, Any], ...] = (
        {"evaluations": {}},
        {"evaluations": [{}] * 1001},
        {"evaluations": [yes], "options": {"evaluations_semantic": "x"}},
    )
    for bad in wrong:
        assert api.wire({**base, **bad}, MANY).status == 400


def test_tokens_keys_and_realms_on_the_wire() -> None:
    api = key("k")
    body = question("edit", who="charlie")
    assert not decides(api, body)
    token = apply('bindings: [{subject: "user:charlie", allow: ["doc:edit"]}]').token
    answer = api.wire(body, X_Permission_Token=str(token))
    assert answer.json == {"decision": True}
    assert answer.headers[TOKEN.lower()].startswith("v1.")
    assert api.wire(body, X_Permission_Token="full").json == {"decision": True}
    assert api.wire(body, X_Permission_Token="garbage").status == 400
    assert api.wire(body, X_Request_ID="abc").headers["x-request-id"] == "abc"
    bare = Api({"Authorization": api.headers["Authorization"].removeprefix("Bearer ")})
    assert decides(bare, body)
    for headers in ({}, {"Authorization": "Bearer nonsense"}):
        refused = Api(headers).wire(body)
        assert refused.status == 401
        assert "www-authenticate" in refused.headers
        assert isinstance(refused.json, str)
    apply("realm: other\nbindings: [{subject: 'user:charlie', deny: ['doc:edit']}]")
    assert not decides(key("o", "--realm", "other"), body)
    assert decides(api, body)


def test_a_superuser_is_none_on_the_wire_unless_a_setting_says_so(settings: Any) -> None:
    User.objects.create_superuser("root")
    api = key("k")
    assert not decides(api, question("edit", who="root"))
    assert not decides(api, question("nonsense", who="root"))
    assert api.check("user:root", "doc:edit") == "no_grant"
    settings.SUPERUSER_ON_WIRE = True
    apply('bindings: [{subject: "user:root", deny: ["doc:read"]}]')
    assert decides(api, question("edit", who="root"))
    assert decides(api, question("nonsense", who="root"))
    assert not decides(api, question("read", who="root"))
    assert not decides(api, question("edit", who="bob"))
    assert api.check("user:root", "doc:edit") == "superuser"


def test_the_metadata_names_its_endpoints() -> None:
    answer = Api({}).wire(b"", "/.well-known/authzen-configuration", "GET")
    assert answer.status == 200
    for name in ("policy_decision_point", "access_evaluation_endpoint", "access_evaluations_endpoint"):
        assert answer.json[name].startswith("http")
    assert answer.json["access_evaluation_endpoint"].endswith(PATH)
