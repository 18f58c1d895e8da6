"""/api/v1/system/cache and /cache/subject: what the layers hold, and what they hold of one id."""

from __future__ import annotations

from typing import Any

import pytest

from controlplane.services import boards
from permissions import pdp, revisions
from permissions.cache import l2
from permissions.models import AuditEvent
from permissions.writing import SYSTEM, permission_write
from tests.permissions.api.world import Api, Cast, refused
from tests.worlds import apply

PATH, SUBJECT = "system/cache", "system/cache/subject"
LOCK = 'version: 1\nrealm: default\nsubjects: [{id: "user:zed", attributes: {floor: 2}}]'


def state(api: Api) -> Any:
    boards.forget()
    return api.get(PATH).json


def test_the_layers_say_how_deep_checks_had_to_go(transactional_cast: Cast) -> None:
    before = {one["layer"]: one["total"] for one in state(transactional_cast.bob)["layers"]}
    for _ in range(3):
        assert pdp.check("user:zed", "post:read", "server:8")
    after = {one["layer"]: one["total"] for one in state(transactional_cast.bob)["layers"]}
    assert after["l1"] - before["l1"] >= 2
    assert sum(after[layer] - before[layer] for layer in ("l1", "redis", "db", "live")) >= 3


def test_fills_and_sizes_are_counted(transactional_cast: Cast) -> None:
    before = state(transactional_cast.bob)["fills"]["db"]
    pdp.check("user:zed", "post:read", "server:8")
    found = state(transactional_cast.bob)
    assert found["fills"]["db"] >= before + 2
    (node,) = found["instances"]
    assert node["here"] is True and found["complete"] is False
    assert node["entries"]["subject"] >= 1
    assert {one["realm"]: one["revision"] for one in node["realms"]}["default"] == revisions.head("default").rev
    assert node["age_s"] is not None


def test_filters_tell_their_fill_and_their_error(transactional_cast: Cast) -> None:
    from permissions.cache import warmup

    assert warmup.run("default").state == "done"
    (realm,) = [one for one in state(transactional_cast.bob)["realms"] if one["realm"] == "default"]
    filters = {one["of"]: one for one in realm["filters"]}
    assert filters["subjects"]["ids"] >= 3 and filters["resources"]["ids"] >= 3
    for one in filters.values():
        assert 0 < one["fill"] < 1 and 0 <= one["error_rate"] < 0.004 and not one["crowded"]


def test_an_id_that_nobody_asked_for_is_not_there(cast: Cast) -> None:
    found = cast.bob.get(f"{SUBJECT}?subject=user:zed").json
    assert found["layers"]["redis"]["verdict"] == "none"
    assert found["layers"]["memory"]["verdict"] in ("absent", "unread")


def test_a_lookup_tells_b_and_bytes_and_promotes_nothing(transactional_cast: Cast) -> None:
    pdp.check("user:zed", "post:read", "server:8")
    head = revisions.head("default").rev
    found = transactional_cast.bob.get(f"{SUBJECT}?subject=user:zed").json
    memory = found["layers"]["memory"]
    assert (memory["verdict"], memory["built_rev"], memory["half"], memory["known"]) == ("serves", head, "young", True)
    assert memory["bytes"] > 20
    assert (found["revision"], found["realm"], found["kind"]) == (head, "default", "subject")
    resource = transactional_cast.bob.get(f"{SUBJECT}?resource=server:8").json["layers"]["memory"]
    assert (resource["verdict"], resource["until"]) == ("serves", None)


def test_what_changed_is_held_no_more(transactional_cast: Cast) -> None:
    pdp.check("user:zed", "post:read", "server:8")
    apply(LOCK)
    pdp.check("user:alice", "post:read", "server:8")
    found = transactional_cast.bob.get(f"{SUBJECT}?subject=user:zed").json
    assert found["layers"]["memory"]["verdict"] == "absent"
    assert found["last_change"] == found["revision"]


def test_an_end_of_a_window_is_told(transactional_cast: Cast) -> None:
    apply(
        'version: 1\nrealm: default\nbindings: [{subject: "user:zed", role: editor, scope: "server:8",'
        ' valid_until: "2030-12-31T00:00:00Z"}]'
    )
    pdp.check("user:zed", "post:edit", "server:8")
    assert transactional_cast.bob.get(f"{SUBJECT}?subject=user:zed").json["layers"]["memory"]["until"] == 1_924_905_600.0


@pytest.fixture
def with_redis(valkey_url: str, settings: Any) -> Any:
    from django.core.cache import caches
    from django_redis import get_redis_connection

    settings.CACHES = {
        **settings.CACHES,
        "permissions": {
            "BACKEND": "django_redis.cache.RedisCache",
            "LOCATION": valkey_url,
            "OPTIONS": {"CONNECTION_FACTORY": "resilience.django_cache.ConnectionFactory"},
        },
    }
    settings.DJANGO_REDIS_CONNECTION_FACTORY = "resilience.django_cache.ConnectionFactory"
    caches.close_all()
    l2.reset()
    client = get_redis_connection("permissions")
    client.flushdb()
    yield client
    client.flushdb()
    l2.reset()


def settle() -> Any:
    layer = l2.second_layer()
    assert isinstance(layer, l2.RedisLayer)
    assert layer.writer.settle(10)
    return layer


def test_redis_says_what_it_holds_and_whether_it_proves_itself(transactional_cast: Cast, with_redis: Any) -> None:
    api = transactional_cast.bob
    pdp.check("user:zed", "post:read", "server:8")
    settle()
    redis = api.get(f"{SUBJECT}?subject=user:zed").json["layers"]["redis"]
    assert redis["verdict"] == "serves"
    assert redis["bytes"] == api.get(f"{SUBJECT}?subject=user:zed").json["layers"]["memory"]["bytes"]
    assert redis["ttl_s"] > 0
    apply(LOCK)
    pdp.check("user:alice", "post:read", "server:8")
    redis = api.get(f"{SUBJECT}?subject=user:zed").json["layers"]["redis"]
    assert redis["verdict"] == "changed"


def test_a_forged_value_is_told_apart_from_a_missing_one(transactional_cast: Cast, with_redis: Any) -> None:
    from permissions.cache.codec_seal import key_of

    api = transactional_cast.bob
    pdp.check("user:zed", "post:read", "server:8")
    settle()
    key = key_of(revisions.head("default"), "s", "user:zed")
    value = with_redis.get(key)
    with_redis.set(key, value[:-1] + bytes([value[-1] ^ 1]))
    redis = api.get(f"{SUBJECT}?subject=user:zed").json["layers"]["redis"]
    assert (redis["verdict"], redis["why"], redis["ttl_s"]) == ("rejected", "mac", None)
    with_redis.delete(key)
    with_redis.rpush(key, "a list")
    assert api.get(f"{SUBJECT}?subject=user:zed").json["layers"]["redis"]["verdict"] == "absent"


@pytest.fixture
def transactional_cast(transactional_db: None) -> Cast:
    from tests.controlplane.conftest import OPERATOR
    from tests.permissions.api.world import build

    found = build()
    apply(OPERATOR)
    return found


WRONG: list[tuple[str, int, str]] = [
    ("", 400, "bad_request"),
    ("subject=user:a&resource=server:8", 400, "bad_request"),
    ("subject=user:a&subject=user:b", 400, "bad_request"),
    ("user=user:a", 400, "bad_request"),
    ("subject=", 400, "invalid"),
    ("subject=zed", 400, "invalid"),
    ("subject=user:*", 400, "invalid"),
    ("subject=user:%00", 400, ""),
    ("subject=user:" + "a" * 600, 400, "invalid"),
    ("subject=user:zed&realm=nowhere", 404, "not_found"),
    ("subject=user:zed&realm=%F0%9F%90%BC", 404, "not_found"),
]


def test_a_wrong_lookup_says_what_is_wrong(cast: Cast) -> None:
    for query, status, code in WRONG:
        answer = cast.bob.get(f"{SUBJECT}?{query}")
        assert answer.status == status, query
        if code:
            refused(answer, status, code)


def test_another_realm_needs_the_right_there_too(cast: Cast) -> None:
    with permission_write("shop", SYSTEM, create=True):
        pass
    refused(cast.bob.get(f"{SUBJECT}?subject=user:zed&realm=shop"), 403, "forbidden")
    assert cast.root.get(f"{SUBJECT}?subject=user:zed&realm=shop").json["realm"] == "shop"
    apply(
        'version: 1\nrealm: shop\nroles: [{name: w, permissions: ["permsite.control:view"]}]\n'
        'bindings: [{subject: "user:bob", role: w}]'
    )
    assert cast.bob.get(f"{SUBJECT}?subject=user:zed&realm=shop").status == 200


def test_who_may_what(cast: Cast, watcher: Api) -> None:
    for path in (PATH, f"{SUBJECT}?subject=user:zed"):
        refused(cast.nobody.get(path), 401, "unauthenticated")
        refused(cast.plain_key.get(path), 403, "forbidden")
        assert watcher.get(path).status == 200
        for method in ("POST", "PUT", "PATCH", "DELETE"):
            refused(cast.bob.send(method, path.partition("?")[0]), 405, "method_not_allowed")


def test_who_holds_nothing_is_refused(cast: Cast) -> None:
    for path in (PATH, f"{SUBJECT}?subject=user:zed", f"{SUBJECT}?subject=zed"):
        refused(cast.charlie.get(path), 403, "forbidden")


def test_looking_leaves_no_audit(cast: Cast) -> None:
    before = AuditEvent.objects.count()
    cast.bob.get(PATH)
    cast.bob.get(f"{SUBJECT}?subject=user:zed")
    assert AuditEvent.objects.count() == before
