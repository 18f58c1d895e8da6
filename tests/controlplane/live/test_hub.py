"""The hub: what a process knows of the site, how old it is, and what it hands to sockets."""

from __future__ import annotations

import time
from typing import Any

import msgspec
import pytest

from controlplane.live.hub import Hub
from controlplane.live.memory import MemoryStore
from controlplane.live.port import CLEARED, EVENTS, FRAME, NODES, NOTICE, RIGHTS, LiveError, LiveStore, event_id
from controlplane.live.tail import RING
from resilience.clock import FakeClock


class Heard(list[tuple[str, Any]]):
    def __call__(self, kind: str, payload: bytes) -> None:
        self.append((kind, msgspec.json.decode(payload)))

    def of(self, kind: str) -> list[Any]:
        return [body for other, body in self if other == kind]


class Shared:
    """A memory store that this process shares with a hub, and that may be replaced by another or by none."""

    def __init__(self, clock: FakeClock) -> None:
        self.store: LiveStore = MemoryStore(clock)

    def __call__(self) -> LiveStore:
        return self.store


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def shared(clock: FakeClock) -> Shared:
    return Shared(clock)


@pytest.fixture
def hub(clock: FakeClock, shared: Shared) -> Hub:
    """Without its thread: each turn is the test's."""
    made = Hub(clock, shared)
    shared.store.listen(made._heard)
    made.turn()
    clock.advance(1.0)
    return made


@pytest.fixture
def heard(hub: Hub) -> Heard:
    found = Heard()
    hub.listen(found)
    return found


def frame(seq: int, fence: int = 1, **more: Any) -> bytes:
    return msgspec.json.encode({"v": 1, "seq": seq, "fence": fence, "at": 9e9, "leader": f"l{fence}", **more})


def event(number: int, **more: Any) -> dict[str, Any]:
    return {"at": 9e9, "name": f"test.{number}", "data": {}, **more}


def test_a_frame_is_handed_on_and_grows_old_by_the_hubs_own_clock(
    hub: Hub, heard: Heard, shared: Shared, clock: FakeClock
) -> None:
    """Its own `at` is far in the future, as of a leader whose clock is wrong."""
    assert hub.frame() is None and hub.frame_age_s() is None
    shared.store.publish(FRAME, frame(1, checks_per_s=5.0))
    hub.turn()
    assert heard.of(FRAME)[0]["frame"]["checks_per_s"] == 5.0
    assert hub.frame_age_s() == 0.0
    clock.set(1_000.0)
    clock.advance(7.5)
    hub.turn()
    assert hub.frame_age_s() == 7.5


def test_a_frame_that_was_stored_is_no_new_one(shared: Shared, clock: FakeClock) -> None:
    shared.store.put_frame(1, frame(41))
    clock.advance(1.0)
    late = Hub(clock, shared)
    late.turn()
    found = late.frame()
    assert found is not None and found["seq"] == 41
    assert late.frame_age_s() == 2.0


def test_a_frame_that_comes_twice_or_behind_another_is_told_once(hub: Hub, heard: Heard, shared: Shared) -> None:
    for seq in (1, 2, 2, 1, 3):
        shared.store.publish(FRAME, frame(seq))
    hub.turn()
    assert [one["frame"]["seq"] for one in heard.of(FRAME)] == [1, 2, 3]


def test_a_leader_that_was_replaced_is_heard_no_more(hub: Hub, heard: Heard, shared: Shared, clock: FakeClock) -> None:
    for seq, fence in ((10, 1), (1, 2), (11, 1), (2, 2), (12, 1)):
        shared.store.publish(FRAME, frame(seq, fence))
    hub.turn()
    assert [(one["frame"]["fence"], one["frame"]["seq"]) for one in heard.of(FRAME)] == [(1, 10), (2, 1), (2, 2)]
    # A database put back from a backup hands numbers out again: who is left alone is heard after a while.
    clock.advance(6.0)
    shared.store.publish(FRAME, frame(13, 1))
    hub.turn()
    assert heard.of(FRAME)[-1]["frame"]["seq"] == 13


def test_the_same_fence_with_another_leader_counts_after_a_while(
    hub: Hub, heard: Heard, shared: Shared, clock: FakeClock
) -> None:
    shared.store.publish(FRAME, frame(500, 3))
    shared.store.publish(FRAME, frame(1, 3, leader="other"))
    hub.turn()
    assert len(heard.of(FRAME)) == 1
    clock.advance(6.0)
    shared.store.publish(FRAME, frame(2, 3, leader="other"))
    hub.turn()
    assert heard.of(FRAME)[-1]["frame"]["leader"] == "other"


def test_events_are_handed_on_in_batches_once_each(hub: Hub, heard: Heard, shared: Shared, clock: FakeClock) -> None:
    ids = shared.store.append([event(1), event(2)])
    shared.store.publish(EVENTS, b"")
    shared.store.publish(EVENTS, b"")
    hub.turn()
    assert [(one["last"], [e["id"] for e in one["events"]]) for one in heard.of(EVENTS)] == [(ids[1], ids)]
    clock.advance(5.0)
    hub.turn()
    assert len(heard.of(EVENTS)) == 1


def test_events_come_without_a_message_too(hub: Hub, heard: Heard, shared: Shared, clock: FakeClock) -> None:
    """Pub/sub may lose one; the stream is looked at each second."""
    shared.store.append([event(1)])
    clock.advance(1.0)
    hub.turn()
    assert [e["name"] for one in heard.of(EVENTS) for e in one["events"]] == ["test.1"]


def test_at_most_five_batches_a_second(hub: Hub, heard: Heard, shared: Shared, clock: FakeClock) -> None:
    for number in range(100):
        shared.store.append([event(number)])
        shared.store.publish(EVENTS, b"")
        hub.turn()
        clock.advance(0.01)
    assert len(heard.of(EVENTS)) <= 5
    clock.advance(0.2)
    hub.turn()
    assert sum(len(one["events"]) for one in heard.of(EVENTS)) == 100


def test_who_comes_back_is_given_what_was_missed(hub: Hub, shared: Shared, clock: FakeClock) -> None:
    ids = shared.store.append([event(number) for number in range(10)])
    hub.turn()
    replay = hub.replay(ids[6])
    assert ([one["id"] for one in replay.events], replay.is_gap) == (ids[7:], False)
    assert hub.replay(ids[9]).events == [] and not hub.replay(ids[9]).is_gap
    assert [one["id"] for one in hub.events(limit=2)] == ids[8:]
    assert hub.replay("0000000000001-000000").is_gap
    assert hub.replay(ids[0], limit=3).is_gap


def test_after_more_than_the_ring_holds_there_is_a_gap(hub: Hub, shared: Shared, clock: FakeClock) -> None:
    first = shared.store.append([event(0)])[0]
    hub.turn()
    for part in range(5):
        shared.store.append([event(number) for number in range(part * 500, part * 500 + 500)])
        clock.advance(1.0)
        hub.turn()
    assert len(hub.events()) == RING
    assert hub.replay(first).is_gap


def test_a_clearing_empties_what_is_held_and_is_told(hub: Hub, heard: Heard, shared: Shared, clock: FakeClock) -> None:
    ids = shared.store.append([event(1), event(2)])
    hub.turn()
    clock.advance(1.0)
    marker = shared.store.clear_events({"at": 9e9, "name": CLEARED, "data": {}})
    hub.turn()
    assert [one["id"] for one in hub.events()] == [marker]
    assert hub.replay(ids[1]).is_gap and not hub.replay(marker).is_gap
    assert heard.of(EVENTS)[-1]["events"][-1]["name"] == CLEARED


def test_the_store_behind_is_followed_when_the_first_is_gone_and_back(
    hub: Hub, heard: Heard, shared: Shared, clock: FakeClock
) -> None:
    first = shared.store
    first.append([event(1)])
    clock.advance(1.0)
    hub.turn()
    second = MemoryStore(clock)
    second.name = "rows"
    # What lay there from an earlier outage is no news.
    second.append([event(77, at=1.0)])
    second.append([event(2)])
    shared.store = second
    clock.advance(1.0)
    hub.turn()
    shared.store = first
    first.append([event(3)])
    clock.advance(1.0)
    hub.turn()
    assert [e["name"] for one in heard.of(EVENTS) for e in one["events"]] == ["test.1", "test.2", "test.3"]


def test_a_store_that_does_not_answer_ends_nothing(hub: Hub, heard: Heard, shared: Shared, clock: FakeClock) -> None:
    class Away(MemoryStore):
        def events(self, after: str = "", limit: int = 200) -> Any:
            raise LiveError("events: away")

    whole, shared.store = shared.store, Away(clock)
    for _ in range(3):
        clock.advance(1.0)
        hub.turn()
    shared.store = whole
    whole.append([event(5)])
    clock.advance(1.0)
    hub.turn()
    assert [e["name"] for one in heard.of(EVENTS) for e in one["events"]] == ["test.5"]


def test_nodes_notices_and_rights_are_handed_on(hub: Hub, heard: Heard, shared: Shared) -> None:
    shared.store.publish(NODES, b'[{"id":"a"}]')
    hub.tell(NOTICE, {"kind": "maintenance", "mode": "full"})
    hub.tell(RIGHTS, {"realm": "default", "subjects": ["user:bob"]})
    hub.turn()
    assert hub.nodes() == [{"id": "a"}]
    assert heard.of(NODES) == [{"type": "nodes", "nodes": [{"id": "a"}]}]
    assert heard.of(NOTICE) == [{"type": "notice", "notice": {"kind": "maintenance", "mode": "full"}}]
    assert heard.of(RIGHTS) == [{"realm": "default", "subjects": ["user:bob"]}]
    with pytest.raises(ValueError, match="told by nobody but the leader"):
        hub.tell(FRAME, {})


@pytest.mark.parametrize("wrong", [b"", b"{", b"\xff", b"7", b"null", b"[]", b'"x"'])
def test_what_is_no_message_of_ours_is_dropped(hub: Hub, heard: Heard, shared: Shared, wrong: bytes) -> None:
    for kind in (FRAME, "watch"):
        shared.store.publish(kind, wrong)
    if wrong != b"[]":
        shared.store.publish(NODES, wrong)
    shared.store.publish(FRAME, frame(1))
    hub.turn()
    assert [kind for kind, _ in heard] == [FRAME]


def test_a_listener_that_fails_hinders_no_other(hub: Hub, shared: Shared) -> None:
    def failing(kind: str, payload: bytes) -> None:
        raise RuntimeError("a socket's fault")

    found = Heard()
    hub.listen(failing)
    leave = hub.listen(found)
    shared.store.publish(FRAME, frame(1))
    hub.turn()
    leave()
    shared.store.publish(FRAME, frame(2))
    hub.turn()
    assert [body["frame"]["seq"] for body in found.of(FRAME)] == [1]


def test_it_runs_as_long_as_anybody_needs_it(shared: Shared) -> None:
    hub = Hub(make=shared)
    hub.start()
    hub.start()
    seen = []
    for _ in range(3):
        hub.stop()
        seen.append(hub.is_running)
    assert seen == [True, False, False]


def test_a_row_that_was_committed_late_is_told_all_the_same(hub: Hub, heard: Heard, shared: Shared, clock: FakeClock) -> None:
    """Its id is smaller than one that was read already."""
    rows = MemoryStore(clock)
    rows.name = "rows"
    shared.store = rows
    rows._last = (1_700_000_000_500, 0)
    later = {**event(2), "id": event_id(1_700_000_001_000, 0)}
    rows._events.append(later)
    clock.advance(1.0)
    hub.turn()
    rows._events.appendleft({**event(1), "id": event_id(1_700_000_000_400, 0)})
    clock.advance(1.0)
    hub.turn()
    clock.advance(1.0)
    hub.turn()
    assert [e["name"] for one in heard.of(EVENTS) for e in one["events"]] == ["test.2", "test.1"]


def test_a_store_that_lost_its_data_and_counts_from_earlier_is_followed_and_leaves_a_gap(
    hub: Hub, heard: Heard, shared: Shared, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a Redis that comes back empty on a host whose clock is behind."""
    [seen] = shared.store.append([event(1)])
    hub.turn()
    clock.advance(1.0)
    empty, now = MemoryStore(clock), time.time()
    monkeypatch.setattr(time, "time", lambda: now - 3_600.0)
    shared.store = empty
    for number in (2, 3):
        empty.append([event(number)])
        hub.turn()
        clock.advance(1.0)
    assert [[one["name"] for one in told["events"]] for told in heard.of(EVENTS)] == [["test.1"], ["test.2"], ["test.3"]]
    late = Hub(clock, shared)
    late.turn()
    assert late.replay(seen).is_gap
    assert not late.replay(late.events()[-1]["id"]).is_gap


def test_a_hub_that_a_flood_leaves_behind_goes_on_with_the_newest_and_tells_the_hole(
    hub: Hub, heard: Heard, shared: Shared, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    [seen] = shared.store.append([event(0)])
    hub.turn()
    clock.advance(1.0)
    now = time.time()
    for second in range(5):
        monkeypatch.setattr(time, "time", lambda second=second: now + 1.0 + second)
        shared.store.append([event(second) for _ in range(1_500)])
    hub.turn()
    assert [told["dropped"] for told in heard.of("gap")] == [None] and heard.of("gap")[0]["last"] == seen
    assert len(heard.of(EVENTS)[-1]["events"]) == RING
    assert heard.of(EVENTS)[-1]["last"] == shared.store.events(limit=1)[0]["id"]
    assert hub.replay(seen).is_gap


def test_a_hub_that_was_paused_and_finds_all_of_it_leaves_no_hole(
    hub: Hub, heard: Heard, shared: Shared, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    [seen] = shared.store.append([event(0)])
    hub.turn()
    clock.advance(1.0)
    now = time.time()
    for second in range(3):
        monkeypatch.setattr(time, "time", lambda second=second: now + 1.0 + 10 * second)
        shared.store.append([event(second) for _ in range(500)])
    hub.turn()
    assert not heard.of("gap") and not hub.replay(seen).is_gap
    assert len(heard.of(EVENTS)[-1]["events"]) == 1_500
