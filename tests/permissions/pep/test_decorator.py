"""@require_permission: who gets in, and what everyone else is told."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import pytest
from asgiref.sync import async_to_sync
from django.contrib.auth.models import User
from django.test import AsyncClient, Client

from permissions import pdp, revisions
from permissions.pep.decorators import open_view, require_permission
from permissions.pep.freshness import COOKIE
from permissions.pep.requirement import NeedsRow
from tests.permissions.pep import urls
from tests.permissions.pep.rows import Message, Note, Post
from tests.permissions.pep.world import WORLD
from tests.worlds import apply

pytestmark = [pytest.mark.django_db, pytest.mark.urls("tests.permissions.pep.urls")]


@pytest.fixture(autouse=True)
def _world(tables: None, db: None, settings: Any) -> None:
    settings.LOGIN_URL = "/login/"
    apply(WORLD)
    urls.REFUSED.clear()


@pytest.fixture
def alice(client: Client) -> Client:
    client.force_login(User.objects.create_user("alice"))
    return client


def agets(path: str, user: str | None = "alice", **headers: str) -> Any:
    async def asked() -> Any:
        client = AsyncClient()
        if user is not None:
            found, _ = await User.objects.aget_or_create(username=user)
            await client.aforce_login(found)
        return await client.get(path, headers=headers)

    return async_to_sync(asked)()


def test_whom_the_pdp_allows_gets_in_and_whom_not_gets_the_403_page(alice: Client) -> None:
    assert alice.get("/realm/").content == b"shown []"
    alice.force_login(User.objects.create_user("charlie"))
    assert alice.get("/realm/").status_code == 403


def test_a_text_key_is_asked_about_as_the_row_that_it_finds_is_called(alice: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """A column may take two texts for one: then the text of the address is not the name of the row that is shown."""
    apply('subjects: [{id: "user:alice"}]\nbindings: [{subject: "user:alice", allow: ["note:view"]}]')
    apply('bindings: [{subject: "user:alice", deny: ["note:view"], scope: "note:secret"}]')
    Note.objects.create(key="secret")
    monkeypatch.setattr(NeedsRow, "row", lambda row: Note.objects.get(key__iexact=row.key))
    assert alice.get("/by-note/secret/").status_code == 403
    assert alice.get("/by-note/SECRET/").status_code == 403
    Note.objects.create(key="open")
    assert alice.get("/by-note/OPEN/").status_code == 200


def test_nobody_in_particular_is_sent_to_the_login_and_back(client: Client) -> None:
    response = client.get("/realm/?a=1")
    assert (response.status_code, response["Location"]) == (302, f"/login/?next={quote('/realm/?a=1')}")
    assert client.get("/refusing/").status_code == 403


def test_a_program_is_told_in_json(client: Client) -> None:
    response = client.get("/realm/", headers={"accept": "application/json"})
    assert (response.status_code, response["Content-Type"]) == (401, "application/problem+json")
    assert response["WWW-Authenticate"]
    client.force_login(User.objects.create_user("charlie"))
    response = client.post("/realm/", "{}", content_type="application/json")
    assert response.status_code == 403
    assert response.json() == {
        "type": "/problems/forbidden",
        "title": "Forbidden",
        "status": 403,
        "detail": "this needs post:view",
    }


@pytest.mark.parametrize("path", ["/by-model/7/", "/by-text/7/", "/by-function/7/", "/by-row/7/", "/class/7/", "/decorated/7/"])
def test_each_way_to_name_the_resource_asks_about_it(path: str, alice: Client) -> None:
    assert alice.get(path).status_code == 200
    assert alice.get(path.replace("7", "8")).status_code == 403


@pytest.mark.parametrize("path", ["/async/", "/async-by-function/7/", "/async-class/7/", "/class/7/", "/duty/aknown/"])
def test_asynchronous_views_are_guarded_alike(path: str) -> None:
    assert agets(path).status_code == 200
    assert agets(path, "charlie").status_code == 403
    assert agets(path, None).status_code == 302
    if "7" in path:
        assert agets(path.replace("7", "8")).status_code == 403


def test_a_row_is_asked_about_by_its_key_however_the_address_writes_it(alice: Client) -> None:
    """`post:8` is denied to alice, whom the realm allows to mark: no other spelling of 8 may pass for another row."""
    apply(
        'bindings: [{subject: "user:alice", allow: ["post:edit"]}, {subject: "user:alice", deny: ["post:edit"], scope: "post:8"}]'
    )
    assert alice.get("/by-model/9/").status_code == 200
    for spelling in ("8", "08", "٨", "+8", " 8", "8 ", "0_8"):
        response = alice.get(f"/by-model/{quote(spelling)}/")
        assert response.status_code == 403, spelling
    for nonsense in ("8.0", "x", "8;", "*", "8%00"):
        assert alice.get(f"/by-model/{quote(nonsense)}/").status_code in (403, 404), nonsense


@pytest.mark.parametrize("odd", ["*", " 7", "7 ", "7\n", "a\u0301", "x" * 600])
def test_an_id_that_no_question_can_carry_is_a_no(odd: str, alice: Client) -> None:
    apply('bindings: [{subject: "user:alice", allow: ["post:edit"]}]')
    assert alice.get(f"/by-text/{quote(odd)}/").status_code == 403


def test_a_function_that_finds_no_resource_does_not_ask_about_the_realm(alice: Client) -> None:
    assert alice.get("/realm/").status_code == 200
    assert alice.get("/by-nothing/7/").status_code == 403


def test_a_model_that_names_its_rows_otherwise_is_read_first(alice: Client) -> None:
    in_three, in_four = Message.objects.create(channel=3), Message.objects.create(channel=4)
    nowhere = Message.objects.create(channel=None)
    assert alice.get(f"/by-message/{in_three.pk}/").status_code == 200
    assert alice.get(f"/by-message/{in_four.pk}/").status_code == 403
    assert alice.get(f"/by-message/{nowhere.pk}/").status_code == 403
    assert alice.get("/by-message/999/").status_code == 404


def test_conditions_see_the_context(alice: Client) -> None:
    assert alice.get("/mfa/").status_code == 403
    assert alice.get("/mfa/?mfa").status_code == 200


def test_an_obligation_that_is_not_understood_is_a_no_and_others_are_complied_with(alice: Client) -> None:
    assert alice.get("/duty/plain/").status_code == 403
    assert urls.REFUSED == []
    assert alice.get("/duty/known/").status_code == 200
    assert urls.REFUSED == ["boss"]
    assert alice.get("/duty/answers/").content == b"prove it"
    response = alice.get("/duty/named/")
    assert response.status_code == 200
    duties = response.wsgi_request.permission_decision.obligations  # type: ignore[attr-defined]
    assert [duty["type"] for duty in duties] == ["notification"]


def test_another_realm_is_asked_where_the_view_says_so(alice: Client) -> None:
    assert alice.get("/shop/").status_code == 403
    apply('realm: shop\npermissions: [{code: "post:view"}]\nbindings: [{subject: "user:alice", allow: ["post:view"]}]')
    assert alice.get("/shop/").status_code == 200
    assert alice.get("/nowhere/").status_code == 403


def test_a_superuser_gets_in_and_an_inactive_account_does_not(client: Client) -> None:
    root = User.objects.create_superuser("root")
    client.force_login(root)
    assert client.get("/by-model/8/").status_code == 200
    apply('bindings: [{subject: "user:root", deny: ["post:edit"], scope: "post:8"}]')
    assert client.get("/by-model/8/").status_code == 403, "step 5 comes before step 6"
    root.is_active = False
    root.save()
    assert client.get("/by-model/7/").status_code in (302, 403)


def test_while_no_decision_can_be_given_the_answer_is_503(alice: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(*_: object, **__: object) -> Any:
        raise pdp.Unavailable("the database does not answer", retry_after_s=2.2)

    monkeypatch.setattr(pdp, "decide", away)
    response = alice.get("/realm/")
    assert (response.status_code, response["Retry-After"]) == (503, "3")
    response = alice.get("/realm/", headers={"accept": "application/json"})
    assert response.json()["status"] == 503


def test_a_question_inside_the_view_that_finds_no_decision_is_503_too(alice: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(*_: object, **__: object) -> Any:
        raise pdp.Unavailable("the database does not answer")

    monkeypatch.setattr(pdp, "permitted", away)
    assert alice.get("/listing/").status_code == 503


def test_a_token_of_a_write_is_honoured_and_a_bad_one_is_told(alice: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []
    decide = pdp.decide

    def noted(request: Any, **given: Any) -> Any:
        asked.append(given)
        return decide(request, **given)

    monkeypatch.setattr(pdp, "decide", noted)
    token = revisions.mint(revisions.head("default"))
    assert alice.get("/realm/", headers={revisions.HEADER: token}).status_code == 200
    assert alice.get("/realm/", headers={revisions.HEADER: "full"}).status_code == 200
    assert [(one["token"], one["full"]) for one in asked] == [(token, False), (None, True)]
    assert alice.get("/realm/", headers={revisions.HEADER: "v1.nonsense"}).status_code == 400
    head = revisions.head("default")
    future = revisions.mint(revisions.Head(head.realm_id, head.name, head.epoch, head.rev + 9, 0))
    assert alice.get("/realm/", headers={revisions.HEADER: future}).status_code == 409
    other = revisions.mint(revisions.Head(head.realm_id + 1, "x", head.epoch, 1, 0))
    assert alice.get("/realm/", headers={revisions.HEADER: other}).status_code == 400


@pytest.mark.parametrize("kind", ["future", "forged", "another realm's", "plain"])
def test_a_cookie_that_says_nothing_here_is_nobodys_fault(kind: str, alice: Client, rf: Any) -> None:
    from django.http import HttpResponse

    head = revisions.head("default")
    tokens = {
        "future": revisions.mint(revisions.Head(head.realm_id, head.name, head.epoch, head.rev + 9, 0)),
        "forged": "v1.1.00000000.7.AAAA",
        "another realm's": revisions.mint(revisions.Head(head.realm_id + 1, "x", head.epoch, 1, 0)),
    }
    response = HttpResponse()
    response.set_signed_cookie(COOKIE, tokens.get(kind, "x"))
    alice.cookies[COOKIE] = "unsigned" if kind == "plain" else response.cookies[COOKIE].value
    assert alice.get("/realm/").status_code == 200
    assert agets("/async/").status_code == 200


def test_what_can_never_be_asked_is_refused_where_it_is_written() -> None:
    for wrong in ("post", "post:*", "", "post:", "*"):
        with pytest.raises(ValueError, match="permission"):
            require_permission(wrong)
    for resource in (7, True, object(), Post(pk=7)):
        with pytest.raises(TypeError, match="resource must be"):
            require_permission("post:edit", resource=resource)  # type: ignore[arg-type]
    for text in ("post", "post:*", ":7", "{kind}:{pk}", "post:{pk!r}", "post:{0}"):
        with pytest.raises(ValueError):
            require_permission("post:edit", resource=text)
    with pytest.raises(TypeError, match="permission is a text"):
        require_permission(urls.shown)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="obligations names types"):
        require_permission("post:edit", obligations="notification")
    with pytest.raises(TypeError, match="permission_classes"):
        require_permission("post:edit")(urls.Silent)
    with pytest.raises(TypeError, match="no class of views"):
        require_permission("post:edit")(dict)
    with pytest.raises(TypeError, match="say why"):
        open_view(urls.shown)  # type: ignore[arg-type]


def test_an_asynchronous_function_cannot_guard_a_plain_view(rf: Any) -> None:
    guarded = require_permission("post:edit", resource=urls.aresource)(urls.shown)
    request = rf.get("/")
    request.user = User.objects.create_user("alice")
    with pytest.raises(TypeError, match="asynchronous"):
        guarded(request, pk=7)
