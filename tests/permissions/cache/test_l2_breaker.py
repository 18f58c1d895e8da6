"""While the store is away nobody but the writer's thread asks for it, and no caller waits; it is used again without a restart."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import OutOfMemoryError

from permissions.cache import l2, l2_link, l2_writer
from permissions.cache.codec import encode
from permissions.cache.l2 import RedisLayer
from permissions.cache.l2_link import breaker
from permissions.cache.l2_writer import Job, Writer
from resilience.circuit_breaker.breaker import CircuitBreaker
from resilience.clock import FakeClock
from resilience.storage.memory import MemoryStore
from tests.permissions.cache.l2_cast import counted, events, head, layer_on, random_world, subject

WRITES = "permission_cache_l2_writes_total"
THREAD = "permission-cache-writer"


class Store:
    """A client of a store that can be lost. `asked`: the names of the threads that made a call."""

    def __init__(self) -> None:
        self.kept: dict[bytes, bytes] = {}
        self.fault: Exception | None = None
        self.write_fault: Exception | None = None
        self.asked: list[str] = []
        self.gate: Callable[[], object] = lambda: None

    def is_cluster(self) -> bool:
        return False

    def mget(self, keys: Any) -> list[bytes | None]:
        self._called()
        return [self.kept.get(key) for key in keys]

    def pipeline(self, *, transaction: bool) -> Store:
        assert not transaction
        self.queued: list[tuple[bytes, bytes]] = []
        return self

    def set(self, key: bytes, value: bytes, px: int) -> None:
        assert px > 0
        self.queued.append((key, value))

    def execute(self, *, raise_on_error: bool) -> list[Any]:
        assert not raise_on_error
        self._called()
        if self.write_fault is not None:
            return [self.write_fault] * len(self.queued)
        self.kept.update(self.queued)
        return [True] * len(self.queued)

    def _called(self) -> None:
        self.asked.append(threading.current_thread().name)
        self.gate()
        if self.fault is not None:
            raise self.fault


@pytest.fixture
def store() -> Store:
    return Store()


@pytest.fixture
def layer(settings, store) -> Iterator[RedisLayer]:
    with layer_on(settings, "unix:///nowhere/v.sock", quick=True) as made:
        made._client = store
        yield made


def lose(layer: RedisLayer, store: Store, fault: Exception | None = None) -> None:
    store.fault = fault or RedisConnectionError("gone")
    for _ in range(3):
        assert layer.get_many(head(), "s", ["user:1"]) == {}
    assert not layer.is_up


def threads(layer: RedisLayer) -> list[threading.Thread]:
    return [] if layer.writer._thread is None else [layer.writer._thread]


def until(ready: Callable[[], object]) -> None:
    """The test's own time limit ends what never becomes so."""
    while not ready():
        threading.Event().wait(0.005)


def test_while_the_store_is_lost_a_caller_asks_nothing_not_even_the_breaker(layer, store, monkeypatch):
    """What a check pays then is one look at a flag."""
    lose(layer, store)
    touched: list[str] = []

    def watched(call: Callable[..., Any]) -> Callable[..., Any]:
        def recorded(*args: Any) -> Any:
            touched.append(threading.current_thread().name)
            return call(*args)

        return recorded

    for place, name in ((l2, "key_of"), (l2, "model_key"), (l2_link, "breaker")):
        monkeypatch.setattr(place, name, watched(getattr(place, name)))
    asked = [name for name in store.asked if name != THREAD]
    at = head()
    for _ in range(1_000):
        assert layer.get_many(at, "s", ["user:1"]) == {} and layer.get_model(at) is None
        assert layer.link.get([b"key"]) == [None] and layer.link.put([(b"key", b"value", 1)]) == 0
        layer.put_many(at, "s", [subject()], 99, 5)
    assert set(touched) <= {THREAD} and [name for name in store.asked if name != THREAD] == asked
    assert not layer.writer._jobs


def test_the_writers_thread_alone_finds_out_that_the_store_is_back(layer, store):
    with events() as told:
        lose(layer, store)
        before = len(store.asked)
        callers = [
            threading.Thread(target=lambda: [layer.get_many(head(), "s", ["user:1"]) for _ in range(200)]) for _ in range(8)
        ]
        for caller in callers:
            caller.start()
        until(lambda: len(store.asked) >= before + 3)
        for caller in callers:
            caller.join()
        assert set(store.asked[before:]) == {THREAD} and not layer.is_up
        store.fault = None
        until(lambda: layer.is_up)
        assert breaker().state == "closed"
        until(lambda: told("cache.l2_up") == 1)
        assert told("cache.l2_down") == 1
    at = head()
    layer.put_many(at, "s", [subject()], 99, 5)
    assert layer.writer.settle(20) and layer.get_many(at, "s", ["user:alice"])


def test_many_callers_at_the_moment_of_the_loss_tell_it_once(layer, store):
    store.fault = RedisConnectionError("gone")
    barrier = threading.Barrier(16)
    store.gate = lambda: barrier.wait(20) if threading.current_thread().name != THREAD else None
    with events() as told:
        callers = [threading.Thread(target=layer.get_many, args=(head(), "s", ["user:1"])) for _ in range(16)]
        for caller in callers:
            caller.start()
        for caller in callers:
            caller.join()
        assert told("cache.l2_down") == 1 and not layer.is_up


def test_a_fault_that_nobody_expected_is_a_miss_too(layer, store):
    before = counted("resilience_internal_errors_total", "permission_cache", "l2")
    lose(layer, store, ValueError("a fault of ours"))
    assert counted("resilience_internal_errors_total", "permission_cache", "l2") >= before + 3


@pytest.mark.parametrize(("keys", "is_skipped"), [(1, True), (500, False)])
def test_a_store_slow_for_one_key_is_skipped_and_one_slow_for_many_is_not(layer, store, monkeypatch, keys, is_skipped):
    clock = FakeClock()
    options = {**breaker().options, "slow_call_s": 0.05}
    guard = CircuitBreaker("permission_cache_slow", **options, store=MemoryStore(clock=clock), clock=clock)
    monkeypatch.setattr(l2_link, "breaker", lambda: guard)
    store.gate = lambda: clock.advance(0.06)
    for _ in range(30):
        layer.get_many(head(), "s", [f"user:{number}" for number in range(keys)])
    assert layer.is_up is not is_skipped


def test_one_lost_call_among_many_opens_nothing(layer, store):
    for number in range(40):
        store.fault = RedisConnectionError("once") if number == 20 else None
        layer.get_many(head(), "s", ["user:1"])
    assert layer.is_up and breaker().state == "closed"


def test_a_store_that_refuses_to_write_is_still_read(layer, store):
    """It is full, or a replica."""
    at = head()
    layer.put_many(at, "s", [subject()], 99, 5)
    assert layer.writer.settle(20)
    store.write_fault = OutOfMemoryError("command not allowed when used memory > 'maxmemory'")
    before = counted(WRITES, "failed")
    for _ in range(20):
        layer.put_many(at, "s", [subject("user:bob")], 99, 5)
        assert layer.writer.settle(20)
    assert counted(WRITES, "failed") == before + 20
    assert layer.is_up and set(layer.get_many(at, "s", ["user:alice", "user:bob"])) == {"user:alice"}


def test_a_person_may_hold_it_open_and_let_it_go(layer, store):
    at = head()
    layer.put_many(at, "s", [subject()], 99, 5)
    assert layer.writer.settle(20)
    breaker().force_open("maintenance of the store")
    try:
        assert layer.get_many(at, "s", ["user:alice"]) == {} and not layer.is_up
        asked = len(store.asked)
        assert layer.get_many(at, "s", ["user:alice"]) == {} and len(store.asked) == asked
    finally:
        breaker().auto()
    until(lambda: layer.is_up)
    assert layer.get_many(at, "s", ["user:alice"])


def test_a_full_queue_drops_and_counts_and_nobody_waits(layer, store):
    released = threading.Event()
    store.gate = lambda: released.wait(50)
    writer = Writer(layer.link, max_queued=10)
    at = head()
    jobs = [Job(at, "s", subject(f"user:{n}"), 7, 99, 5) for n in range(40)]
    before = counted(WRITES, "dropped"), counted(WRITES, "stored")
    try:
        writer.offer(jobs[:1])
        until(lambda: store.asked)  # the thread hangs in the store from here on
        for job in jobs[1:]:
            writer.offer([job])
        assert len(writer._jobs) == 10 and counted(WRITES, "dropped") == before[0] + 29
        released.set()
        assert writer.settle(20) and counted(WRITES, "stored") == before[1] + 11
        assert len(store.kept) == 11
    finally:
        released.set()
        writer.close()


def test_of_a_realms_role_tables_only_the_newest_waits(layer, store):
    released = threading.Event()
    store.gate = lambda: released.wait(50)
    at = head()
    layer.put_many(at, "s", [subject()], 99, 5)
    until(lambda: store.asked)
    models = [random_world(f"model/{number}").model for number in range(30)]
    for number, model in enumerate(models):
        layer.put_model(at, number + 1, 99, model)
    assert len(layer.writer._models) == 1
    released.set()
    assert layer.writer.settle(20) and layer.get_model(at) == (30, 99, models[-1])


def test_what_waits_when_the_store_is_lost_is_dropped(layer, store):
    released = threading.Event()
    store.gate = lambda: released.wait(50) if threading.current_thread().name == THREAD else None
    at = head()
    layer.put_many(at, "s", [subject()], 99, 5)
    until(lambda: store.asked)
    layer.put_many(at, "s", [subject(f"user:{n}") for n in range(30)], 99, 5)
    before = counted(WRITES, "dropped")
    lose(layer, store)
    assert not layer.writer._jobs and counted(WRITES, "dropped") == before + 30
    released.set()


def test_no_thread_is_started_before_there_is_something_to_store(layer):
    assert layer.get_many(head(), "s", []) == {} and threads(layer) == []
    layer.put_many(head(), "s", [], 99, 5)
    layer.put_many(head(), "s", [subject(built_rev=0)], 99, 5)
    assert threads(layer) == []
    layer.put_many(head(), "s", [subject()], 99, 5)
    (thread,) = threads(layer)
    assert thread.daemon and thread.name == THREAD
    layer.put_many(head(), "s", [subject()], 99, 5)
    assert threads(layer) == [thread]


def test_after_its_end_the_layer_takes_nothing_and_its_thread_is_gone(layer):
    layer.put_many(head(), "s", [subject()], 99, 5)
    (thread,) = threads(layer)
    layer.close()
    assert not thread.is_alive()
    layer.put_many(head(), "s", [subject()], 99, 5)
    layer.put_model(head(), 7, 99, random_world("x").model)
    assert threads(layer) == [] and layer.writer.settle(1)


def test_a_fault_in_one_snapshot_costs_no_other(layer, store, monkeypatch):
    def fail(at: Any, kind: Any, snapshot: Any, *more: Any) -> Any:
        if snapshot.ref == "user:odd":
            raise ZeroDivisionError
        return encode(at, kind, snapshot, *more)

    before = counted("resilience_internal_errors_total", "permission_cache", "encode")
    monkeypatch.setattr(l2_writer, "encode", fail)
    layer.put_many(head(), "s", [subject("user:1"), subject("user:odd"), subject("user:2")], 99, 5)
    assert layer.writer.settle(20) and len(store.kept) == 2
    assert counted("resilience_internal_errors_total", "permission_cache", "encode") == before + 1


def test_the_writer_outlives_any_fault(layer, store, monkeypatch):
    def fail(*_: Any) -> Any:
        raise ZeroDivisionError

    before = counted("resilience_internal_errors_total", "permission_cache", "writer")
    with monkeypatch.context() as patched:
        patched.setattr(layer.link, "put", fail)
        layer.put_many(head(), "s", [subject()], 99, 5)
        assert layer.writer.settle(20)
    assert counted("resilience_internal_errors_total", "permission_cache", "writer") == before + 1
    layer.put_many(head(), "s", [subject()], 99, 5)
    assert layer.writer.settle(20) and len(store.kept) == 1


def test_what_cannot_be_held_exactly_is_counted_as_refused(layer, store):
    before = counted(WRITES, "refused"), counted(WRITES, "stored")
    layer.put_many(head(), "s", [subject(attributes={"n": 2**80}), subject()], 99, 5)
    assert layer.writer.settle(20)
    assert (counted(WRITES, "refused"), counted(WRITES, "stored")) == (before[0] + 1, before[1] + 1)


@pytest.mark.parametrize("odd", [None, 7, ["text"], [None]])
def test_wrong_arguments_raise_nothing_and_are_counted_as_our_own_fault(layer, odd):
    def faults() -> float:
        return sum(counted("resilience_internal_errors_total", "permission_cache", stage) for stage in ("put_many", "get_many"))

    before = faults()
    layer.put_many(head(), "s", odd, 99, 5)
    layer.get_many(odd, "s", ["user:1"])
    assert layer.writer.settle(20) and faults() >= before + 2
