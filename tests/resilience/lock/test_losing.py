"""Losing a lock: who is told, when, and what leaves the block."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from resilience import telemetry
from resilience.clock import FakeClock
from resilience.errors import LockLost, StorageUnavailable
from resilience.lock import DistributedLock, LockFactory
from tests.resilience.lock.faults import FaultyStore


def lose(factory: LockFactory, clock: FakeClock, lock: DistributedLock) -> None:
    factory.break_lock(lock.name)
    clock.advance(lock.options["ttl_s"] / 3)


def test_a_refused_renewal_is_a_loss_and_it_is_told_once(
    factory: LockFactory, clock: FakeClock, told: list[telemetry.Event]
) -> None:
    lost = []
    lock = factory.create("job", on_lost=lambda: lost.append("told"))
    before = telemetry.collect()["resilience_lock_lost_total"].get(("job",), 0)
    assert lock.acquire()
    lose(factory, clock, lock)
    assert lock.lost
    assert not lock.held
    assert not lock.release()
    clock.advance(100)
    assert lost == ["told"]
    (event,) = [event for event in told if event.name == "lock.lost"]
    assert event.attributes["name"] == "job"
    assert event.attributes["fence"] == lock.fence
    assert telemetry.collect()["resilience_lock_lost_total"][("job",)] == before + 1


def test_the_end_of_a_block_raises_when_the_lock_was_lost_in_it(factory: LockFactory, clock: FakeClock) -> None:
    lock = factory.create("job")
    with pytest.raises(LockLost, match="lock job was lost"), lock:
        lose(factory, clock, lock)


def test_the_end_of_a_block_finds_a_lock_that_was_broken_since_the_last_renewal(factory: LockFactory) -> None:
    lock = factory.create("job")
    with pytest.raises(LockLost), lock:
        factory.break_lock("job")
        assert lock.held  # nobody could know


def test_an_exception_on_its_way_out_is_not_replaced_by_the_loss(factory: LockFactory, clock: FakeClock) -> None:
    lock = factory.create("job")
    error = KeyError("mine")
    with pytest.raises(KeyError) as raised, lock:
        lose(factory, clock, lock)
        raise error
    assert raised.value is error
    assert lock.lost


def test_a_lost_outer_block_raises_and_the_inner_one_too(factory: LockFactory, clock: FakeClock) -> None:
    lock = factory.create("job")
    with pytest.raises(LockLost) as outer, lock:
        with pytest.raises(LockLost), lock:
            lose(factory, clock, lock)
        assert lock.lost
    assert outer.value.name == "job"


def test_a_lock_taken_anew_inside_does_not_hide_that_the_outer_one_was_lost(factory: LockFactory, clock: FakeClock) -> None:
    lock = factory.create("job")
    with pytest.raises(LockLost), lock:
        lose(factory, clock, lock)
        with lock:
            lock.check()


def test_a_store_that_comes_back_in_time_loses_nothing(faulty: FaultyStore, clock: FakeClock) -> None:
    lock = LockFactory(faulty, clock).create("job", ttl_s=10)
    with lock:
        faulty.is_down = True
        clock.advance(9)
        assert lock.held
        faulty.is_down = False
        clock.advance(1)
        assert lock.held
        assert lock.expires_in_s > 8
        clock.advance(100)
        assert lock.held


def test_a_store_that_stays_away_loses_the_lock_at_the_local_deadline(faulty: FaultyStore, clock: FakeClock) -> None:
    lost = []
    lock = LockFactory(faulty, clock).create("job", ttl_s=10, on_lost=lambda: lost.append(clock.monotonic()))
    with pytest.raises(LockLost, match="connection refused"), lock:
        faulty.is_down = True
        clock.advance(9.89)
        assert lock.held
        clock.advance(0.02)
        assert lock.lost
    assert lost == [pytest.approx(9.9)]


def test_a_loss_is_final_also_when_a_late_renewal_succeeds(faulty: FaultyStore, clock: FakeClock) -> None:
    lock = LockFactory(faulty, clock).create("job", ttl_s=10, renew=False)
    assert lock.acquire()
    clock.advance(9.95)  # past the belief, before the end of the lease
    assert lock.lost
    assert not lock.renew()
    assert "lock_renew" not in faulty.calls


def test_the_wall_clock_may_step_and_the_local_deadline_does_not_move(clock: FakeClock, faulty: FaultyStore) -> None:
    lock = LockFactory(faulty, clock).create("job", ttl_s=10, renew=False)
    assert lock.acquire()
    clock.set(clock.now_us() / 1e6 - 86_400)
    assert lock.expires_in_s == pytest.approx(9.9)
    clock.advance(9.9)
    assert lock.lost


def test_a_clock_set_back_lets_no_second_holder_in(factory: LockFactory, clock: FakeClock) -> None:
    lock, other = factory.create("job", ttl_s=10), factory.create("job")
    with lock:
        clock.set(clock.now_us() / 1e6 - 3600)
        assert not other.acquire()
        clock.advance(30)
        assert lock.held
        assert not other.acquire()


def test_after_a_clock_was_set_back_a_dead_holder_is_waited_for_at_most_the_step_longer(
    factory: LockFactory, clock: FakeClock
) -> None:
    lock = factory.create("job", ttl_s=10)
    assert lock.acquire()
    clock.set(clock.now_us() / 1e6 - 60)
    del lock
    clock.advance(69.9)
    assert not factory.create("job").acquire()
    clock.advance(0.2)
    assert factory.create("job").acquire()


def test_a_store_clock_that_leaps_ahead_lets_another_in_and_the_first_one_finds_out(
    factory: LockFactory, clock: FakeClock
) -> None:
    late, next_one = factory.create("job", ttl_s=10, renew=False), factory.create("job")
    assert late.acquire()
    clock.set(clock.now_us() / 1e6 + 3600)
    assert late.lost
    assert next_one.acquire()
    assert (next_one.fence or 0) > (late.fence or 0)


def test_a_callback_that_fails_is_counted_and_harms_no_other_lock(factory: LockFactory, clock: FakeClock) -> None:
    def fails() -> None:
        raise RuntimeError("callback")

    key = ("renewal", "callback")
    before = telemetry.collect()["resilience_internal_errors_total"].get(key, 0)
    one, other = factory.create("one", on_lost=fails), factory.create("other")
    assert one.acquire()
    assert other.acquire()
    lose(factory, clock, one)
    clock.advance(100)
    assert other.held
    assert telemetry.collect()["resilience_internal_errors_total"][key] == before + 1


@pytest.fixture
def failing_listener() -> Iterator[None]:
    def fails(event: telemetry.Event) -> None:
        raise RuntimeError("listener")

    unsubscribe = telemetry.subscribe(fails)
    yield
    unsubscribe()


@pytest.mark.usefixtures("failing_listener")
@pytest.mark.parametrize(
    "fault", [StorageUnavailable("lock_release", "gone"), RuntimeError("bug in the store"), "unheard", "unsent"], ids=str
)
def test_a_release_that_fails_replaces_neither_result_nor_exception(faulty: FaultyStore, clock: FakeClock, fault: Any) -> None:
    lock = LockFactory(faulty, clock).create("job")
    error = ValueError("mine")
    faulty.fail["lock_release"] = [fault, fault]
    with lock:
        pass
    assert not lock.held
    clock.advance(60)  # the lease, or what was asked again, frees it
    with pytest.raises(ValueError, match="mine") as raised, lock:
        raise error
    assert raised.value is error


def test_interrupts_leave_as_they_are_and_free_the_lock(factory: LockFactory) -> None:
    lock = factory.create("job")
    with contextlib.suppress(KeyboardInterrupt), lock:
        raise KeyboardInterrupt
    assert factory.create("job").acquire()


def test_a_slow_callback_holds_up_no_renewal() -> None:
    """By real time: the callback of one lock waits for the renewal of another, which it must not stand in the way of."""
    from resilience.storage.memory import MemoryStore

    store = MemoryStore()
    factory = LockFactory(store)
    renewed, finished = threading.Event(), threading.Event()

    def waits() -> None:
        renewed.wait(20)
        finished.set()

    one = factory.create("one", ttl_s=0.3, on_lost=waits)
    other = factory.create("other", ttl_s=0.3)
    assert one.acquire()
    assert other.acquire()
    factory.break_lock("one")
    while not one.lost:
        threading.Event().wait(0.005)
    fence = other.fence
    for _ in range(20):
        threading.Event().wait(0.05)
        if other.lost:
            break
    assert other.held
    assert other.fence == fence
    renewed.set()
    assert finished.wait(20)
