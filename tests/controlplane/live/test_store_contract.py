"""One contract over the stores where processes meet: memory, rows, Redis alone and as a cluster, Redis with rows behind it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from controlplane.live import rows
from controlplane.live.failover import FailoverStore
from controlplane.live.memory import MemoryStore
from controlplane.live.port import CLEARED, EVENTS, FRAME, NOTICE, LiveError, LiveStore, event_id, split_id
from controlplane.live.redis import RedisStore
from controlplane.live.rows import RowsStore

pytestmark = pytest.mark.both_databases

HEARD_S = 30.0


@pytest.fixture(
    params=[
        "memory",
        pytest.param("rows", marks=pytest.mark.django_db),
        "redis",
        pytest.param("cluster", marks=pytest.mark.cluster),
        pytest.param("failover", marks=pytest.mark.django_db),
    ]
)
def store(request: pytest.FixtureRequest, key_prefix: str) -> Iterator[LiveStore]:
    made: dict[str, Callable[[], LiveStore]] = {
        "memory": MemoryStore,
        "rows": RowsStore,
        "redis": lambda: RedisStore(request.getfixturevalue("valkey_url"), prefix=key_prefix),
        "cluster": lambda: RedisStore(request.getfixturevalue("cluster_url"), prefix=key_prefix),
        "failover": lambda: FailoverStore(RedisStore(request.getfixturevalue("valkey_url"), prefix=key_prefix), MemoryStore()),
    }
    if request.param in ("rows", "failover"):
        request.getfixturevalue("db")
    found = made[request.param]()
    yield found
    found.close()


def event(number: int, **more: Any) -> dict[str, Any]:
    return {"at": 1_700_000_000.0 + number, "name": f"test.{number}", "data": {"é": "ü\u2028"}, **more}


def test_the_last_beat_of_each_process_is_told(store: LiveStore) -> None:
    store.beat("host:1:aa", b"first")
    store.beat("host:2:bb", b"\x00\xff other")
    store.beat("host:1:aa", b"second")
    assert store.nodes() == {"host:1:aa": b"second", "host:2:bb": b"\x00\xff other"}


def test_who_leaves_is_gone_at_once(store: LiveStore) -> None:
    store.beat("host:1:aa", b"1")
    store.beat("host:2:bb", b"2")
    store.leave("host:1:aa")
    store.leave("host:never:00")
    assert set(store.nodes()) == {"host:2:bb"}


def test_events_come_back_in_order_under_ids_that_sort_as_text(store: LiveStore) -> None:
    ids = store.append([event(number) for number in range(30)])
    ids += store.append([event(30)])
    assert ids == sorted(ids) and len(set(ids)) == 31
    found = store.events(limit=100)
    assert [one["id"] for one in found] == ids
    assert [one["name"] for one in found] == [f"test.{number}" for number in range(31)]
    assert found[0]["data"] == {"é": "ü\u2028"}


def test_without_an_id_the_newest_are_given_and_behind_one_the_next(store: LiveStore) -> None:
    ids = store.append([event(number) for number in range(10)])
    assert [one["id"] for one in store.events(limit=3)] == ids[-3:]
    assert [one["id"] for one in store.events(ids[4], limit=3)] == ids[5:8]
    assert store.events(ids[-1]) == []
    assert store.events(limit=0) == []
    assert len(store.events("0000000000000-000000", 100)) == 10


@pytest.mark.parametrize("wrong", ["x", "1-", "-1", "1", "1-x", "é-1", "1" * 14 + "-1", "1-" + "1" * 7, "1_0-1"])
def test_what_is_no_id_is_refused(store: LiveStore, wrong: str) -> None:
    store.append([event(1)])
    with pytest.raises(ValueError, match="is no id of an event"):
        store.events(wrong)


def test_after_a_clearing_the_marker_alone_is_left_and_ids_go_on(store: LiveStore) -> None:
    ids = store.append([event(number) for number in range(5)])
    marker = store.clear_events({"at": 1.0, "name": CLEARED, "data": {}})
    assert marker > ids[-1]
    assert [one["id"] for one in store.events(limit=100)] == [marker]
    assert [one["name"] for one in store.events(ids[0], 100)] == [CLEARED]
    assert store.append([event(9)])[0] > marker


def test_frames_come_back_oldest_first(store: LiveStore) -> None:
    bodies = [b'{"seq":%d}' % number for number in range(3)]
    for number, body in enumerate(bodies):
        # Rows keep one a millisecond.
        _later(store)
        store.put_frame(1_700_000_000_000 + number, body)
    assert store.frames(60.0) == bodies


def _later(store: LiveStore) -> None:
    """Until the store's own clock shows another millisecond."""
    if isinstance(store, RowsStore):
        seen = {_now_ms()}
        while len(seen) < 2:
            seen.add(_now_ms())


def _now_ms() -> int:
    # Not by the ids of events: they go on where the clock stands still.
    with rows._opened("test") as run:
        return rows._now_us(run) // 1000


def test_a_frame_or_a_message_is_heard(store: LiveStore) -> None:
    heard: list[tuple[str, bytes]] = []
    is_heard = threading.Event()

    def listener(kind: str, payload: bytes) -> None:
        heard.append((kind, payload))
        if {FRAME, NOTICE, EVENTS} <= {kind for kind, _ in heard}:
            is_heard.set()

    leave = _listen(store, listener)
    tries = 0
    while not is_heard.is_set() and tries < 200:
        tries += 1
        store.publish(NOTICE, b'{"kind":"maintenance"}')
        store.put_frame(1, b'{"seq":%d}' % tries)
        store.publish(FRAME, b'{"seq":%d}' % tries)
        store.append([event(tries)])
        store.publish(EVENTS, b"")
        _look(store)
        is_heard.wait(HEARD_S / 200)
    assert is_heard.is_set(), heard
    assert (NOTICE, b'{"kind":"maintenance"}') in heard
    leave()


def _listen(store: LiveStore, listener: Callable[[str, bytes], object]) -> Callable[[], None]:
    """Rows are looked at by the test itself: another thread would not see what its transaction wrote."""
    if not isinstance(store, RowsStore):
        return store.listen(listener)
    store._heard = (listener,)
    return lambda: None


def _look(store: LiveStore) -> None:
    if isinstance(store, RowsStore):
        store.look()


def test_an_id_is_made_and_read_the_same_way() -> None:
    assert event_id(1_700_000_000_000, 7) == "1700000000000-000007"
    assert split_id("1700000000000-000007") == (1_700_000_000_000, 7)


def test_redis_that_does_not_answer_is_told_as_such() -> None:
    store = RedisStore("redis://127.0.0.1:1/0")
    for call in (
        lambda: store.beat("a", b""),
        store.nodes,
        lambda: store.append([event(1)]),
        store.events,
        lambda: store.frames(1.0),
        lambda: store.put_frame(1, b""),
        lambda: store.publish(EVENTS, b""),
        lambda: store.leave("a"),
        lambda: store.clear_events(event(1)),
    ):
        with pytest.raises(LiveError):
            call()
    store.close()


def test_what_others_put_into_the_stream_is_left_out(valkey_url: str, key_prefix: str) -> None:
    store = RedisStore(valkey_url, prefix=key_prefix)
    store.append([event(1)])
    for fields in ({"x": "1"}, {"e": "no json"}, {"e": "[1]"}):
        store._client.xadd(store._stream, fields)
    assert [one["name"] for one in store.events()] == ["test.1"]
    store.close()
