"""/api/v1/system/config: seen, changed, undone; who may, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest

from controlplane.models import ConfigRevision
from controlplane.services import config as service
from permissions.errors import Forbidden
from permissions.models import AuditEvent
from permissions.writing import SYSTEM, Actor
from resilience import config, config_sources
from resilience.errors import ConfigConflict
from resilience.storage.base import default_store
from tests.permissions.api.world import Answer, Api, Cast, refused

pytestmark = pytest.mark.both_databases
LOGIN = {"login": {"limit": 5, "period_s": 60.0}}


def put(who: Api, section: str, values: Any, **headers: str) -> Answer:
    return who.put(f"system/config/{section}", {"values": values, "reason": "a test"}, **headers)


def test_before_any_change_the_defaults_hold(cast: Cast) -> None:
    answer = cast.bob.get("system/config/limiters")
    assert answer.status == 200
    assert (answer.json["version"], answer.json["values"]) == (0, {})
    assert answer.headers["ETag"] == '"0"'
    limit = next(one for one in answer.json["parameters"] if one["name"] == "limit")
    assert (limit["type"], limit["min"], limit["max"]) == ("int", 1, 90_000_000)


def test_a_change_is_a_version_with_author_and_reason(cast: Cast) -> None:
    answer = put(cast.alice, "limiters", LOGIN)
    assert answer.status == 200, answer.body
    assert answer.json["version"] == 1
    assert answer.json["changes"] == [
        {"path": "limiters.login.limit", "before": None, "after": 5},
        {"path": "limiters.login.period_s", "before": None, "after": 60.0},
    ]
    row = ConfigRevision.objects.get()
    assert (row.author, row.reason, row.section, row.is_active) == ("user:alice", "a test", "limiters", True)
    assert row.epoch > 1_700_000_000_000_000
    seen = cast.bob.get("system/config/limiters").json
    assert (seen["version"], seen["values"], seen["author"], seen["reason"]) == (1, LOGIN, "user:alice", "a test")


def test_each_change_is_audited_with_what_was_and_what_is(cast: Cast) -> None:
    put(cast.alice, "limiters", LOGIN)
    put(cast.alice, "limiters", {"login": {"limit": 7, "period_s": 60.0}})
    event = AuditEvent.objects.filter(action="config_change").order_by("-seq")[0]
    assert (event.object_type, event.object_id, event.actor, event.reason) == ("config", "limiters", "user:alice", "a test")
    assert (event.before, event.after) == ({"limiters.login.limit": 5}, {"limiters.login.limit": 7})


def test_after_the_commit_it_is_announced_and_runs_here(cast: Cast, django_capture_on_commit_callbacks: Any) -> None:
    heard: list[bytes] = []
    default_store().bus.subscribe("resilience:config_updated", heard.append)
    with django_capture_on_commit_callbacks(execute=True):
        put(cast.alice, "limiters", LOGIN)
        assert heard == [], "not before the commit"
        assert config.current().version == 0
    row = ConfigRevision.objects.get()
    assert heard == [f"{row.epoch} 1".encode()]
    assert config.current().section("limiters")["login"]["limit"] == 5
    projected = config_sources.RedisSource(default_store(), service.make_follower().projection._seal._keys).read()  # type: ignore[union-attr]
    assert projected is not None
    assert projected.sections == {"limiters": LOGIN}


def test_the_process_that_writes_keeps_the_last_good_version_in_its_file(
    cast: Cast, settings: Any, tmp_path: Any, django_capture_on_commit_callbacks: Any
) -> None:
    settings.VAR = tmp_path
    follower = service.make_follower()
    config.set_following(follower)
    try:
        with django_capture_on_commit_callbacks(execute=True):
            cast.bob.put("maintenance", {"mode": "full", "reason": "moving"})
    finally:
        config.set_following(None)
    assert follower.kept is not None
    kept = follower.kept.read()
    assert kept is not None
    assert kept.sections["maintenance"]["mode"] == "full"


def test_the_version_that_was_looked_at_wins_once(cast: Cast) -> None:
    assert put(cast.alice, "limiters", LOGIN, If_Match='"0"').status == 200
    late = put(cast.alice, "limiters", {"login": {"limit": 99}}, If_Match='"0"')
    refused(late, 409, "conflict")
    assert late.problem["detail"] == "version 1 is in force, not 0: look at it again"
    assert late.places() == {
        "limiters.login.limit": "was not set, is 5",
        "limiters.login.period_s": "was not set, is 60.0",
    }
    assert ConfigRevision.objects.count() == 1
    assert put(cast.alice, "limiters", {"login": {"limit": 99}}, If_Match="1").status == 200


@pytest.mark.parametrize("sent", ["one", '"-1"', "1.0", '"1', "", '"9999999999999999999999"', "1, 2"])
def test_an_if_match_that_is_no_version_is_refused(cast: Cast, sent: str) -> None:
    refused(put(cast.alice, "limiters", LOGIN, If_Match=sent), 400, "bad_request")
    assert not ConfigRevision.objects.exists()


def test_the_service_says_a_conflict_in_the_words_of_the_kit(cast: Cast) -> None:
    service.section_change(actor=SYSTEM, section="limiters", values=LOGIN)
    with pytest.raises(ConfigConflict) as caught:
        service.section_change(actor=SYSTEM, section="limiters", values={}, expected=0)
    assert (caught.value.expected, caught.value.actual) == (0, 1)


@pytest.mark.parametrize(
    ("section", "values", "where", "told"),
    [
        ("limiters", {"login": {"limit": True}}, "limiters.login.limit", "must be a whole number, not a boolean"),
        ("limiters", {"login": {"limit": 1.5}}, "limiters.login.limit", "must be a whole number, not 1.5"),
        ("limiters", {"login": {"limit": -1}}, "limiters.login.limit", "must be 1 to 90000000, not -1"),
        ("limiters", {"login": {"limit": 10**18}}, "limiters.login.limit", "is too large"),
        ("limiters", {"login": {"period_s": "60"}}, "limiters.login.period_s", "must be a number, not a text"),
        ("limiters", {"log in": {}}, "limiters.log in", "1 to 100 of the characters"),
        ("limiters", {"ログイン": {}}, "limiters.ログイン", "1 to 100 of the characters"),
        ("limiters", {"login": None}, "limiters.login", "must be an object, not null"),
        ("limiters", [], "limiters", "must be an object, not a list"),
        ("limiters", "", "limiters", "must be an object, not a text"),
        ("breakers", {"b": {"failure_ratio": 0}}, "breakers.b.failure_ratio", "must be 0.001 to 1, not 0"),
        ("breakers", {"b": {"colour": "red"}}, "breakers.b.colour", "there is no such parameter"),
        ("pipelines", {"p": {"breaker": "a b"}}, "pipelines.p.breaker", "a name is 1 to 100"),
        ("retries", {"r": {"attempts": 0}}, "retries.r.attempts", "must be 1 to 100, not 0"),
    ],
)
def test_a_bad_value_is_refused_with_its_place_and_changes_nothing(
    cast: Cast, section: str, values: Any, where: str, told: str
) -> None:
    answer = put(cast.alice, section, values)
    refused(answer, 400, "invalid")
    assert told in answer.places()[where]
    validated = cast.alice.post(f"system/config/{section}/validate", {"values": values})
    assert validated.json["valid"] is False
    assert validated.json["errors"][0]["where"] == where
    assert not ConfigRevision.objects.exists()


def test_every_mistake_is_told_at_once(cast: Cast) -> None:
    answer = put(cast.alice, "limiters", {"a": {"limit": 0}, "b": {"limit": 0, "aligned": 3}})
    assert set(answer.places()) == {"limiters.a.limit", "limiters.b.limit", "limiters.b.aligned"}


@pytest.mark.parametrize(
    ("body", "where"),
    [
        ({}, "values"),
        ({"values": {}, "colour": 1}, "colour"),
        ([], ""),
        ({"values": {}, "reason": 3}, "reason"),
        ({"values": {}, "reason": "a\nb"}, "reason"),
        ({"values": {}, "reason": "x" * 1001}, "reason"),
    ],
)
def test_a_body_of_another_shape_is_refused(cast: Cast, body: Any, where: str) -> None:
    answer = cast.alice.put("system/config/limiters", body)
    refused(answer, 400, "invalid")
    assert where in answer.places()


@pytest.mark.parametrize("section", ["limitters", "maintenance", "LIMITERS", "%00", "x" * 300])
def test_a_section_that_is_none_is_not_found(cast: Cast, section: str) -> None:
    for answer in (cast.alice.get(f"system/config/{section}"), put(cast.alice, section, {})):
        refused(answer, 404, "not_found")


def test_what_this_process_could_not_run_is_refused_before_it_is_written(cast: Cast) -> None:
    def cannot(snapshot: config.Snapshot) -> None:
        if "login" in snapshot.section("limiters"):
            raise ValueError("login: burst must be at least limit")

    out = config.add_check(cannot)
    try:
        answer = put(cast.alice, "limiters", LOGIN)
        validated = cast.alice.post("system/config/limiters/validate", {"values": LOGIN})
    finally:
        out()
    refused(answer, 400, "invalid")
    assert answer.places() == {"sections": "login: burst must be at least limit"}
    assert validated.json["valid"] is False
    assert not ConfigRevision.objects.exists()


def test_validate_shows_what_would_change_and_changes_nothing(cast: Cast) -> None:
    put(cast.alice, "limiters", LOGIN)
    answer = cast.bob.post("system/config/limiters/validate", {"values": {"login": {"limit": 6}}})
    assert answer.json == {
        "section": "limiters",
        "valid": True,
        "errors": [],
        "changes": [
            {"path": "limiters.login.limit", "before": 5, "after": 6},
            {"path": "limiters.login.period_s", "before": 60.0, "after": None},
        ],
    }
    assert ConfigRevision.objects.count() == 1


def test_history_tells_the_versions_of_a_section_page_by_page(cast: Cast) -> None:
    for limit in (1, 2, 3):
        put(cast.alice, "limiters", {"login": {"limit": limit}})
        put(cast.alice, "retries", {"r": {"attempts": limit}})
    first = cast.bob.get("system/config/limiters/history?limit=2").json
    assert [(one["version"], one["values"]["login"]["limit"]) for one in first["results"]] == [(5, 3), (3, 2)]
    rest = cast.bob.get(f"system/config/limiters/history?limit=2&before={first['before']}").json
    assert [one["version"] for one in rest["results"]] == [1]
    assert rest["before"] is None


@pytest.mark.parametrize("query", ["limit=0", "limit=1001", "limit=x", "before=-1", "after=3", "limit=1&limit=2"])
def test_a_wrong_page_is_refused(cast: Cast, query: str) -> None:
    refused(cast.bob.get(f"system/config/limiters/history?{query}"), 400, "bad_request")


def test_a_rollback_is_a_new_version_that_holds_the_old_values(cast: Cast) -> None:
    put(cast.alice, "limiters", LOGIN)
    put(cast.alice, "limiters", {"login": {"limit": 1}})
    put(cast.alice, "retries", {"r": {"attempts": 5}})
    answer = cast.alice.post("system/config/limiters/rollback", {"version": 1, "reason": "too strict"}, If_Match="3")
    assert answer.status == 200, answer.body
    assert (answer.json["version"], answer.json["values"]) == (4, LOGIN)
    row = ConfigRevision.objects.get(version=4)
    assert (row.rolled_back_from, row.reason) == (1, "too strict")
    assert row.sections["retries"] == {"r": {"attempts": 5}}, "another section stays as it is"
    assert [one.version for one in ConfigRevision.objects.filter(is_active=True)] == [4]


def test_a_rollback_of_all_sections_leaves_the_maintenance_switch(cast: Cast) -> None:
    put(cast.alice, "limiters", LOGIN)
    cast.alice.put("maintenance", {"mode": "full", "reason": "moving"})
    put(cast.alice, "limiters", {})
    done = service.config_rollback(actor=SYSTEM, version=1)
    assert done.revision.sections["limiters"] == LOGIN
    assert done.revision.sections["maintenance"]["mode"] == "full"


@pytest.mark.parametrize("version", [0, -1, True, "1", 1.0, None])
def test_a_rollback_to_what_is_no_version_is_refused(cast: Cast, version: Any) -> None:
    refused(cast.alice.post("system/config/limiters/rollback", {"version": version}), 400, "invalid")


def test_a_rollback_to_a_version_that_never_was_is_not_found(cast: Cast) -> None:
    put(cast.alice, "limiters", LOGIN)
    refused(cast.alice.post("system/config/limiters/rollback", {"version": 9}), 404, "not_found")
    refused(cast.alice.post("system/config/limiters/rollback", {"version": 1}, If_Match="7"), 409, "conflict")


def test_a_new_epoch_keeps_the_values_and_is_newer_than_anything(cast: Cast) -> None:
    put(cast.alice, "limiters", LOGIN)
    before = ConfigRevision.objects.get()
    done = service.epoch_renew(actor=SYSTEM, reason="restored")
    assert done.revision.epoch > before.epoch
    assert (done.revision.version, done.revision.sections) == (2, {"limiters": LOGIN})
    put(cast.alice, "limiters", {})
    assert ConfigRevision.objects.get(is_active=True).epoch == done.revision.epoch


PATHS: list[tuple[str, str, Any]] = [
    ("GET", "system/config", None),
    ("GET", "system/config/limiters", None),
    ("GET", "system/config/limiters/history", None),
    ("POST", "system/config/limiters/validate", {"values": {}}),
]
WRITES: list[tuple[str, str, Any]] = [
    ("PUT", "system/config/limiters", {"values": {}}),
    ("POST", "system/config/limiters/rollback", {"version": 1}),
]


@pytest.mark.parametrize(("method", "path", "body"), PATHS)
def test_reading_takes_the_right_to_view(cast: Cast, method: str, path: str, body: Any) -> None:
    for allowed in (cast.alice, cast.bob, cast.root, cast.admin_key, cast.bobs_key):
        assert allowed.send(method, path, body).status == 200
    for answer in (cast.charlie.send(method, path, body), cast.plain_key.send(method, path, body)):
        refused(answer, 403, "forbidden")
    refused(cast.nobody.send(method, path, body), 401, "unauthenticated")


@pytest.mark.parametrize(("method", "path", "body"), WRITES)
def test_writing_takes_the_right_to_change(cast: Cast, method: str, path: str, body: Any) -> None:
    put(cast.root, "limiters", LOGIN)
    for allowed in (cast.alice, cast.root, cast.admin_key):
        assert allowed.send(method, path, body).status == 200
    before = ConfigRevision.objects.count()
    for answer in (cast.bob.send(method, path, body), cast.bobs_key.send(method, path, body)):
        refused(answer, 403, "forbidden")
        assert "permsite.config:change" in answer.problem["detail"]
    refused(cast.charlie.send(method, path, body), 403, "forbidden")
    refused(cast.nobody.send(method, path, body), 401, "unauthenticated")
    assert ConfigRevision.objects.count() == before


def test_an_actor_without_a_subject_may_nothing(cast: Cast) -> None:
    nobody = Actor("key", "key:plain")
    for call in (
        lambda: service.section_change(actor=nobody, section="limiters", values={}),
        lambda: service.config_rollback(actor=nobody, version=1),
        lambda: service.epoch_renew(actor=nobody),
        lambda: service.section_problems(actor=nobody, section="limiters", values={}),
    ):
        with pytest.raises(Forbidden):
            call()
    assert not ConfigRevision.objects.exists()


def test_a_key_of_another_realm_operates_nothing(cast: Cast) -> None:
    from permissions.models import Realm
    from tests.permissions.api.world import make_key, with_key

    Realm.objects.create(name="elsewhere")
    foreign = with_key(make_key("foreign", realm="elsewhere", is_admin=True))
    refused(foreign.get("system/config/limiters"), 403, "forbidden")
    refused(put(foreign, "limiters", {}), 403, "forbidden")
    refused(foreign.put("maintenance", {"mode": "full", "reason": "mischief"}), 403, "forbidden")


def test_the_index_says_what_each_process_runs(cast: Cast, django_capture_on_commit_callbacks: Any) -> None:
    with django_capture_on_commit_callbacks(execute=True):
        put(cast.alice, "limiters", LOGIN)
    found = cast.bob.get("system/config").json
    assert found["version"] == 1
    assert {"breakers", "bulkheads", "limiters", "pipelines", "retries"} <= set(found["sections"])
    assert "maintenance" not in found["sections"], "it has a path, and a right, of its own"
    assert [(one["version"], one["source"]) for one in found["processes"]] == [(1, "rows")]
