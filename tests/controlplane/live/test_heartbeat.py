"""The heartbeat: beats, events and rights of one process, whatever its store does."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from controlplane.live.figures import Process
from controlplane.live.heartbeat import Heartbeat
from controlplane.live.memory import MemoryStore
from controlplane.live.port import EVENTS, RIGHTS, LiveError
from resilience import telemetry
from resilience.clock import FakeClock


class Site:
    """A heartbeat whose turns are the test's."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.store = MemoryStore(self.clock)
        self.is_away = False
        self.told: list[tuple[str, Any]] = []
        self.store.listen(lambda kind, payload: self.told.append((kind, msgspec.json.decode(payload or b"null"))))
        self.heartbeat = Heartbeat(self.clock, self.make)
        self.heartbeat.process = Process("1", self.clock)
        self.heartbeat.outbox.start()
        self.leave = telemetry.subscribe(self.heartbeat._changed, "permission.changed")

    def make(self) -> MemoryStore:
        if self.is_away:
            raise LiveError("away")
        return self.store

    def rights(self) -> list[Any]:
        self.told.clear()
        self.heartbeat.turn()
        return [body for kind, body in self.told if kind == RIGHTS]


@pytest.fixture
def site() -> Iterator[Site]:
    made = Site()
    yield made
    made.leave()
    made.heartbeat.outbox.stop()


def beats(site: Site) -> list[Any]:
    return [msgspec.json.decode(body) for body in site.store.nodes().values()]


def test_a_beat_tells_who_it_is_and_how_far_it_has_come(site: Site) -> None:
    telemetry.count("permission_check_errors_total", "unavailable", by=3)
    site.heartbeat.turn()
    (beat,) = beats(site)
    assert beat["seq"] == 1 and beat["t"] == 0.0 and beat["version"] == "1" and beat["pid"] > 0
    assert beat["counts"]["permission_check_errors_total"]["unavailable"] >= 3
    assert set(beat["counts"]["permission_checks_total"]) == {"allowed", "denied"}
    assert beat["rss_mb"] > 1


def test_one_beat_a_second(site: Site) -> None:
    for _ in range(10):
        site.heartbeat.turn()
        site.clock.advance(0.2)
    assert beats(site)[0]["seq"] == 2


def test_events_wait_while_the_store_is_away_and_go_out_in_order(site: Site) -> None:
    site.is_away = True
    for number in range(3):
        telemetry.emit("loop.led", fence=number)
        site.heartbeat.turn()
        site.clock.advance(1.0)
    site.is_away = False
    telemetry.emit("loop.led", fence=3)
    site.heartbeat.turn()
    assert [event["data"]["fence"] for event in site.store.events()] == [0, 1, 2, 3]
    assert (EVENTS, None) in site.told


def test_no_fault_of_the_store_leaves_the_thread(site: Site) -> None:
    def broken() -> MemoryStore:
        raise RuntimeError("anything")

    site.heartbeat._make = broken
    before = sum(telemetry.collect()["resilience_internal_errors_total"].values())
    telemetry.emit("loop.led", fence=1)
    site.heartbeat._guarded(site.heartbeat._flush)
    assert sum(telemetry.collect()["resilience_internal_errors_total"].values()) == before + 1
    site.heartbeat._make = site.make
    site.heartbeat._flush()
    assert len(site.store.events()) == 1


CHANGES: list[tuple[Any, Any]] = [
    ([("s", "user:bob")], ["user:bob"]),
    ([("s", "user:bob"), ("s", "user:al"), ("r", "post:1")], ["user:al", "user:bob"]),
    ([("r", "post:1")], "nobody"),
    ([("r", "permsite.control:cache")], None),
    ([("t", "team:x")], None),
    ([("s", "user:bob"), ("k", "prefix")], None),
    (None, None),
    ([("s", f"user:{number}") for number in range(500)], None),
]


@pytest.mark.parametrize(("objects", "wanted"), CHANGES)
def test_whose_rights_changed_is_told_to_every_process(site: Site, objects: Any, wanted: Any) -> None:
    telemetry.emit("permission.changed", realm="default", revision=3, objects=objects)
    assert site.rights() == ([] if wanted == "nobody" else [{"realm": "default", "subjects": wanted}])


def test_changes_between_two_turns_are_told_together(site: Site) -> None:
    for name in ("a", "b"):
        telemetry.emit("permission.changed", realm="default", revision=3, objects=[("s", name)])
    telemetry.emit("permission.changed", realm="shop", revision=3, objects=None)
    telemetry.emit("permission.changed", realm="shop", revision=4, objects=[("s", "c")])
    assert site.rights() == [{"realm": "default", "subjects": ["a", "b"]}, {"realm": "shop", "subjects": None}]


def test_rights_that_could_not_be_told_are_told_later(site: Site) -> None:
    telemetry.emit("permission.changed", realm="default", revision=3, objects=[("s", "a")])
    site.is_away = True
    assert site.rights() == []
    site.is_away = False
    assert site.rights() == [{"realm": "default", "subjects": ["a"]}]


def test_its_thread_beats_and_says_good_bye(monkeypatch: pytest.MonkeyPatch) -> None:
    store = MemoryStore()
    heartbeat = Heartbeat(make=lambda: store)
    heartbeat.start("loop")
    heartbeat.start("server")
    while not store.nodes():
        pass
    assert next(msgspec.json.decode(body)["kind"] for body in store.nodes().values()) in ("loop", "server")
    heartbeat.stop()
    assert store.nodes()
    heartbeat.stop()
    assert store.nodes() == {}
