"""When a store is given up, who answers meanwhile, and how it comes back."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from resilience import telemetry
from resilience.errors import (
    StorageAuthError,
    StorageError,
    StorageFull,
    StorageProtocolError,
    StorageTimeout,
    StorageUnavailable,
)
from resilience.storage import MemoryStore, StorageHealth, failover
from resilience.storage.failover import MAX_UNSEEN, FailoverStore

TAKE = ("take", 1, 1, 3_600_000_000, 1, 10)
NEVER_S = 3600.0  # seconds between probes where a test asks by itself


class Scripted(MemoryStore):
    """A memory that fails as told: `troubles` are raised one a call, None lets one through."""

    def __init__(self) -> None:
        super().__init__()
        self.troubles: list[StorageError | None] = []
        self.is_well = True
        self.calls = 0
        self.asked = 0
        self.closed = 0

    def attempt(self, op: str, tag: str, args: Any = (), now: int = 0) -> Any:
        self.calls += 1
        trouble = self.troubles.pop(0) if self.troubles else None
        if trouble is not None:
            raise trouble
        return super().run(op, tag, args, now)

    async def aattempt(self, op: str, tag: str, args: Any = (), now: int = 0) -> Any:
        return self.attempt(op, tag, args, now)

    def attempt_many(self, calls: Sequence[Any], now: int = 0) -> list[Any]:
        replies: list[Any] = []
        for call in calls:
            try:
                op, tag, args = call
                replies.append(self.attempt(op, tag, args, now))
            except StorageError as error:
                replies.append(error)
        return replies

    async def aattempt_many(self, calls: Sequence[Any], now: int = 0) -> list[Any]:
        return self.attempt_many(calls, now)

    def health(self) -> StorageHealth:
        self.asked += 1
        return StorageHealth(self.is_well, "standalone", 0.1, "" if self.is_well else "gone")

    async def ahealth(self) -> StorageHealth:
        return self.health()

    def close(self) -> None:
        self.closed += 1


@pytest.fixture
def primary() -> Scripted:
    return Scripted()


@pytest.fixture
def store(primary: Scripted) -> Iterator[FailoverStore]:
    made = FailoverStore(primary, MemoryStore(), probe_s=NEVER_S)
    yield made
    made.close()


@pytest.fixture
def events() -> Iterator[list[telemetry.Event]]:
    heard: list[telemetry.Event] = []
    unsubscribe = telemetry.subscribe(heard.append, "storage.")
    yield heard
    unsubscribe()


def gone(store: FailoverStore) -> bool:
    """Asked by a call, since a checker of types takes a property for something that stays."""
    return store.is_down


GONE = StorageUnavailable("gcra", "refused")
UNSEEN = StorageTimeout("gcra", "nothing within 80 ms")


@pytest.mark.parametrize("probe_s", [True, 0, -1, float("nan"), float("inf"), 3601, "1", None])
def test_a_probe_that_cannot_be_is_refused_by_name(probe_s: Any) -> None:
    with pytest.raises(ValueError, match="probe_s"):
        FailoverStore(MemoryStore(), MemoryStore(), probe_s=probe_s)


def test_one_refused_connection_and_memory_answers(store: FailoverStore, primary: Scripted, events: list[Any]) -> None:
    primary.troubles = [GONE]
    assert store.run("gcra", "a", TAKE)[1] == 9
    assert gone(store)
    assert store.run("gcra", "a", TAKE)[1] == 8
    assert primary.calls == 1, "a store that is down is not asked"
    assert [(event.name, event.attributes["reason"]) for event in events] == [("storage.down", "StorageUnavailable")]
    assert telemetry.collect()["resilience_storage_up"]["memory",] == 0


def test_one_unseen_reply_is_forgiven_two_in_a_row_are_not(store: FailoverStore, primary: Scripted, loop: Any) -> None:
    primary.troubles = [UNSEEN, None, UNSEEN]
    for _ in range(3):
        store.run("gcra", "a", TAKE)
    assert not gone(store)
    primary.troubles = [UNSEEN]
    loop(store.arun("gcra", "a", TAKE))
    assert gone(store), "the last one and this one, whichever side they came from"


def test_attempt_raises_at_once_while_the_primary_is_down(store: FailoverStore, primary: Scripted, loop: Any) -> None:
    primary.troubles = [GONE]
    with pytest.raises(StorageUnavailable, match="refused"):
        store.attempt("gcra", "a", TAKE)
    with pytest.raises(StorageUnavailable, match=r"the store is down: .*refused"):
        store.attempt("gcra", "a", TAKE)
    with pytest.raises(StorageUnavailable):
        loop(store.aattempt("gcra", "a", TAKE))
    assert [type(one) for one in store.attempt_many([("gcra", "a", TAKE)] * 2)] == [StorageUnavailable] * 2
    assert [type(one) for one in loop(store.aattempt_many([("gcra", "a", TAKE)]))] == [StorageUnavailable]
    assert primary.calls == 1


@pytest.mark.parametrize("kind", [StorageFull, StorageAuthError])
def test_a_full_or_misconfigured_store_is_asked_each_time_and_memory_answers(
    store: FailoverStore, primary: Scripted, kind: type[StorageError]
) -> None:
    """A check of its health would say well, and the store go to and fro."""
    primary.troubles = [kind("gcra", "no") for _ in range(3)]
    assert [store.run("gcra", "a", TAKE)[1] for _ in range(3)] == [9, 8, 7]
    assert not gone(store)
    assert primary.calls == 3


def test_our_own_bug_is_hidden_by_no_fallback(store: FailoverStore, primary: Scripted, loop: Any) -> None:
    wrong = StorageProtocolError("gcra", "WRONGTYPE")
    primary.troubles = [wrong, wrong, wrong, wrong]
    with pytest.raises(StorageProtocolError):
        store.run("gcra", "a", TAKE)
    with pytest.raises(StorageProtocolError):
        loop(store.arun("gcra", "a", TAKE))
    assert store.run_many([("gcra", "a", TAKE)]) == [wrong]
    assert loop(store.arun_many([("gcra", "a", TAKE)])) == [wrong]
    assert not gone(store)


def test_a_slot_on_its_way_is_not_the_whole_store(store: FailoverStore, primary: Scripted) -> None:
    moving = StorageUnavailable("gcra", "TRYAGAIN")
    moving.is_whole_store = False
    primary.troubles = [moving]
    assert store.run("gcra", "a", TAKE)[1] == 9
    assert not gone(store)


def test_of_a_pipeline_memory_answers_what_is_missing(store: FailoverStore, primary: Scripted, loop: Any) -> None:
    primary.run("gcra", "a", TAKE)
    full = StorageFull("gcra", "OOM")
    primary.troubles = [None, full, None]
    assert [reply[1] for reply in store.run_many([("gcra", "a", TAKE)] * 3)] == [8, 9, 7]  # type: ignore[index]
    primary.troubles = [None, full, None]
    assert [reply[1] for reply in loop(store.arun_many([("gcra", "a", TAKE)] * 3))] == [6, 8, 5]


def test_a_pipeline_without_a_reply_counts_once(store: FailoverStore, primary: Scripted, loop: Any) -> None:
    calls = [("gcra", "a", TAKE)] * 5
    primary.troubles = [UNSEEN] * 5
    store.run_many(calls)
    assert not gone(store)
    primary.troubles = [UNSEEN] * 5
    loop(store.arun_many(calls))
    assert gone(store)
    assert MAX_UNSEEN == 2


def test_one_node_of_a_pipeline_that_is_gone_takes_the_store_down(store: FailoverStore, primary: Scripted) -> None:
    primary.troubles = [None, GONE, None]
    store.run_many([("gcra", "a", TAKE)] * 3)
    assert gone(store)


def test_a_good_check_brings_the_primary_back_and_nothing_is_merged(
    store: FailoverStore, primary: Scripted, events: list[Any], loop: Any
) -> None:
    store.run("gcra", "a", TAKE)
    primary.troubles = [GONE]
    assert [store.run("gcra", "a", TAKE)[1] for _ in range(4)] == [9, 8, 7, 6]
    primary.is_well = False
    health = store.health()
    assert [health.ok, health.fallback_active] == [False, True]
    assert loop(store.ahealth()).fallback_active
    primary.is_well = True
    assert store.health().ok
    assert store.run("gcra", "a", TAKE)[1] == 8, "as if the outage had not been"
    assert [event.name for event in events] == ["storage.down", "storage.up"]
    assert telemetry.collect()["resilience_storage_up"]["memory",] == 1
    primary.troubles = [UNSEEN]
    store.run("gcra", "a", TAKE)
    assert not gone(store), "what was unseen before the outage is forgotten"


def test_one_thread_asks_for_all_stores_and_ends_with_the_last(monkeypatch: pytest.MonkeyPatch) -> None:
    # Of its own: a store that an earlier test of this process left without its server keeps the process's own busy.
    monkeypatch.setattr(failover, "_prober", failover._Prober())
    others = set(threading.enumerate())
    primaries = [Scripted() for _ in range(3)]
    stores = [FailoverStore(primary, MemoryStore(), probe_s=0.01) for primary in primaries]
    up = threading.Semaphore(0)
    unsubscribe = telemetry.subscribe(lambda event: up.release(), "storage.up")
    try:
        for primary in primaries:
            primary.is_well = False
            primary.troubles = [GONE]
        for store in stores:
            store.run("gcra", "a", TAKE)
        probes = [t for t in threading.enumerate() if t.name == "resilience-storage-probe" and t not in others]
        assert len(probes) == 1
        for primary in primaries:
            primary.is_well = True
        for _ in stores:
            assert up.acquire(timeout=20)
        probes[0].join(20)
        assert not probes[0].is_alive()
        assert not any(gone(store) for store in stores)
    finally:
        unsubscribe()
        for store in stores:
            store.close()


def test_a_fault_in_one_check_does_not_end_the_asking(monkeypatch: pytest.MonkeyPatch) -> None:
    primary = Scripted()
    store = FailoverStore(primary, MemoryStore(), probe_s=0.01)
    up = threading.Event()
    unsubscribe = telemetry.subscribe(lambda event: up.set(), "storage.up")
    real, faults = primary.health, [ValueError("a fault of the check"), RuntimeError("another")]

    def health() -> StorageHealth:
        if faults:
            raise faults.pop()
        return real()

    monkeypatch.setattr(primary, "health", health)
    primary.troubles = [GONE]
    store.run("gcra", "a", TAKE)
    try:
        assert up.wait(20)
        assert telemetry.collect()["resilience_internal_errors_total"]["storage", "probe"] >= 2
    finally:
        unsubscribe()
        store.close()


def test_waits_differ_so_that_processes_do_not_ask_together() -> None:
    store = FailoverStore(Scripted(), MemoryStore(), probe_s=10)
    import time

    waits = [failover._next_due(store) - time.monotonic() for _ in range(200)]
    assert 7.9 < min(waits) < 9
    assert 11 < max(waits) <= 12


def test_closing_ends_the_asking_and_keeps_the_fallback(store: FailoverStore, primary: Scripted, loop: Any) -> None:
    primary.is_well = False
    primary.troubles = [GONE]
    store.run("gcra", "a", TAKE)
    store.close()
    assert store not in failover._prober._due
    assert primary.closed == 1
    assert store.fallback.run("gcra", "a", TAKE)[1] == 8


def test_a_forked_child_asks_by_itself(store: FailoverStore, primary: Scripted) -> None:
    """The parent's thread does not exist there; the first refused call starts another."""
    primary.is_well = False
    primary.troubles = [GONE]
    store.run("gcra", "a", TAKE)
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:  # pragma: no cover - coverage does not follow a fork that ends like this
        try:
            before = [thread.name for thread in threading.enumerate()]
            store.run("gcra", "a", TAKE)
            after = [thread.name for thread in threading.enumerate()]
            good = "resilience-storage-probe" not in before and "resilience-storage-probe" in after
            os.write(writing, b"ok" if good else b"no")
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    assert os.read(reading, 2) == b"ok"
    os.close(reading)
    os.close(writing)


def test_it_shows_its_primary_to_the_outside(store: FailoverStore, primary: Scripted) -> None:
    assert store.name == "failover"
    assert store.local is store.fallback
    assert store.bus is primary.bus
    assert store.channel("events") == primary.channel("events")
    assert store.prefix == primary.prefix
