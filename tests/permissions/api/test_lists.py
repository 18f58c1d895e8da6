"""Lists: filters, search, order and pages of every noun; the audit and the revisions."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from permissions import revisions
from permissions.revisions import HEADER, Head, parse
from tests.permissions.api.world import Api, Cast, item, refused
from tests.worlds import apply

pytestmark = pytest.mark.django_db


def names(api: Api, path: str) -> list[Any]:
    return [row.get("name", row.get("code", row.get("id"))) for row in api.all(path)]


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("permissions/?type=post", ["post:edit", "post:purge", "post:read"]),
        ("permissions/?type=pos", []),
        ("permissions/?type=POST", []),
        ("permissions/?menu=content/posts", ["post:edit", "post:read"]),
        ("permissions/?requires=post:read", ["post:edit"]),
        ("permissions/?critical=true", []),
        ("permissions/?search=READ", ["post:read"]),
        ("groups/?permission=post:read", ["content"]),
        ("groups/?permission=post:*", []),
        ("roles/?inherits=reader", ["editor"]),
        ("roles/?permission=post:read", ["caretaker", "reader"]),
        ("roles/?group=content", []),
        ("roles/?search=ER", ["caretaker", "reader"]),
        ("roles/?search=%25", []),
        ("subjects/?type=user", ["user:alice", "user:bob", "user:charlie", "user:root", "user:zed"]),
        ("subjects/?team=team:care", ["user:bob"]),
        ("subjects/?locked=true", []),
        ("subjects/?search=zed", ["user:zed"]),
        ("teams/", ["team:care"]),
        ("teams/?member=user:bob", ["team:care"]),
        ("teams/?active=false", []),
        ("resources/?parent=server:7", ["channel:9"]),
        ("resources/?parent=", ["server:7", "server:8"]),
        ("resources/?type=server&ordering=-id", ["server:8", "server:7"]),
        ("resources/?inherit=false", []),
        ("realms/?suspended=false", ["default"]),
    ],
)
def test_filters_find_what_they_say(cast: Cast, path: str, found: list[str]) -> None:
    assert names(cast.root, path) == found


def test_bindings_are_found_by_what_they_tie_together(cast: Cast) -> None:
    def subjects(query: str) -> list[str]:
        return [row["subject"] for row in cast.root.all(f"bindings/?{query}")]

    assert subjects("subject=user:zed") == ["user:zed"]
    assert subjects("subject_type=team") == ["team:care"]
    assert subjects("role=administrator") == ["user:alice"]
    assert subjects("scope=") == ["user:alice"]
    assert subjects("scope=server:8") == ["user:zed"]
    assert subjects("role=") == []
    assert subjects("propagate=false") == []
    assert subjects("search=care") == ["team:care"]


@pytest.mark.parametrize("query", ["type=a:b", "type=", "critical=1", "critical=True"])
def test_a_filter_that_cannot_be_read_is_refused_with_its_name(cast: Cast, query: str) -> None:
    answer = cast.root.get(f"permissions/?{query}")
    refused(answer, 400, "bad_request")
    assert query.partition("=")[0] in answer.places()


@pytest.mark.parametrize("after", ["", "e30", "bnVsbA", "W10", "Ilx1ZDgwMCI", "MWU5OTk", "x" * 900, "IgAi"])
def test_a_place_nobody_gave_out_is_refused(cast: Cast, after: str) -> None:
    for section in ("roles", "bindings", "audit", "revisions"):
        refused(cast.root.get(f"{section}/?after={after}"), 400, "bad_request")


def test_a_page_costs_the_same_whatever_it_holds(cast: Cast) -> None:
    def cost(path: str) -> int:
        with CaptureQueriesContext(connection) as queries:
            assert cast.root.get(path).status == 200
        return len(queries)

    paths = [
        "roles/",
        "groups/",
        "permissions/",
        "teams/",
        "subjects/",
        "resources/",
        "bindings/",
        "audit/",
        "revisions/",
        "keys/",
    ]
    cost(paths[0])  # the first request notes that the session was used
    few = {path: cost(path) for path in paths}
    apply(
        "groups:\n"
        + "".join(f'  - {{name: "g{n}", permissions: ["a{n}:x", "a:{n}"]}}\n' for n in range(30))
        + "roles:\n"
        + "".join(f'  - {{name: "r{n}", groups: ["g{n}"], inherits: [reader], permissions: ["b{n}:x"]}}\n' for n in range(30))
        + "teams:\n"
        + "".join(f'  - {{id: "team:{n}", members: ["user:{n}", "user:bob"]}}\n' for n in range(30))
        + "resources:\n"
        + "".join(f'  - {{id: "doc:{n}", parent: "server:7"}}\n' for n in range(30))
        + "bindings:\n"
        + "".join(f'  - {{subject: "user:{n}", role: "r{n}", scope: "doc:{n}"}}\n' for n in range(30))
    )
    # One more statement tells a large revision's objects apart from those of small ones.
    assert {path: cost(path) for path in paths} == {**few, "revisions/": few["revisions/"] + 1}


def test_a_token_sent_with_a_list_is_not_passed_over(cast: Cast) -> None:
    head = revisions.head("default")
    ahead = revisions.mint(Head(head.realm_id, head.name, head.epoch, head.rev + 9, head.stamp))
    for path in ("roles/", "roles/editor/", "audit/", "realms/default/"):
        assert cast.root.get(path, X_Permission_Token=revisions.mint(head)).status == 200
        assert cast.root.get(path, X_Permission_Token="full").status == 200
        refused(cast.root.get(path, X_Permission_Token="nonsense"), 400, "invalid")
        refused(cast.root.get(path, X_Permission_Token=ahead), 409, "token_from_future")
    refused(cast.root.delete("roles/editor/", X_Permission_Token=ahead), 409, "token_from_future")


def test_head_and_options_are_answered(cast: Cast) -> None:
    for path in ("roles/?limit=1", "roles/editor/", "menu/"):
        head = cast.root.send("HEAD", path)
        assert (head.status, head.body) == (200, b"")
        assert "GET" in cast.root.send("OPTIONS", path.partition("?")[0]).headers["Allow"]
    assert cast.charlie.send("HEAD", "roles/").status == 403
    assert cast.root.send("OPTIONS", "check").status == 200


# Audit and revisions.


def test_the_audit_tells_before_and_after(cast: Cast) -> None:
    cast.alice.post("groups/", {"name": "g", "permissions": ["post:read"]})
    cast.alice.patch("groups/g/?reason=because", {"title": "G"})
    cast.alice.delete("groups/g/")
    entries = cast.alice.all("audit/?object_type=group&object_id=g&ordering=id")
    assert [(e["before"] is None, e["after"] is None) for e in entries] == [(True, False), (False, False), (False, True)]
    assert entries[1]["after"] == {"name": "g", "title": "G", "permissions": ["post:read"]}
    assert entries[1]["reason"] == "because"
    assert [e["seq"] for e in entries] == sorted(e["seq"] for e in entries)
    assert entries[1]["prev_hash"] == entries[0]["hash"]
    assert cast.alice.get(item("audit", entries[0]["id"])).json == entries[0]
    newest = cast.alice.get("audit/?limit=1").json["results"][0]
    assert newest["id"] == entries[-1]["id"]


# A revision is a transaction's: in the one of a test there would be only one.
@pytest.mark.django_db(transaction=True)
def test_the_audit_is_filtered(cast: Cast) -> None:
    cast.alice.post("groups/", {"name": "g"}, X_Request_ID="r-1")
    (entry,) = cast.alice.all("audit/?request_id=r-1")
    assert entry["actor"] == "user:alice"
    for query in (
        f"revision={entry['revision']}&object_type=group",
        f"action={entry['action']}&actor=user:alice",
        "search=g&actor_kind=user",
    ):
        assert entry in cast.alice.all(f"audit/?{query}")
    assert cast.alice.all("audit/?since=2090-01-01T00:00:00Z") == []
    assert entry in cast.alice.all("audit/?until=2090-01-01T00:00:00Z")
    refused(cast.alice.get("audit/?since=yesterday"), 400, "bad_request")


def test_the_audit_and_revisions_cannot_be_written(cast: Cast) -> None:
    entry = cast.root.get("audit/").json["results"][0]["id"]
    for method in ("POST", "PUT", "PATCH", "DELETE"):
        for path in ("audit/", item("audit", entry), "revisions/", "revisions/1/"):
            refused(cast.root.send(method, path, {}), 405, "method_not_allowed")
    for method in ("PUT", "PATCH"):
        refused(cast.root.send(method, "keys/1/", {}), 405, "method_not_allowed")


@pytest.mark.parametrize("path", ["audit/", "audit/1/", "revisions/", "revisions/1/", "keys/", "keys/1/"])
def test_charlie_and_plain_keys_read_none_of_it(cast: Cast, path: str) -> None:
    refused(cast.charlie.get(path), 403, "forbidden")
    refused(cast.bob.get(path), 403, "forbidden")
    refused(cast.plain_key.get(path), 403, "forbidden")
    refused(cast.nobody.get(path), 401, "unauthenticated")


# A revision is a transaction's: in the one of a test there would be only one.
@pytest.mark.django_db(transaction=True)
def test_a_revision_tells_what_it_touched(cast: Cast) -> None:
    made = cast.alice.post("groups/", {"name": "g", "permissions": ["post:read"]})
    rev = parse(made.headers[HEADER]).rev
    newest = cast.alice.get("revisions/?limit=1").json["results"][0]
    assert newest["revision"] == rev
    assert {"kind": "m", "object": "g"} in newest["changes"]
    assert newest["changes_total"] == len(newest["changes"])
    assert cast.alice.get(f"revisions/{rev}/").json == newest
    assert [row["revision"] for row in cast.alice.all("revisions/?object=g")] == [rev]
    numbers = [row["revision"] for row in cast.alice.all("revisions/?limit=2&ordering=revision")]
    assert numbers == list(range(1, rev + 1)) or numbers == sorted(numbers)
    refused(cast.alice.get(f"revisions/{rev + 1}/"), 404, "not_found")


# A revision is a transaction's: in the one of a test there would be only one.
@pytest.mark.django_db(transaction=True)
def test_a_large_revision_is_shown_in_part_in_a_list_and_whole_alone(cast: Cast) -> None:
    apply("resources:\n" + "".join(f'  - {{id: "doc:{n}"}}\n' for n in range(150)))
    newest = cast.alice.get("revisions/?limit=1").json["results"][0]
    assert (newest["changes_total"], len(newest["changes"])) == (150, 100)
    assert len(cast.alice.get(f"revisions/{newest['revision']}/").json["changes"]) == 150
