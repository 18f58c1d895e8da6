"""Roll-ups: realm after realm, an hour a transaction, then what is too old; Redis is asked before, never in the transaction."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator

import pytest
from django.db import connection

from controlplane.loop import lease
from controlplane.loop.leader import Leader
from controlplane.loop.rollups import LOOK_S, RollUps
from permissions.cache import hot, hot_redis
from permissions.models import HotItem, Realm
from permissions.models.hot import Met
from resilience.clock import FakeClock
from tests.controlplane.loop.rows import taken

pytestmark = [pytest.mark.django_db, pytest.mark.both_databases]

HOUR = int(time.time() // 3600)


@pytest.fixture
def realms(db: None) -> list[Realm]:
    first = Realm.objects.get_or_create(name="default")[0]
    return [first, *(Realm.objects.create(name=f"other-{number}") for number in range(2))]


@pytest.fixture
def redis(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[int, hot.Collected]]:
    """What Redis holds, by realm; asking for it inside a transaction of the loop is a fault."""
    held: dict[int, hot.Collected] = {}
    depth = len(connection.savepoint_ids)

    def collect(realm_id: int) -> hot.Collected | None:
        assert len(connection.savepoint_ids) == depth
        return held.get(realm_id)

    monkeypatch.setattr(hot, "collect", collect)
    yield held


def met(*items: str) -> list[Met]:
    return [Met("s", item, 5) for item in items]


def run(task: RollUps) -> Leader:
    leader = Leader([task])
    assert leader.once()
    return leader


def rows() -> set[tuple[int, int, str]]:
    return set(HotItem.objects.values_list("realm_id", "hour", "item"))


def test_every_realm_comes_by(realms, redis):
    for realm in realms:
        redis[realm.pk] = hot.Collected({HOUR: met("user:a"), HOUR - 1: met("user:b")})
    assert run(RollUps()).failed == []
    assert rows() == {(realm.pk, hour, item) for realm in realms for hour, item in ((HOUR, "user:a"), (HOUR - 1, "user:b"))}


def test_a_second_time_adds_nothing(realms, redis):
    redis[realms[0].pk] = hot.Collected({HOUR: met("user:a")})
    run(RollUps())
    run(RollUps())
    assert HotItem.objects.get().shared == 5


def test_each_hour_is_a_transaction_of_its_own(realms, redis):
    redis[realms[0].pk] = hot.Collected({HOUR: met("user:a"), HOUR - 1: met("user:b")})
    task, term = RollUps(), taken("a")
    seen = []
    more = True
    while more and task.look(term):
        with lease.acting(term, "rollups") as act:
            more = task.step(act)
        seen.append(HotItem.objects.count())
    assert seen[:2] == [1, 2]


def test_without_redis_what_is_too_old_is_forgotten_all_the_same(realms, redis):
    HotItem.objects.meet(realms[0].pk, HOUR - 26, "direct", met(*(f"user:u{number}" for number in range(25))))
    HotItem.objects.meet(realms[0].pk, HOUR, "direct", met("user:now"))
    run(RollUps(batch=10))
    assert rows() == {(realms[0].pk, HOUR, "user:now")}


def test_a_realm_that_fails_costs_the_others_nothing(realms, redis, monkeypatch):
    for realm in realms:
        redis[realm.pk] = hot.Collected({HOUR: met("user:a")})
    write, asked = hot.roll_up, []

    def failing(realm_id: int, collected: hot.Collected) -> int:
        asked.append(realm_id)
        if len(asked) == 1:
            raise ValueError("broken")
        return write(realm_id, collected)

    monkeypatch.setattr(hot, "roll_up", failing)
    task = RollUps()
    leader = Leader([task])
    leader.once()
    assert leader.failed == ["rollups"]
    assert leader.once() and leader.failed == []
    assert {realm_id for realm_id, _, _ in rows()} == {realm.pk for realm in realms[1:]}


def test_a_redis_that_is_slow_to_say_nothing_does_not_cost_the_lease(realms, redis, monkeypatch):
    clock = FakeClock()
    asked = []

    def slow(realm_id: int) -> None:
        asked.append(realm_id)
        clock.advance(LOOK_S)

    monkeypatch.setattr(hot, "collect", slow)
    task, term = RollUps(clock=clock), taken("a")
    for number in (1, 2, 3):
        assert not task.look(term)
        assert len(asked) == number
    assert task.look(term) and asked == sorted(realm.pk for realm in realms)


def test_who_lost_the_lease_writes_nothing(realms, redis):
    redis[realms[0].pk] = hot.Collected({HOUR: met("user:a")})
    task, term = RollUps(), taken("a")
    assert task.look(term)
    lease.release(term)
    with pytest.raises(lease.LostLease), lease.acting(term, "rollups") as act:
        task.step(act)
    assert rows() == set()


def test_what_processes_told_a_real_redis_arrives_in_rows(realms, valkey_url, monkeypatch):
    from resilience.redis_client import redis_client

    client = redis_client(valkey_url, timeout_s=5)
    monkeypatch.setattr(hot_redis, "client", lambda: client)
    item = f"user:{uuid.uuid4().hex}"
    # The hour of now, which may have begun since this file was read.
    hot_redis.tell(client, realms[0].pk, int(time.time() // 3600), met(item))
    run(RollUps())
    assert (item, 5) in HotItem.objects.values_list("item", "shared")
