"""What one process stores another reads, on one server and on a cluster; anything else under a key is a miss that is counted."""

from __future__ import annotations

import dataclasses
import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from permissions.cache import codec_model, l2
from permissions.cache.codec import encode
from permissions.cache.codec_seal import MAC_BYTES, key_of
from permissions.cache.l2 import RedisLayer
from permissions.engine.types import BindingFact
from resilience.redis_client import redis_client
from tests.permissions.cache.l2_cast import counted, fields, head, layer_on, random_world, resource, subject
from tests.resilience.clients.conftest import forked

pytestmark = pytest.mark.cluster
REFS = [f"user:{number}" for number in range(50)]
REJECTED = "permission_cache_l2_rejected_total"


@pytest.fixture(params=["standalone", "cluster"])
def url(request, valkey_url, cluster_url) -> str:
    return str(valkey_url if request.param == "standalone" else cluster_url)


@pytest.fixture
def layer(settings, url) -> Iterator[RedisLayer]:
    with layer_on(settings, url) as made:
        yield made


@pytest.fixture
def server(url) -> Iterator[Any]:
    with redis_client(url, timeout_s=5) as client:
        yield client


def put(layer: RedisLayer, at: Any, *snapshots: Any, stamp: int = 99, now_us: int = 5) -> None:
    for kind, of_kind in (
        ("s", [s for s in snapshots if hasattr(s, "until_us")]),
        ("r", [s for s in snapshots if hasattr(s, "nodes")]),
    ):
        layer.put_many(at, kind, of_kind, stamp, now_us)  # type: ignore[arg-type]
    assert layer.writer.settle(20)


def test_what_was_stored_is_read_by_anybody(layer, url, settings):
    at = head()
    own = {ref: subject(ref, attributes={"n": n}) for n, ref in enumerate(REFS)}
    above = {f"message:{n}": resource(f"message:{n}") for n in range(20)}
    put(layer, at, *own.values(), *above.values())
    with layer_on(settings, url) as other:
        found = other.get_many(at, "s", [*REFS, "user:absent", REFS[0]])
        assert {ref: fields(each.snapshot) for ref, each in found.items()} == {ref: fields(each) for ref, each in own.items()}
        assert {(each.built_rev, each.stamp) for each in found.values()} == {(7, 99)}
        nodes = other.get_many(at, "r", above)
        assert {ref: fields(each.snapshot) for ref, each in nodes.items()} == {ref: fields(each) for ref, each in above.items()}
        assert other.get_many(at, "s", []) == {} and other.get_many(at, "s", above) == {}


def test_more_than_one_command_holds_are_asked_for_in_parts(layer):
    at = head()
    refs = [f"user:{number}" for number in range(1_201)]
    put(layer, at, *(subject(ref) for ref in refs))
    assert set(layer.get_many(at, "s", refs)) == set(refs)


def test_a_role_table_is_read_by_anybody(layer, url, settings):
    at = head()
    models = [random_world(f"model/{number}").model for number in range(20)]
    assert layer.get_model(at) is None
    for number, model in enumerate(models):
        layer.put_model(dataclasses.replace(at, realm_id=at.realm_id + number), 7, 99, model)
    assert layer.writer.settle(20)
    with layer_on(settings, url) as other:
        for number, model in enumerate(models):
            assert other.get_model(dataclasses.replace(at, realm_id=at.realm_id + number)) == (7, 99, model)


def test_another_realm_epoch_or_revision_of_the_schema_finds_nothing(layer, monkeypatch):
    at = head()
    put(layer, at, subject(REFS[0]))
    for other in (dataclasses.replace(at, realm_id=at.realm_id + 1), dataclasses.replace(at, epoch=uuid.uuid4().hex)):
        assert layer.get_many(other, "s", REFS) == {}
    monkeypatch.setattr("permissions.cache.codec_seal.SCHEMA", 2)
    assert layer.get_many(at, "s", REFS) == {}


def test_values_that_were_swapped_are_rejected_and_counted(layer, server):
    at = head()
    put(layer, at, *(subject(ref) for ref in REFS[:3]))
    keys = [key_of(at, "s", ref) for ref in REFS[:2]]
    first, second = (server.get(key) for key in keys)
    server.set(keys[0], second)
    server.set(keys[1], first)
    before = counted(REJECTED, "mac")
    assert set(layer.get_many(at, "s", REFS)) == {REFS[2]}
    assert counted(REJECTED, "mac") == before + 2


def test_garbage_cut_forged_and_foreign_values_are_rejected_and_the_rest_is_found(layer, server):
    at = head()
    put(layer, at, *(subject(ref) for ref in REFS[:9]))
    keys = [key_of(at, "s", ref) for ref in REFS[:9]]
    whole = server.get(keys[8])
    twin = encode(dataclasses.replace(at, epoch=at.epoch[:8] + "f" * 24), "s", subject(REFS[5]), 7, 99)
    assert twin is not None and twin[0] == keys[5]
    for key, value in zip(keys, [b"", b"\x00" * 500, whole[:-1], b"x" * 8 + whole[8:], whole[:MAC_BYTES], twin[1]], strict=False):
        server.set(key, value)
    before = {cause: counted(REJECTED, cause) for cause in ("length", "mac", "epoch")}
    assert set(layer.get_many(at, "s", REFS)) == set(REFS[6:9])
    assert {cause: counted(REJECTED, cause) - number for cause, number in before.items()} == {"length": 2, "mac": 3, "epoch": 1}
    server.set(codec_model.model_key(at), whole)
    assert layer.get_model(at) is None


def test_a_key_that_somebody_made_another_type_is_a_miss(layer, server):
    at = head()
    put(layer, at, subject(REFS[0]), subject(REFS[1]))
    key = key_of(at, "s", REFS[0])
    server.delete(key)
    server.rpush(key, "a", "list")
    for _ in range(10):
        assert set(layer.get_many(at, "s", REFS)) == {REFS[1]}
        assert layer.get_many(at, "s", REFS[:1]) == {} and layer.is_up


def test_values_of_an_old_dump_say_how_old_they_are(layer, server):
    """The layer cannot know that they were superseded; their revision and its stamp let the reader refuse them."""
    at = head()
    put(layer, at, subject(REFS[0], built_rev=7), stamp=70)
    key = key_of(at, "s", REFS[0])
    old = server.dump(key)
    put(layer, at, subject(REFS[0], built_rev=9), stamp=90)
    assert [(c.built_rev, c.stamp) for c in layer.get_many(at, "s", REFS).values()] == [(9, 90)]
    server.restore(key, 60_000, old, replace=True)
    found = layer.get_many(at, "s", REFS)[REFS[0]]
    assert (found.built_rev, found.stamp, found.snapshot.built_rev) == (7, 70, 7)


def test_a_revision_is_the_one_at_which_it_was_given(layer):
    """In memory a snapshot may be stamped anew while it waits; stored under the newer number it would have the wrong stamp."""
    at, own = head(), subject(REFS[0], built_rev=7)
    with layer.writer._changed:
        layer.put_many(at, "s", [own], 70, 5)
        own.built_rev = 8
    assert layer.writer.settle(20)
    found = layer.get_many(at, "s", REFS)[REFS[0]]
    assert (found.built_rev, found.stamp) == (7, 70)


def test_values_live_an_hour_more_or_less_and_never_past_their_boundary(layer, server):
    at = head()
    put(layer, at, *(subject(ref) for ref in REFS))
    lives = {server.pttl(key_of(at, "s", ref)) for ref in REFS}
    assert min(lives) > 0.89 * 3_600_000 and max(lives) <= 1.1 * 3_600_000
    assert max(lives) - min(lives) > 60_000  # far more than the test takes
    now_us = 1_000_000_000
    ends = {"user:soon": now_us + 90_000_000, "user:later": now_us + 10**12, "user:past": now_us - 1, "user:now": now_us + 999}
    windows = {ref: (BindingFact(1, ref, "r", valid_until_us=end),) for ref, end in ends.items()}
    snapshots = [subject(ref, bindings=bindings, now_us=-5) for ref, bindings in windows.items()]
    put(layer, at, *snapshots, now_us=now_us)
    assert 0 < server.pttl(key_of(at, "s", "user:soon")) <= 90_000
    assert server.pttl(key_of(at, "s", "user:later")) > 0.89 * 3_600_000
    found = layer.get_many(at, "s", ends)
    assert set(found) == {"user:soon", "user:later"} and found["user:soon"].snapshot.until_us == ends["user:soon"]


def test_what_nobody_keeps_or_was_made_to_be_explained_is_not_stored(layer):
    from permissions.engine.scopes import build_subject
    from permissions.engine.types import SubjectFacts

    at = head()
    explained = build_subject(SubjectFacts("user:1"), 5)
    explained.built_rev = 7
    put(layer, at, subject("user:0", built_rev=0), explained, subject("user:2"))
    assert set(layer.get_many(at, "s", REFS)) == {"user:2"}


def test_ids_of_every_kind_keep_to_themselves(layer):
    at = head()
    refs = ["user:a", "user:a}:v1:" + at.epoch[:8], "user:{b}", "用户:爱", "user:a b\x00c", "user:" + "é" * 500]
    put(layer, at, *(subject(ref, attributes={"is": ref}) for ref in refs), subject("user:\ud800"))
    found = layer.get_many(at, "s", [*refs, "user:\ud800", "user:\udfff"])
    assert {ref: each.snapshot.attributes["is"] for ref, each in found.items()} == {ref: ref for ref in refs}


def test_a_head_without_an_epoch_raises_nothing(layer):
    for odd in ("", "no hex digits", "é"):
        at = head(epoch=odd)
        put(layer, at, subject(REFS[0]), resource())
        assert layer.get_many(at, "s", REFS) == {} and layer.get_model(at) is None


def test_a_store_that_was_flushed_is_a_miss_and_is_filled_again(settings, valkey_url):
    at = head()
    with layer_on(settings, valkey_url) as layer, redis_client(valkey_url, timeout_s=5) as server:
        put(layer, at, subject(REFS[0]))
        server.flushall()
        assert layer.get_many(at, "s", REFS) == {} and layer.is_up
        put(layer, at, subject(REFS[0]))
        assert set(layer.get_many(at, "s", REFS)) == {REFS[0]}


def test_nothing_is_ever_deleted_listed_or_flushed(settings, valkey_url):
    at = head()
    with layer_on(settings, valkey_url) as layer, redis_client(valkey_url, timeout_s=5) as server:
        server.config_resetstat()
        put(layer, at, *(subject(ref) for ref in REFS))
        layer.put_model(at, 7, 99, random_world("x").model)
        assert layer.writer.settle(20) and layer.get_model(at) is not None
        layer.get_many(at, "s", REFS)
        used = {name.removeprefix("cmdstat_").partition("|")[0] for name in server.info("commandstats")}
        assert used <= {"set", "mget", "info", "config", "client", "hello", "select", "ping"} and {"set", "mget"} <= used


def test_the_raw_values_are_no_pickle_and_hold_no_bits(layer, server):
    at = head()
    put(layer, at, subject(REFS[0]))
    raw = server.get(key_of(at, "s", REFS[0]))
    assert raw[MAC_BYTES] & 0xF0 == 0x90 and b"editor" in raw and b"server:7" in raw


def test_a_forked_child_reads_and_writes_on_its_own(layer):
    at = head()
    put(layer, at, subject(REFS[0]))
    assert layer.get_many(at, "s", REFS)

    def child(answers: Any) -> None:
        mine = l2.second_layer()
        assert mine is layer and mine.writer._thread is None
        found = sorted(mine.get_many(at, "s", REFS))
        mine.put_many(at, "s", [subject(REFS[1])], 99, 5)
        answers.put((found, mine.writer.settle(20), sorted(mine.get_many(at, "s", REFS))))

    assert forked(child) == [(REFS[:1], True, REFS[:2])]
    assert set(layer.get_many(at, "s", REFS)) == set(REFS[:2])


def test_without_redis_the_layer_holds_nothing(settings):
    from permsite.settings import permission_cache

    for entry in (permission_cache(""), None):
        settings.CACHES = {"default": settings.CACHES["default"], **({"permissions": entry} if entry else {})}
        l2.reset()
        layer = l2.second_layer()
        at = head()
        layer.put_many(at, "s", [subject()], 99, 5)
        layer.put_model(at, 7, 99, random_world("x").model)
        assert layer.get_many(at, "s", REFS) == {} and layer.get_model(at) is None and not layer.is_up
        assert l2.second_layer() is layer
    l2.reset()
