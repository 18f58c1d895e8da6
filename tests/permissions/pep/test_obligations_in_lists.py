"""Obligations in lists: a row whose grant carries a duty that the list's caller does not comply with is not in it."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth.models import User
from rest_framework.test import APIClient

from permissions import pdp
from permissions.pep import queryset
from tests.permissions.pep.rows import Post
from tests.permissions.pep.urls import PostViewSet
from tests.worlds import apply

pytestmark = [pytest.mark.both_databases, pytest.mark.usefixtures("rows"), pytest.mark.urls("tests.permissions.pep.urls")]

# Post 1 is plain, 2 by a binding with a duty, 3 by a role with one; 4 lies below a blog with two; 5 has nothing.
WORLD = """
permissions: [{code: "post:edit"}]
subjects: [{id: "user:alice"}]
roles: [{name: masked, permissions: ["post:edit"], obligations: [{id: m, type: mask}]}]
resources: [{id: "post:1"}, {id: "post:2"}, {id: "post:3"}, {id: "blog:1"}, {id: "post:4", parent: "blog:1"}]
bindings:
  - {subject: "user:alice", allow: ["post:edit"], scope: "post:1"}
  - {subject: "user:alice", allow: ["post:edit"], scope: "post:2", obligations: [{id: l, type: log}]}
  - {subject: "user:alice", role: masked, scope: "post:3"}
  - {subject: "user:alice", allow: ["post:edit"], scope: "blog:1", obligations: [{id: l, type: log}, {id: m, type: mask}]}
"""


@pytest.fixture(autouse=True, params=[1_000, 0], ids=["listed", "subquery"])
def _world(rows: None, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queryset, "MOST_LISTED", request.param)
    apply(WORLD)
    Post.objects.bulk_create([Post(pk=n, title=f"p{n}") for n in range(1, 6)])


def grant(more: str = "") -> str:
    return f'bindings: [{{subject: "user:alice", allow: ["post:edit"]{more}}}]'


def seen(**options: Any) -> list[int]:
    return [post.pk for post in Post.objects.permitted("user:alice", "post:edit", full=True, **options)]


def by_check(*handled: str) -> list[int]:
    """As every other point has it."""
    found = []
    for n in range(1, 6):
        decision = pdp.check("user:alice", "post:edit", f"post:{n}", full=True)
        if decision.allowed and all(duty["type"] in handled for duty in decision.obligations):
            found.append(n)
    return found


def test_a_row_with_a_duty_is_left_out_unless_the_caller_complies_with_each_of_its_duties() -> None:
    assert seen() == by_check() == [1]
    assert seen(obligations=["log"]) == by_check("log") == [1, 2]
    assert seen(obligations={"mask"}) == by_check("mask") == [1, 3]
    assert seen(obligations=("log", "mask", "more")) == by_check("log", "mask") == [1, 2, 3, 4]


@pytest.mark.parametrize("beside", [', scope: "post:2", propagate: false', ', scope: "blog:1", propagate: false', ""])
def test_a_plain_grant_beside_one_with_a_duty_decides_as_a_check_does(beside: str) -> None:
    apply(grant(beside))
    for handled in ([], ["log"], ["mask"], ["log", "mask"]):
        assert seen(obligations=handled) == by_check(*handled), handled
    assert not {2, 3, 4} & set(seen()), "each grant that counts brings its duties: one without takes none away"


def test_where_all_is_allowed_the_rows_with_a_duty_are_the_exceptions() -> None:
    apply(grant())
    assert seen() == by_check() == [1, 5]
    assert seen(obligations=["log"]) == by_check("log") == [1, 2, 5]


def test_a_duty_at_the_realm_leaves_nothing() -> None:
    apply(grant(", obligations: [{id: w, type: watermark}]"))
    assert seen() == by_check() == []
    assert seen(obligations=["watermark"]) == by_check("watermark") == [1, 5]


def test_overlay_takes_the_duties_that_a_check_takes() -> None:
    apply("combining: overlay\n" + grant(", obligations: [{id: w, type: watermark}]"))
    for handled in ([], ["log"], ["watermark"], ["log", "watermark"]):
        assert seen(obligations=handled) == by_check(*handled), handled


def test_where_a_condition_looks_at_the_resource_each_row_is_judged_with_its_duties() -> None:
    condition = """'resource.id == "2" || resource.id == "5"'"""
    apply(grant(f", condition: {condition}, obligations: [{{id: w, type: watermark}}]"))
    for handled in ([], ["log"], ["watermark"], ["log", "watermark"]):
        assert seen(obligations=handled) == by_check(*handled), handled
    assert seen(obligations=["log", "watermark"]) == [1, 2, 5]


@pytest.mark.parametrize("wrong", ["log", {"log": print}, [7], [None]])
def test_what_names_no_types_is_told_at_once(wrong: Any) -> None:
    with pytest.raises(TypeError, match="a list of texts"):
        Post.objects.permitted("user:alice", "post:edit", obligations=wrong)


def test_a_list_of_rest_framework_and_its_rows_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    client = APIClient()
    client.force_authenticate(User.objects.create_user("alice"))

    def listed() -> list[int]:
        return sorted(row["id"] for row in client.get("/api/posts/").json()["results"])

    def opened() -> list[int]:
        return [n for n in range(1, 6) if client.get(f"/api/posts/{n}/").status_code == 200]

    assert listed() == opened() == [1]
    monkeypatch.setattr(PostViewSet, "permission_obligations", ("mask",), raising=False)
    assert listed() == opened() == [1, 3]
