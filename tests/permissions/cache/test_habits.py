"""What prefetching has learnt, told to a real Redis and taken up by a process that starts; forged and lost values do no harm."""

from __future__ import annotations

import json
from typing import Any

import pytest

from permissions.cache import habits, hot_redis
from permissions.cache.follows import SUCCESSORS, Follows
from permissions.cache.prefetch import Prefetch
from tests.permissions.cache.hot_cast import use

REALM = 8_123


def nothing(ids: list[str]) -> None:
    pass


@pytest.fixture
def learnt() -> Prefetch:
    """post:1, then post:2, three times over."""
    found = Prefetch(nothing)
    for visitor in ("ann", "bob", "cy"):
        found.record(visitor, "post:1")
        found.record(visitor, "post:2")
    return found


@pytest.fixture
def client(valkey_url: str, settings: Any) -> Any:
    use(settings, valkey_url)
    found = hot_redis.client()
    found.delete(habits.key(REALM, "r"), habits.key(REALM, "s"))
    return found


def test_what_one_learnt_another_predicts(client: Any, learnt: Prefetch) -> None:
    assert habits.tell(REALM, "r", learnt) == 1
    fresh = Prefetch(nothing)
    assert habits.take_up(REALM, "r", fresh) == 1
    assert fresh.predict("post:1") == ["post:2"]


def test_kinds_and_realms_are_kept_apart(client: Any, learnt: Prefetch) -> None:
    habits.tell(REALM, "r", learnt)
    assert habits.take_up(REALM, "s", Prefetch(nothing)) == 0
    assert habits.take_up(REALM + 1, "r", Prefetch(nothing)) == 0


def test_it_dies_after_a_day_like_the_hot_list(client: Any, learnt: Prefetch) -> None:
    habits.tell(REALM, "r", learnt)
    assert 0 < client.ttl(habits.key(REALM, "r")) <= hot_redis.KEPT_S


def test_what_was_seen_once_is_no_habit_and_is_not_told(client: Any) -> None:
    once = Prefetch(nothing)
    once.record("ann", "post:1")
    once.record("ann", "post:2")
    assert habits.tell(REALM, "r", once) == 0
    assert not client.exists(habits.key(REALM, "r"))


def test_what_a_process_has_learnt_itself_is_not_written_over(client: Any, learnt: Prefetch) -> None:
    habits.tell(REALM, "r", learnt)
    own = Prefetch(nothing)
    for visitor in ("ann", "bob"):
        own.record(visitor, "post:1")
        own.record(visitor, "post:9")
    assert habits.take_up(REALM, "r", own) == 0
    assert own.predict("post:1") == ["post:9"]


def test_the_hash_is_bounded_and_starts_anew(client: Any, learnt: Prefetch, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(habits, "MOST_KEPT", 3)
    client.hset(habits.key(REALM, "r"), mapping={f"post:x{number}": '{"post:y": 2}' for number in range(4)})
    habits.tell(REALM, "r", learnt)
    assert client.hkeys(habits.key(REALM, "r")) == [b"post:1"]


def test_the_habits_seen_oftenest_are_told_first() -> None:
    follows = Follows()
    for times, place in ((2, "a"), (5, "b"), (3, "c")):
        for number in range(times):
            follows.record(f"{place}{number}", f"post:{place}")
            follows.record(f"{place}{number}", "post:end")
    assert follows.habits(2) == {"post:b": {"post:end": 5}, "post:c": {"post:end": 3}}


def test_no_more_successors_are_taken_up_than_are_kept() -> None:
    follows = Follows()
    many = {f"post:{number}": 2 for number in range(SUCCESSORS + 3)}
    assert follows.take_up({"post:a": many}) == SUCCESSORS
    assert len(follows.after("post:a")) == SUCCESSORS


@pytest.mark.parametrize(
    "value",
    [
        "",
        "null",
        "[]",
        "7",
        "{",
        "{}",
        '{"post:2": true}',
        '{"post:2": 0}',
        '{"post:2": -1}',
        '{"post:2": 1.5}',
        '{"post:2": 1e999}',
        '{"post:2": NaN}',
        '{"post:2": 1000001}',
        '{"post:2": "2"}',
        '{"nobody": 2}',
        '{"post:*": 2}',
        '{"post:\\u0000": 2}',
        "[" * 4_000,
        b"\xff\xfe",
        json.dumps({f"post:{number}": 2 for number in range(5)}),
        json.dumps({"post:" + "x" * 5_000: 2}),
    ],
)
def test_what_no_process_of_ours_wrote_is_passed_over_and_the_rest_is_taken(client: Any, value: Any) -> None:
    client.hset(habits.key(REALM, "r"), "post:ü", '{"post:3": 2}')
    client.hset(habits.key(REALM, "r"), "post:1", value)
    assert habits.take_up(REALM, "r", Prefetch(nothing)) == 1


@pytest.mark.parametrize("ref", ["", "nobody", "post:*", "post:", b"\xff", "post:\n"])
def test_an_id_that_is_none_is_passed_over(client: Any, ref: Any) -> None:
    client.hset(habits.key(REALM, "r"), ref, '{"post:3": 2}')
    assert habits.take_up(REALM, "r", Prefetch(nothing)) == 0


def test_a_key_of_another_kind_or_no_server_costs_nothing(client: Any, settings: Any, tmp_path: Any, learnt: Prefetch) -> None:
    client.set(habits.key(REALM, "r"), "text")
    assert habits.take_up(REALM, "r", Prefetch(nothing)) == 0
    assert habits.tell(REALM, "r", learnt) == 0
    use(settings, f"unix://{tmp_path}/nobody.sock")
    assert habits.take_up(REALM, "r", Prefetch(nothing)) == 0
    assert habits.tell(REALM, "r", learnt) == 0
    use(settings, None)
    assert habits.take_up(REALM, "r", Prefetch(nothing)) == 0
    assert habits.tell(REALM, "r", learnt) == 0
