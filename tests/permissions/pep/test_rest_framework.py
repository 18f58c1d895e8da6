"""HasPermission and PermittedFilter in views of REST framework."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.signing import get_cookie_signer
from rest_framework.test import APIClient

from permissions import pdp, revisions
from permissions.models import Realm
from permissions.pep import freshness
from permissions.services.keys import key_create
from permissions.writing import SYSTEM
from tests.permissions.pep.rows import Message, Post
from tests.permissions.pep.world import WORLD
from tests.worlds import apply

pytestmark = [pytest.mark.django_db, pytest.mark.urls("tests.permissions.pep.urls")]


@pytest.fixture(autouse=True)
def _world(tables: None, db: None) -> None:
    apply(WORLD)
    Post.objects.bulk_create([Post(pk=n, title=f"p{n}") for n in (7, 8, 9)])


@pytest.fixture
def alice() -> APIClient:
    client = APIClient()
    client.force_authenticate(User.objects.create_user("alice"))
    return client


def test_a_list_holds_the_rows_that_are_permitted(alice: APIClient) -> None:
    response = alice.get("/api/posts/")
    assert [row["id"] for row in response.json()["results"]] == [7]
    apply(
        'bindings: [{subject: "user:alice", allow: ["post:edit"]}, {subject: "user:alice", deny: ["post:edit"], scope: "post:8"}]'
    )
    assert [row["id"] for row in alice.get("/api/posts/").json()["results"]] == [7, 9]


def test_a_list_without_the_filter_is_asked_about_at_the_realm(alice: APIClient) -> None:
    assert alice.get("/api/bare/").status_code == 403
    apply('bindings: [{subject: "user:alice", allow: ["post:edit"]}]')
    assert alice.get("/api/bare/").status_code == 200


def test_a_row_is_asked_about_by_itself(alice: APIClient) -> None:
    assert alice.get("/api/posts/7/").status_code == 200
    assert alice.put("/api/posts/7/", {"title": "new"}, format="json").status_code == 200
    assert alice.get("/api/posts/8/").status_code == 403
    assert alice.delete("/api/posts/7/").status_code == 403, "DELETE needs another permission"
    assert alice.post("/api/posts/", {"title": "x"}, format="json").status_code == 403
    assert alice.get("/api/posts/x/").status_code == 404
    assert alice.patch("/api/posts/7/", {}, format="json").status_code == 405


@pytest.mark.parametrize("spelling", ["08", "%D9%A8", "+8", "%208"])
def test_no_spelling_of_a_key_is_another_row(spelling: str, alice: APIClient) -> None:
    apply(
        'bindings: [{subject: "user:alice", allow: ["post:edit"]}, {subject: "user:alice", deny: ["post:edit"], scope: "post:8"}]'
    )
    assert alice.get("/api/posts/9/").status_code == 200
    assert alice.get(f"/api/posts/{spelling}/").status_code == 403


def test_nobody_in_particular_and_an_unknown_account_are_refused() -> None:
    assert APIClient().get("/api/posts/").status_code in (401, 403)
    client = APIClient()
    client.force_authenticate(User(username="alice"))
    assert client.get("/api/posts/7/").status_code == 403, "an account that was never saved is nobody"
    client.force_authenticate(User.objects.create_user("charlie"))
    assert client.get("/api/posts/").json()["results"] == []
    assert client.get("/api/posts/7/").status_code == 403


def test_a_model_that_names_its_rows_otherwise_is_read(alice: APIClient) -> None:
    in_three, in_four = Message.objects.create(channel=3), Message.objects.create(channel=4)
    nowhere = Message.objects.create(channel=None)
    codes = [alice.get(f"/api/messages/{pk}/").status_code for pk in (in_three.pk, in_four.pk, nowhere.pk, 999)]
    assert codes == [200, 403, 403, 404]


def test_a_view_that_says_nothing_is_refused(alice: APIClient, caplog: pytest.LogCaptureFixture) -> None:
    assert alice.get("/api/silent/").status_code == 403
    assert "Silent says nothing of what GET needs" in caplog.text
    assert alice.post("/api/silent/").status_code == 405


def test_a_view_without_a_model_names_its_resource(alice: APIClient) -> None:
    assert alice.get("/api/blog/7/").status_code == 200
    assert alice.get("/api/blog/8/").status_code == 403
    assert alice.options("/api/blog/7/").status_code == 403, "the mapping names GET alone"


def test_an_obligation_is_complied_with_only_where_the_view_says_so(alice: APIClient) -> None:
    apply(
        """
        bindings:
          - {subject: "user:alice", allow: ["post:edit"], scope: "post:8", obligations: [{id: a, type: notification}]}
        """
    )
    assert alice.get("/api/posts/8/").status_code == 403
    assert alice.get("/api/blog/8/").status_code == 200


def test_the_metadata_tell_what_a_put_would_be_told(alice: APIClient) -> None:
    assert "PUT" in alice.options("/api/posts/7/").json().get("actions", {})
    assert alice.options("/api/posts/8/").status_code == 403


def test_an_api_key_is_asked_about_as_whom_it_acts_for_in_its_own_realm() -> None:
    realm = Realm.objects.get(name="default")
    apply("realm: shop\nsubjects: [{id: 'user:alice'}]")
    shop = Realm.objects.get(name="shop")
    for of, subject, expected in ((realm, "user:alice", 200), (realm, None, 403), (shop, "user:alice", 403)):
        _, plain = key_create(actor=SYSTEM, realm=of, name=f"{of.name} {subject}", subject=subject)
        client = APIClient(headers={"Authorization": f"Bearer {plain}"})
        assert client.get("/api/posts/7/").status_code == expected, (of.name, subject)


def test_while_no_decision_can_be_given_the_answer_is_503(alice: APIClient, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(*_: object, **__: object) -> Any:
        raise pdp.Unavailable("the database does not answer", retry_after_s=2.2)

    monkeypatch.setattr(pdp, "decide", away)
    response = alice.get("/api/posts/7/")
    assert (response.status_code, response["Retry-After"]) == (503, "3")


def test_a_bad_token_is_told(alice: APIClient) -> None:
    assert alice.get("/api/posts/7/", headers={revisions.HEADER: "nonsense"}).status_code == 400
    assert alice.get("/api/posts/7/", headers={revisions.HEADER: "full"}).status_code == 200
    assert json.loads(alice.get("/api/posts/7/").content)["id"] == 7


def ahead() -> str:
    """A token that this server signed for a revision that the realm has not reached, as after a restore."""
    head = revisions.head("default")
    return revisions.mint(dataclasses.replace(head, rev=head.rev + 1_000))


@pytest.mark.parametrize("path", ["/api/posts/", "/api/posts/7/"])
def test_a_list_tells_a_bad_token_as_its_rows_do(path: str, alice: APIClient) -> None:
    def answer(token: str) -> int:
        return int(alice.get(path, headers={revisions.HEADER: token}).status_code)

    good = revisions.mint(revisions.head("default"))
    apply("realm: shop")
    other = revisions.mint(revisions.head("shop"))
    forged = good[:-1] + ("a" if good[-1] != "a" else "b")
    assert [answer(token) for token in ("nonsense", "", forged, "ü" * 3, "v1.1.x.1." + "0" * 300, other)] == [400] * 6
    assert answer(ahead()) == 409
    assert answer(good) == answer("full") == 200


def test_a_cookie_that_is_out_of_date_keeps_nobody_from_a_list(alice: APIClient) -> None:
    for token in ("nonsense", ahead()):
        value = get_cookie_signer(salt=freshness.COOKIE).sign(token)
        alice.cookies[freshness.COOKIE] = value
        assert [row["id"] for row in alice.get("/api/posts/").json()["results"]] == [7]


def test_a_list_without_a_decision_is_503_with_the_standard_handler_too(
    alice: APIClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: object, **__: object) -> Any:
        raise pdp.Unavailable("the database does not answer", retry_after_s=2.2)

    monkeypatch.setattr(pdp, "permitted", away)
    response = alice.get("/api/posts/")
    assert (response.status_code, response["Retry-After"]) == (503, "3")
