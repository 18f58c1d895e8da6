"""/api/v1/system/cache/flush as operators use it, the mode of invalidation among the live parameters, and who may."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import OperationalError

from permissions import revisions
from permissions.cache import invalidation
from permissions.models import AuditEvent, Changelog, Realm
from permissions.writing import SYSTEM, permission_write
from tests.permissions.api.world import Cast, person, refused
from tests.worlds import apply

pytestmark = pytest.mark.both_databases
PATH = "system/cache/flush"


def head(realm: str = "default") -> revisions.Head:
    return revisions.head(realm)


def rows(rev: int) -> set[tuple[str, str]]:
    return set(Changelog.objects.filter(rev=rev).values_list("kind", "object_id"))


def test_a_flush_answers_with_its_revision_its_token_and_what_it_counted(cast: Cast) -> None:
    answer = cast.bob.post(PATH, {"tag": "subject", "value": "user:a*", "reason": "loaded wrongly"})
    assert answer.status == 202
    assert set(answer.json) == {"revision", "token", "counted"}
    assert answer.json["revision"] == head().rev
    assert answer.headers["X-Permission-Token"] == answer.json["token"]
    assert revisions.parse(answer.json["token"]).rev == answer.json["revision"]
    assert answer.json["counted"]["rows"] == {"subjects": 1, "resources": 0}
    assert ("f", "subject:user:a*") in rows(head().rev)
    entry = AuditEvent.objects.get(action="cache_flush")
    assert (entry.actor, entry.reason, entry.object_id) == ("user:bob", "loaded wrongly", "subject:user:a*")


def test_the_token_is_one_that_the_next_check_takes(cast: Cast) -> None:
    token = cast.bob.post(PATH, {"tag": "all"}).json["token"]
    answer = cast.admin_key.post(
        "check", {"subject": "user:zed", "permission": "post:read", "resource": "server:8"}, X_Permission_Token=token
    )
    assert answer.json["allowed"] is True


def test_counting_changes_nothing(cast: Cast) -> None:
    before = head()
    answer = cast.bob.post(f"{PATH}?count=1", {"tag": "role", "value": "caretaker"})
    assert (answer.status, answer.json) == (
        200,
        {"counted": {"rows": {"subjects": 2, "resources": 0}, "memory": {"subjects": 0, "resources": 0}}},
    )
    assert head() == before
    assert not AuditEvent.objects.filter(action="cache_flush").exists()
    assert cast.bob.post(f"{PATH}?count=0", {"tag": "role", "value": "caretaker"}).status == 202


def test_another_realm_is_flushed_by_its_name_and_audited_there(cast: Cast) -> None:
    with permission_write("shop", SYSTEM, create=True):
        pass
    before = head().rev
    answer = cast.bob.post(f"{PATH}?reason=why", {"tag": "team", "value": "team:x", "realm": "shop"})
    assert answer.status == 202
    assert head().rev == before
    shop = Realm.objects.get(name="shop")
    assert Changelog.objects.filter(realm_id=shop.pk, kind="f", object_id="team:team:x").exists()
    assert list(AuditEvent.objects.filter(realm_name="shop", action="cache_flush").values_list("reason", flat=True)) == ["why"]


WRONG: list[tuple[Any, str, str]] = [
    ({}, "tag", "is missing"),
    ([], "", "must be an object"),
    ("all", "", "must be an object"),
    (None, "", ""),
    ({"tag": "user", "value": "a"}, "tag", "must be one of subject, resource, role, team, scope, all"),
    ({"tag": True, "value": "a"}, "tag", "not bool"),
    ({"tag": None}, "tag", "not NoneType"),
    ({"tag": ["all"]}, "tag", "not list"),
    ({"tag": {"all": 1}}, "tag", "not dict"),
    ({"tag": "subject"}, "value", "is missing"),
    ({"tag": "subject", "value": None}, "value", "is missing"),
    ({"tag": "subject", "value": ""}, "value", "must not be empty"),
    ({"tag": "subject", "value": 7}, "value", "must be a text, not int"),
    ({"tag": "subject", "value": True}, "value", "must be a text, not bool"),
    ({"tag": "subject", "value": 1.5}, "value", "must be a text, not float"),
    ({"tag": "subject", "value": ["user:a"]}, "value", "must be a text, not list"),
    ({"tag": "subject", "value": "user:\u0000"}, "value", "control character"),
    ({"tag": "subject", "value": "user:\u001b[31m"}, "value", "control character"),
    ({"tag": "subject", "value": "a" * 201}, "value", "at most 200 are allowed"),
    ({"tag": "resource", "value": "ü" * 10_000}, "value", "at most 200 are allowed"),
    ({"tag": "team", "value": "eng"}, "value", "must be written type:id"),
    ({"tag": "scope", "value": "server:*"}, "value", "means everyone"),
    ({"tag": "all", "value": "x"}, "value", "must be left out"),
    ({"tag": "all", "realm": 7}, "realm", "must be a text, not int"),
    ({"tag": "all", "realm": None}, "realm", "must be a text, not NoneType"),
    ({"tag": "all", "reason": 7}, "reason", "must be a text"),
    ({"tag": "all", "reason": "a\nb"}, "reason", "without control characters"),
    ({"tag": "all", "reason": "a" * 1001}, "reason", "at most 1000"),
    ({"tag": "all", "pattern": "x"}, "pattern", "is not known here; known are tag, value, realm, reason"),
]


def test_bad_input_is_a_problem_that_names_its_place_and_changes_nothing(cast: Cast) -> None:
    before = head()
    for (body, where, told), query in itertools.product(WRONG, ("", "?count=1")):
        answer = cast.bob.post(PATH + query, body)
        assert answer.status == 400, body
        if told:
            refused(answer, 400, "invalid")
            assert told in answer.places()[where], body
    assert head() == before


def test_what_is_no_json_is_refused(cast: Cast) -> None:
    before = head()
    for raw in (
        b"{",
        b'{"tag": NaN}',
        b'{"tag": "all", "tag": "all"}',
        b'{"tag": "subject", "value": "user:\\ud800"}',
        b"\xff",
    ):
        assert cast.bob.send("POST", PATH, raw=raw).status == 400, raw
    assert head() == before


def test_a_wrong_query_is_refused(cast: Cast) -> None:
    before = head()
    for query in ("count=yes", "count=", "count=2", "count=1&count=1", "sure=1", "realm=default"):
        refused(cast.bob.post(f"{PATH}?{query}", {"tag": "all"}), 400, "bad_request")
    assert head() == before


def test_a_realm_that_is_not_there_is_404(cast: Cast) -> None:
    for query in ("", "?count=1"):
        refused(cast.bob.post(PATH + query, {"tag": "all", "realm": "nowhere"}), 404, "not_found")
    refused(cast.bob.post(PATH, {"tag": "all", "realm": "x" * 10_000}), 404, "not_found")


def test_without_the_right_it_is_403_and_who_may_only_look_may_only_count(cast: Cast) -> None:
    before = head().rev
    for caller in (cast.charlie, cast.plain_key):
        refused(caller.post(PATH, {"tag": "all"}), 403, "forbidden")
        refused(caller.post(f"{PATH}?count=1", {"tag": "all"}), 403, "forbidden")
    refused(cast.nobody.post(PATH, {"tag": "all"}), 401, "unauthenticated")
    assert head().rev == before
    apply('version: 1\nrealm: default\nbindings: [{subject: "user:charlie", role: watcher}]')
    assert cast.charlie.post(f"{PATH}?count=1", {"tag": "all"}).status == 200
    answer = cast.charlie.post(PATH, {"tag": "all"})
    refused(answer, 403, "forbidden")
    assert "permsite.control:operate on permsite.control:cache" in answer.problem["detail"]


def test_the_right_may_be_given_for_this_page_alone(cast: Cast) -> None:
    apply(
        """
version: 1
realm: default
resources: [{id: "permsite.control:cache"}]
bindings: [{subject: "user:charlie", role: operator, scope: "permsite.control:cache"}]
"""
    )
    assert cast.charlie.post(PATH, {"tag": "role", "value": "reader"}).status == 202
    refused(cast.charlie.put("maintenance", {"mode": "off"}), 403, "forbidden")


def test_administrators_need_no_right(cast: Cast) -> None:
    assert cast.admin_key.post(PATH, {"tag": "all"}).status == 202
    assert cast.root.post(PATH, {"tag": "all"}).status == 202


def test_a_browsers_session_needs_its_csrf_token(cast: Cast) -> None:
    before = head().rev
    assert person("bob", csrf=True).post(PATH, {"tag": "all"}).status == 403
    assert head().rev == before


def test_no_other_method_is_there(cast: Cast) -> None:
    for method in ("GET", "PUT", "PATCH", "DELETE"):
        refused(cast.bob.send(method, PATH), 405, "method_not_allowed")


def test_a_database_that_is_away_is_503(cast: Cast, monkeypatch: pytest.MonkeyPatch) -> None:
    from permissions.cache import flush

    def away(*args: object, **more: object) -> Any:
        raise OperationalError("the server closed the connection")

    monkeypatch.setattr(flush, "run_write", away)
    answer = cast.bob.post(PATH, {"tag": "all"})
    refused(answer, 503, "unavailable")
    assert answer.headers["Retry-After"]


def test_maintenance_does_not_stand_in_its_way(cast: Cast, django_capture_on_commit_callbacks: Any) -> None:
    with django_capture_on_commit_callbacks(execute=True):
        cast.bob.put("maintenance", {"mode": "full", "reason": "moving"})
    assert cast.root.post(PATH, {"tag": "all"}).status == 202


def test_the_mode_of_invalidation_is_a_live_parameter(cast: Cast, django_capture_on_commit_callbacks: Any) -> None:
    apply('version: 1\nrealm: default\nroles: [{name: tuner, permissions: ["permsite.config:*"]}]\n'
          'bindings: [{subject: "user:bob", role: tuner}]')  # fmt: skip
    assert cast.bob.get("system/config/cache").json["values"] == {}
    with django_capture_on_commit_callbacks(execute=True):
        assert cast.bob.put("system/config/cache", {"values": {"invalidation": "conservative"}}).status == 200
    assert invalidation.setting() == "conservative"
    answer = cast.bob.put("system/config/cache", {"values": {"invalidation": "fast"}})
    assert "must be one of auto, aggressive, conservative" in answer.places()["cache.invalidation"]
    with django_capture_on_commit_callbacks(execute=True):
        assert cast.bob.put("system/config/cache", {"values": {}}).status == 200
    assert invalidation.setting() == "auto"


def test_the_screen_of_a_section_without_names_sets_its_parameters(cast: Cast, django_capture_on_commit_callbacks: Any) -> None:
    User.objects.update(is_staff=True)
    where = "/admin/controlplane/configrevision/section/cache/"
    page = cast.root.client.get(where)
    assert page.status_code == 200
    assert 'name="invalidation"' in page.content.decode()
    with django_capture_on_commit_callbacks(execute=True):
        done = cast.root.client.post(where, {"invalidation": "aggressive", "version": "0", "change_reason": "a slow network"})
    assert done.status_code == 302
    assert invalidation.setting() == "aggressive"
    wrong = cast.root.client.post(where, {"invalidation": "fast", "version": "1"})
    assert "must be one of auto, aggressive, conservative" in wrong.content.decode()
    stale = cast.root.client.post(where, {"invalidation": "auto", "version": "0"})
    assert stale.status_code == 200, "somebody else has changed it meanwhile: shown, not overwritten"
    assert invalidation.setting() == "aggressive"
    assert cast.root.client.get(where + "invalidation/").status_code == 404
    assert cast.charlie.client.get(where).status_code == 403
