"""Redis that goes and comes back: what stands behind it answers meanwhile, and nobody is forgotten on the way."""

from __future__ import annotations

import threading
import time
from typing import Any

import msgspec
import pytest

from controlplane.live.failover import CUT_OFF_S, RETRY_S, FailoverStore
from controlplane.live.hub import Hub
from controlplane.live.memory import MemoryStore
from controlplane.live.port import EVENTS, FRAME, NOTICE, LiveError
from resilience.clock import FakeClock


class Server(MemoryStore):
    """A memory store that can be away; `asked` counts what reached it."""

    def __init__(self, clock: FakeClock, name: str) -> None:
        super().__init__(clock)
        self.name = name
        self.is_away = False
        self.asked = 0

    def __getattribute__(self, name: str) -> Any:
        if name in ("beat", "nodes", "publish", "append", "events", "put_frame", "frames", "leave", "clear_events"):
            if object.__getattribute__(self, "is_away"):
                object.__setattr__(self, "asked", self.asked + 1)
                return _away
            object.__setattr__(self, "asked", self.asked + 1)
        return object.__getattribute__(self, name)


def _away(*_given: object, **_named: object) -> None:
    raise LiveError("away")


class Both:
    def __init__(self) -> None:
        self.clock = FakeClock()
        self.redis, self.rows = Server(self.clock, "redis"), Server(self.clock, "rows")
        self.store = self.another()

    def another(self) -> FailoverStore:
        """As another process has it."""
        return FailoverStore(self.redis, self.rows, self.clock)


@pytest.fixture
def both() -> Both:
    return Both()


def test_the_second_answers_while_the_first_is_away_and_the_first_when_it_is_back(both: Both) -> None:
    both.redis.is_away = True
    both.store.beat("a", b"1")
    both.store.append([{"name": "x"}])
    both.store.put_frame(1, b"{}")
    assert (both.store.name, set(both.store.nodes()), len(both.store.events()), both.store.frames(9)) == (
        "rows",
        {"a"},
        1,
        [b"{}"],
    )
    both.redis.is_away = False
    both.clock.advance(RETRY_S)
    both.store.beat("a", b"2")
    assert both.store.name == "redis" and both.redis.nodes() == {"a": b"2"}


def test_a_store_that_is_away_is_asked_once_a_second(both: Both) -> None:
    both.redis.is_away = True
    for _ in range(50):
        both.store.beat("a", b"1")
    assert both.redis.asked == 1
    both.clock.advance(RETRY_S)
    both.store.beat("a", b"1")
    assert both.redis.asked == 2


def test_both_away_is_told(both: Both) -> None:
    both.redis.is_away = both.rows.is_away = True
    for call in (both.store.nodes, both.store.events, lambda: both.store.beat("a", b"")):
        with pytest.raises(LiveError):
            call()


def test_the_leader_hears_of_a_process_that_alone_is_cut_off_and_speaks_to_it(both: Both) -> None:
    alone = both.another()
    both.redis.is_away = True
    alone.beat("cut", b"1")
    both.redis.is_away = False
    both.store.beat("lead", b"1")
    assert set(both.store.nodes()) == {"lead", "cut"}
    heard: list[tuple[str, bytes]] = []
    both.rows.listen(lambda kind, payload: heard.append((kind, payload)))
    both.store.publish(FRAME, b"{}")
    assert heard == [(FRAME, b"{}")]
    # Once nobody beats there any more, nothing more is written there.
    both.clock.advance(6.0)
    both.store.nodes()
    both.store.publish(NOTICE, b"{}")
    assert len(heard) == 1


def test_a_healthy_first_store_keeps_the_second_in_peace(both: Both) -> None:
    for _ in range(20):
        both.store.nodes()
        both.store.beat("a", b"1")
        both.clock.advance(CUT_OFF_S / 20)
    assert both.rows.asked <= 2


def test_listeners_hear_whichever_speaks(both: Both) -> None:
    heard: list[str] = []
    leave = both.store.listen(lambda kind, payload: heard.append(payload.decode()))
    both.redis.publish(NOTICE, b"1")
    both.rows.publish(NOTICE, b"2")
    leave()
    both.redis.publish(NOTICE, b"3")
    assert heard == ["1", "2"]


def test_what_was_told_while_the_first_was_away_is_read_after_it_came_back(both: Both) -> None:
    hub = Hub(both.clock, lambda: both.store)
    heard: list[str] = []
    hub.listen(lambda kind, payload: heard.extend(e["name"] for e in msgspec.json.decode(payload)["events"]))
    other = both.another()

    def second(*names: str) -> None:
        other.append([{"name": name, "at": 9e9} for name in names])
        both.store.beat("a", b"")
        both.clock.advance(1.0)
        hub.turn()

    second("before the hub")
    second("one")
    both.redis.is_away = True
    other.append([{"name": "two", "at": 9e9}])
    both.store.beat("a", b"")
    # It is back before the hub has looked.
    both.redis.is_away = False
    both.clock.advance(RETRY_S)
    other.beat("b", b"")
    second("three")
    second("four")
    assert sorted(heard) == ["four", "one", "three", "two"]


def test_a_second_store_that_hangs_holds_up_nobody_while_the_first_answers(both: Both, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a database whose machine stands still: it neither answers nor fails."""
    thawed = threading.Event()
    hub, heard = Hub(both.clock, lambda: both.store), []
    hub.listen(lambda kind, body: heard.append(kind))
    hub.turn()

    def hangs(*_given: object) -> Any:
        thawed.wait(30)
        return []

    monkeypatch.setattr(both.rows, "events", hangs)
    monkeypatch.setattr(both.rows, "nodes", hangs)
    both.redis.beat("a", b"1")
    began, seen = time.monotonic(), []
    for _ in range(3):
        both.clock.advance(CUT_OFF_S)
        both.redis.beat("a", b"1")
        both.redis.append([{"name": "x", "at": 9e9}])
        hub.turn()
        seen.append(set(both.store.nodes()))
    assert time.monotonic() - began < 10 and not thawed.is_set()
    assert seen == [{"a"}] * 3 and heard == [EVENTS] * 3
    thawed.set()
