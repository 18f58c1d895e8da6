"""The menu: the tree of what a subject may do, and nothing of what they may not."""

from __future__ import annotations

import pytest

from permissions.revisions import HEADER
from tests.permissions.api.world import Cast, refused
from tests.worlds import apply

pytestmark = pytest.mark.django_db

CONTENT = {"name": "content", "path": "content", "permissions": []}
POSTS = {"name": "posts", "path": "content/posts", "children": []}


def test_it_shows_what_is_allowed_and_leaves_out_empty_entries(cast: Cast) -> None:
    assert cast.bob.get("menu/").json["menu"] == []
    assert cast.bob.get("menu/?resource=channel:9").json["menu"] == [
        {**CONTENT, "children": [{**POSTS, "permissions": ["post:read"]}]}
    ]
    assert cast.charlie.get("menu/").json["menu"] == []
    whole = cast.alice.get("menu/").json
    assert whole["menu"] == [
        {
            **CONTENT,
            "children": [
                {"name": "danger", "path": "content/danger", "permissions": ["post:purge"], "children": []},
                {**POSTS, "permissions": ["post:edit", "post:read"]},
            ],
        }
    ]
    assert (whole["subject"], whole["resource"]) == ("user:alice", None)


def test_a_key_names_the_subject_and_a_person_needs_to_be_allowed_to(cast: Cast) -> None:
    assert cast.plain_key.get("menu/?subject=user:alice").json["menu"] == cast.alice.get("menu/").json["menu"]
    assert cast.bobs_key.get("menu/?resource=server:7").json["subject"] == "user:bob"
    refused(cast.plain_key.get("menu/"), 400, "bad_request")
    refused(cast.charlie.get("menu/?subject=user:alice"), 403, "forbidden")
    assert cast.alice.get("menu/?subject=user:bob&resource=server:7").json["menu"]
    refused(cast.nobody.get("menu/"), 401, "unauthenticated")


def test_a_new_grant_shows_with_its_token(cast: Cast) -> None:
    made = cast.alice.post("bindings/", {"subject": "user:charlie", "allow": ["post:purge"]})
    menu = cast.charlie.get("menu/", X_Permission_Token=made.headers[HEADER])
    assert menu.json["menu"][0]["children"][0]["permissions"] == ["post:purge"]
    assert menu.headers[HEADER]


def test_odd_paths_make_a_tree_all_the_same(cast: Cast) -> None:
    apply('permissions:\n  - {code: "odd:a", menu: "/ a //b/ "}\n  - {code: "odd:b", menu: "///"}\n')
    tree = {node["name"]: node for node in cast.alice.get("menu/").json["menu"]}
    assert tree["a"]["children"] == [{"name": "b", "path": "a/b", "permissions": ["odd:a"], "children": []}]
    assert set(tree) == {"a", "content"}


@pytest.mark.parametrize("query", ["subject=bob", "subject=user:*", "resource=x", "resource=%00", "colour=red"])
def test_bad_parameters_are_refused(cast: Cast, query: str) -> None:
    assert cast.alice.get(f"menu/?{query}").status == 400
