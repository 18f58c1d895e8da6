"""The hot list in Redis: hourly sorted sets of all processes, of one server or a cluster; what is read there is not believed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

import pytest
from django.db import transaction

from permissions.cache import hot, hot_redis
from permissions.cache.hot import HotList, Preload
from permissions.models import HotItem
from permissions.models.hot import Met
from resilience.clock import FakeClock
from resilience.redis_client import redis_client
from tests.permissions.cache.hot_cast import EDITOR, OWNER, meet, rows, use


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock(1_700_000_000.0)


@pytest.fixture
def hot_list(clock: FakeClock) -> HotList:
    return HotList(clock=clock)


def roll_up(realm_id: int, clock: FakeClock) -> int:
    collected = hot.collect(realm_id, clock=clock)
    return 0 if collected is None else hot.roll_up(realm_id, collected)


@pytest.fixture
def realm_id(request: pytest.FixtureRequest) -> int:
    """On servers that others use, too."""
    return abs(hash(request.node.nodeid)) % 10**12


class OnRedis:
    """The same law on every kind of server; see the two classes below."""

    pytestmark: ClassVar = [pytest.mark.django_db(transaction=True)]

    @pytest.fixture
    def client(self, url: str, realm_id: int, settings: Any) -> Iterator[Any]:
        use(settings, url)
        client = redis_client(url)
        yield client
        now = hot._hour(FakeClock())
        for hour in range(now - 30, now + 2):
            for kind in "sr":
                client.delete(hot_redis.key(realm_id, kind, hour))

    def test_what_processes_met_adds_up_and_dies_after_25_hours(
        self, client: Any, realm_id: int, hot_list: HotList, clock: FakeClock
    ) -> None:
        other = HotList(clock=clock)
        meet(hot_list, "user:ann", "user:ann", "user:bøb")
        meet(other, "user:ann", roles=OWNER)
        assert hot.flush(realm_id, hot_list, clock=clock) == hot.Flushed("redis", 3)
        assert hot.flush(realm_id, other, clock=clock).where == "redis"
        assert hot.flush(realm_id, other, clock=clock) == hot.Flushed("nothing", 0)
        hour = clock.now_us() // 3_600_000_000
        subjects = f"{{ps:{realm_id}:hot}}:s:{hour}"
        assert client.zrevrange(subjects, 0, -1, withscores=True) == [(b"user:ann", 3.0), ("user:bøb".encode(), 1.0)]
        assert client.zrevrange(f"{{ps:{realm_id}:hot}}:r:{hour}", 0, -1) == [b'["editor"]', b'["editor","owner"]']
        assert all(24 * 3600 < client.ttl(f"{{ps:{realm_id}:hot}}:{kind}:{hour}") <= 25 * 3600 for kind in "sr")

    def test_a_set_keeps_its_top(
        self, client: Any, realm_id: int, hot_list: HotList, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(hot_redis, "TOP", 3)
        for number in range(6):
            meet(hot_list, *[f"user:{number}"] * (number + 1))
        hot.flush(realm_id, hot_list, clock=clock)
        kept = client.zrevrange(hot_redis.key(realm_id, "s", clock.now_us() // 3_600_000_000), 0, -1)
        assert kept == [b"user:5", b"user:4", b"user:3"]

    def test_a_cold_process_gets_the_hottest_of_24_hours_the_latest_weighing_most(
        self, client: Any, realm_id: int, clock: FakeClock
    ) -> None:
        for refs, roles in ((["user:old"] * 10, OWNER), (["user:new"] * 6, EDITOR), (["user:now"] * 4, EDITOR)):
            hot_list = HotList(clock=clock)
            meet(hot_list, *refs, roles=roles)
            hot.flush(realm_id, hot_list, clock=clock)
            clock.advance(6 * 3600)
        # 18, 12 and 6 hours ago: 10 · 1/8, 6 · 1/4 and 4 · 1/2.
        assert hot.preload(realm_id, clock=clock) == Preload(["user:now", "user:new", "user:old"], [EDITOR, OWNER])
        assert hot.preload(realm_id, subjects=1, role_sets=1, clock=clock) == Preload(["user:now"], [EDITOR])
        clock.advance(24 * 3600)
        assert hot.preload(realm_id, clock=clock) == Preload([], [])

    def test_totals_are_rolled_up_and_a_repeat_adds_nothing(
        self, client: Any, realm_id: int, hot_list: HotList, clock: FakeClock
    ) -> None:
        meet(hot_list, "user:ann", "user:ann", "user:bob")
        hot.flush(realm_id, hot_list, clock=clock)
        for _ in range(2):
            collected = hot.collect(realm_id, clock=clock)
            assert collected is not None
            with transaction.atomic():
                hot.roll_up(realm_id, collected)
            last = collected
        assert rows(realm_id) == {("s", "user:ann"): (2, 0), ("s", "user:bob"): (1, 0), ("r", '["editor"]'): (3, 0)}
        with transaction.atomic():
            assert hot.roll_up(realm_id, last) == 0

    def test_a_server_that_forgot_everything_takes_nothing_from_the_rows(
        self, client: Any, realm_id: int, hot_list: HotList, clock: FakeClock
    ) -> None:
        meet(hot_list, *["user:ann"] * 5)
        hot.flush(realm_id, hot_list, clock=clock)
        roll_up(realm_id, clock)
        for kind in "sr":
            client.delete(hot_redis.key(realm_id, kind, hot._hour(clock)))
        meet(hot_list, *["user:ann"] * 2, *["user:bob"] * 3)
        hot.flush(realm_id, hot_list, clock=clock)
        roll_up(realm_id, clock)
        assert rows(realm_id)["s", "user:ann"] == (5, 0)
        assert hot.preload(realm_id, clock=clock).subjects == ["user:ann", "user:bob"]

    def test_every_hour_of_the_day_comes_by_in_23_minutes(self, client: Any, realm_id: int, clock: FakeClock) -> None:
        now = hot._hour(clock)
        for age in range(24):
            hot_redis.tell(client, realm_id, now - age, [Met("s", f"user:{age}", 1)])
        for _ in range(23):
            roll_up(realm_id, clock)
            clock.advance(60)
        assert {item for _, item in rows(realm_id)} == {f"user:{age}" for age in range(24)}

    def test_what_somebody_else_wrote_there_is_not_believed(
        self, client: Any, realm_id: int, hot_list: HotList, clock: FakeClock
    ) -> None:
        meet(hot_list, "user:ann")
        hot.flush(realm_id, hot_list, clock=clock)
        now = hot._hour(clock)
        forged = {b"no colon": 9e9, b"user:*": 9, b"\xff\xfe": 9, b"user:\x00": 9, b"user:inf": float("inf"), b"user:huge": 1e300}
        client.zadd(hot_redis.key(realm_id, "s", now), {**forged, b"user:minus": -5, b"user:" + b"x" * 600: 9})
        lists = [b"{}", b"[]", b"[1]", b'["b","a"]', b'["a","a"]', b"[" * 5000, b"nonsense", b'["\\u0000"]', b'"text"', b"7"]
        client.zadd(hot_redis.key(realm_id, "r", now), dict.fromkeys(lists, 9))
        client.set(hot_redis.key(realm_id, "s", now - 1), "no sorted set")
        assert hot.preload(realm_id, clock=clock) == Preload(["user:ann"], [EDITOR])
        roll_up(realm_id, clock)
        assert rows(realm_id) == {("s", "user:ann"): (1, 0), ("r", '["editor"]'): (1, 0)}

    def test_a_key_of_another_kind_stops_no_flush_for_ever(
        self, client: Any, realm_id: int, hot_list: HotList, clock: FakeClock
    ) -> None:
        client.set(hot_redis.key(realm_id, "s", hot._hour(clock)), "no sorted set")
        meet(hot_list, "user:ann")
        assert hot.flush(realm_id, hot_list, clock=clock).where == "kept"
        clock.advance(hot.ROWS_EVERY_S)
        assert hot.flush(realm_id, hot_list, clock=clock).where == "rows"


class TestOnOneServer(OnRedis):
    @pytest.fixture
    def url(self, valkey_url: str) -> str:
        return valkey_url


@pytest.mark.cluster
class TestOnACluster(OnRedis):
    @pytest.fixture
    def url(self, cluster_url: str) -> str:
        return cluster_url

    def test_all_keys_of_a_realm_live_in_one_slot(self, client: Any, realm_id: int) -> None:
        slots = {client.keyslot(hot_redis.key(realm_id, kind, hour)) for kind in "sr" for hour in range(480_000, 480_030)}
        assert len(slots) == 1


class TestRedisThatIsAway:
    pytestmark: ClassVar = [pytest.mark.django_db(transaction=True), pytest.mark.both_databases]

    def test_its_increments_go_into_rows_after_a_minute_and_it_is_left_alone_meanwhile(
        self, settings: Any, hot_list: HotList, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        use(settings, "redis://127.0.0.1:1/0")
        asked: list[int] = []
        tell = hot_redis.tell

        def telling(*given: Any) -> None:
            asked.append(1)
            tell(*given)

        monkeypatch.setattr(hot_redis, "tell", telling)
        meet(hot_list, "user:ann")
        places = []
        for _ in range(7):
            places.append(hot.flush(4711, hot_list, clock=clock).where)
            clock.advance(10)
        assert places == ["kept"] * 6 + ["rows"]
        assert len(asked) == 3  # at 0, 30 and 60 seconds
        assert rows(4711)["s", "user:ann"] == (0, 1)

    def test_a_cold_process_reads_the_rows_alone(self, settings: Any, clock: FakeClock) -> None:
        use(settings, "redis://127.0.0.1:1/0")
        HotItem.objects.meet(4711, hot._hour(clock), "shared", [Met("s", "user:ann", 2), Met("r", '["editor"]', 2)])
        assert hot.preload(4711, clock=clock) == Preload(["user:ann"], [EDITOR])
        assert hot.collect(4711, clock=clock) is None
