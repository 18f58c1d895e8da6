"""/api/v1/assertions/: kept, run, removed; who may; and what is refused."""

from __future__ import annotations

from typing import Any

import pytest

from permissions.models import Assertion, AuditEvent, Realm
from tests.permissions.api.world import Api, Cast, make_key, refused, with_key
from tests.worlds import apply

pytestmark = pytest.mark.both_databases

ZED = {"name": "zed reads", "subject": "user:zed", "permission": "post:read", "resource": "server:8", "expected": True}

SEER = """
version: 1
realm: default
roles:
  - {name: seer, permissions: ["permsite.policy:view"]}
bindings:
  - {subject: "user:charlie", role: seer}
"""


def keep(who: Api, **changes: Any) -> int:
    answer = who.post("assertions/", {**ZED, **changes})
    assert answer.status == 201, answer.body
    return int(answer.json["id"])


def test_one_is_kept_run_and_removed_without_a_revision(cast: Cast) -> None:
    before = Realm.objects.get(name="default").rev
    number = keep(cast.alice)
    line = cast.alice.get(f"assertions/{number}/").json
    assert {key: line[key] for key in ZED} == ZED and line["created_by"] == "user:alice"
    found = cast.alice.post("assertions/run", {}).json
    assert (found["ok"], found["counts"]["passed"]) == (True, 1)
    assert cast.alice.delete(f"assertions/{number}/").status == 204
    assert not Assertion.objects.exists()
    assert Realm.objects.get(name="default").rev == before
    actions = list(
        AuditEvent.objects.filter(object_type="assertion").order_by("seq").values_list("action", "object_id", "revision")
    )
    assert actions == [("assertion.create", "zed reads", None), ("assertion.delete", "zed reads", None)]


def test_a_change_of_the_realm_makes_it_fail(cast: Cast) -> None:
    keep(cast.alice)
    apply('version: 1\nrealm: default\nbindings:\n  - {subject: "user:zed", deny: ["post:read"], scope: "server:8"}\n')
    found = cast.alice.post("assertions/run", {}).json
    assert (found["ok"], found["counts"]["failed"]) == (False, 1)
    assert (found["results"][0]["allowed"], found["results"][0]["reason"]) == (False, "explicit_deny")


def test_what_must_be_denied_passes_when_it_is(cast: Cast) -> None:
    keep(cast.alice, name="not here", resource="server:7", expected=False)
    assert cast.alice.post("assertions/run", {}).json["ok"]


def test_only_those_named_are_run(cast: Cast) -> None:
    first, _second = keep(cast.alice), keep(cast.alice, name="other", expected=False)
    found = cast.alice.post("assertions/run", {"ids": [first]}).json
    assert found["ok"] and len(found["results"]) == 1
    refused(cast.alice.post("assertions/run", {"ids": [first, 999_999]}), 404, "not_found")


def test_an_instant_that_history_does_not_reach_hides_no_other(cast: Cast) -> None:
    keep(cast.alice)
    keep(cast.alice, name="long ago", at="1999-01-01T00:00:00Z")
    found = {line["name"]: line["outcome"] for line in cast.alice.post("assertions/run", {}).json["results"]}
    assert found == {"zed reads": "passed", "long ago": "broken"}


def test_who_may_see_but_not_ask_is_told_so(cast: Cast) -> None:
    keep(cast.alice)
    apply(SEER)
    found = cast.charlie.post("assertions/run", {}).json
    assert (found["ok"], found["counts"]["not_asked"], found["results"][0]["allowed"]) == (False, 1, None)


@pytest.mark.parametrize("method", ["get", "post", "run", "delete"])
def test_without_the_right_nothing_is_seen_or_done(cast: Cast, method: str) -> None:
    number = keep(cast.alice)
    calls = {
        "get": lambda: cast.charlie.get("assertions/"),
        "post": lambda: cast.charlie.post("assertions/", {**ZED, "name": "x"}),
        "run": lambda: cast.charlie.post("assertions/run", {}),
        "delete": lambda: cast.charlie.delete(f"assertions/{number}/"),
    }
    refused(calls[method](), 403, "forbidden")
    assert Assertion.objects.count() == 1
    refused(cast.plain_key.get("assertions/"), 403, "forbidden")


def test_another_realm_keeps_its_own(cast: Cast) -> None:
    apply("version: 1\nrealm: other\n")
    keep(cast.alice)
    key = with_key(make_key("theirs", realm="other", is_admin=True))
    assert key.get("assertions/").json["results"] == []
    refused(key.get("assertions/?realm=default"), 403, "forbidden")
    refused(cast.root.get("assertions/?realm=nowhere"), 404, "not_found")


def test_a_name_is_taken_once(cast: Cast) -> None:
    keep(cast.alice)
    refused(cast.alice.post("assertions/", ZED), 409, "conflict")


BAD: dict[str, Any] = {
    "no name": {"name": ""},
    "a long name": {"name": "x" * 256},
    "a control character": {"name": "a\u0000b"},
    "no subject": {"subject": None},
    "a number for a subject": {"subject": 7},
    "no ref": {"subject": "alice"},
    "a pattern": {"permission": "post:*"},
    "a list for a resource": {"resource": ["server:8"]},
    "a text for expected": {"expected": "yes"},
    "a number for expected": {"expected": 1},
    "nothing for expected": {"expected": None},
    "a text for a context": {"context": "mfa"},
    "a context with U+0000": {"context": {"a": "\u0000"}},
    "a huge context": {"context": {"a": "x" * 200_000}},
    "a date without a time": {"at": "2026-01-01"},
    "a number for a time": {"at": 5},
    "an unknown key": {"surprise": True},
    "not in normal form": {"subject": "user:a\u0301"},
}


@pytest.mark.parametrize("what", BAD)
def test_what_is_wrong_is_named_and_nothing_kept(cast: Cast, what: str) -> None:
    answer = cast.alice.post("assertions/", {**ZED, **BAD[what]})
    assert answer.status == 400, answer.body
    assert answer.problem["detail"]
    assert not Assertion.objects.exists()


NONSENSE = (
    *(b"", b"[]", b"null", b'{"ids": NaN}', b'{"ids": 1e999}', b"{" * 5_000, b'{"ids": [true]}', b'{"ids": [-1]}'),
    *(b'{"ids": ["1"]}', b'{"x": 1}', b'{"ids": "all"}', b"\xff"),
)


@pytest.mark.parametrize("raw", NONSENSE)
def test_a_run_of_nonsense_is_refused(cast: Cast, raw: bytes) -> None:
    assert cast.alice.send("POST", "assertions/run", raw=raw).status == 400
