"""A permit is a lease: renewed while its call runs, given to another when nobody renews it."""

from __future__ import annotations

import asyncio
import threading

import pytest
import redis

from resilience import telemetry
from resilience.bulkhead import Bulkhead
from resilience.clock import FakeClock
from resilience.errors import BulkheadFull
from resilience.storage.base import Storage
from resilience.storage.redis import RedisStore
from tests.resilience.lock.faults import FaultyStore, settle


def test_a_call_may_last_longer_than_its_lease(store: Storage, clock: FakeClock) -> None:
    bulkhead = Bulkhead("b", 1, lease_s=9, store=store, clock=clock)
    permit = bulkhead.acquire()
    for _ in range(30):
        clock.advance(3)
        assert bulkhead.in_flight == 1
        with pytest.raises(BulkheadFull):
            bulkhead.acquire()
    assert not permit.lost
    assert permit.release()


def test_a_permit_that_nobody_holds_any_more_returns_after_one_lease(store: Storage, clock: FakeClock) -> None:
    """A permit without a lease would be gone for ever with the first process that is killed."""
    bulkhead = Bulkhead("b", 1, lease_s=30, store=store, clock=clock)
    bulkhead.acquire()
    clock.advance_us(29_999_999)
    with pytest.raises(BulkheadFull):
        bulkhead.acquire()
    clock.advance_us(1)
    assert bulkhead.acquire().release()


def test_a_vanished_permit_is_told_once_and_not_renewed_back(
    store: Storage, clock: FakeClock, told: list[telemetry.Event]
) -> None:
    """Its place may be another's: a renewal that added it again would be one too many inside."""
    bulkhead = Bulkhead("b", 1, lease_s=30, store=store, clock=clock)
    permit = bulkhead.acquire()
    store.run("bulkhead_release", "b", (permit.id,), clock.stamp_us())  # as a flush, or an eviction
    other = bulkhead.acquire()
    clock.advance(10)
    assert permit.lost
    assert bulkhead.in_flight == 1
    assert not permit.release()
    assert bulkhead.in_flight == 1
    (event,) = [event for event in told if event.name == "bulkhead.lease_lost"]
    assert event.attributes["name"] == "b"
    assert event.attributes["permit"] == permit.id
    assert other.release()


def test_releasing_a_vanished_permit_is_told(store: Storage, clock: FakeClock, told: list[telemetry.Event]) -> None:
    bulkhead = Bulkhead("b", 1, store=store, clock=clock)
    with bulkhead as permit:
        store.run("bulkhead_release", "b", (permit.id,), clock.stamp_us())
    assert permit.lost
    assert [event.name for event in told if event.name.startswith("bulkhead.")] == ["bulkhead.lease_lost"]


def test_without_its_store_a_permit_is_believed_in_for_one_lease(faulty: FaultyStore, clock: FakeClock) -> None:
    bulkhead = Bulkhead("b", 1, lease_s=30, store=faulty, clock=clock)
    permit = bulkhead.acquire()
    faulty.is_down = True
    clock.advance(29.6)
    assert not permit.lost
    clock.advance(0.1)
    assert permit.lost


def test_a_changed_lease_holds_for_the_next_permits(store: Storage, clock: FakeClock) -> None:
    """The key must live as long as the longest of them."""
    bulkhead = Bulkhead("b", 3, lease_s=3600, store=store, clock=clock)
    long = bulkhead.acquire()
    bulkhead.configure(lease_s=1)
    short = bulkhead.acquire()
    assert sorted(round(left) for _, left in bulkhead.snapshot().holders) == [1, 3600]
    clock.advance(5)
    assert short.release()
    assert bulkhead.in_flight == 1
    assert long.release()


def test_a_clock_set_back_admits_no_more_and_loses_nothing(store: Storage, clock: FakeClock) -> None:
    bulkhead = Bulkhead("b", 2, lease_s=30, store=store, clock=clock)
    permits = [bulkhead.acquire(), bulkhead.acquire()]
    clock.set(clock.now_us() / 1e6 - 3600)
    with pytest.raises(BulkheadFull):
        bulkhead.acquire()
    clock.advance(60)
    assert bulkhead.in_flight == 2
    assert all(permit.release() for permit in permits)
    bulkhead.acquire()


def test_a_clock_that_leaps_ahead_admits_one_more_crowd_at_most(
    store: Storage, clock: FakeClock, told: list[telemetry.Event]
) -> None:
    bulkhead = Bulkhead("b", 2, lease_s=30, store=store, clock=clock)
    permits = [bulkhead.acquire(), bulkhead.acquire()]
    store.run("bulkhead_inspect", "b", (9,), clock.now_us() + 3_600_000_000)
    later = clock.now_us() + 3_600_000_000
    assert store.run("bulkhead_acquire", "b", ("leap-1", 2, 30_000_000), later)[0] == 1
    assert store.run("bulkhead_acquire", "b", ("leap-2", 2, 30_000_000), later)[0] == 1
    assert store.run("bulkhead_acquire", "b", ("leap-3", 2, 30_000_000), later)[0] == 0
    clock.advance(10)
    assert all(permit.lost for permit in permits)
    assert sum(event.name == "bulkhead.lease_lost" for event in told) == 2


def test_an_async_call_is_renewed_by_its_loop(store: Storage, clock: FakeClock) -> None:
    async def main() -> None:
        bulkhead = Bulkhead("b", 1, lease_s=9, store=store, clock=clock)
        async with bulkhead as permit:
            for _ in range(10):
                clock.advance(3)
                for _ in range(1000):
                    await asyncio.sleep(0.001)
                    if permit.deadline - clock.monotonic() > 8:
                        break
                assert not permit.lost
            assert (await bulkhead.asnapshot()).in_flight == 1
        assert (await bulkhead.asnapshot()).in_flight == 0
        await settle()

    asyncio.run(main())


def test_a_permit_of_a_task_may_be_given_back_by_a_thread(store: Storage) -> None:
    async def main() -> None:
        bulkhead = Bulkhead("b", 1, store=store)
        permit = await bulkhead.aacquire()
        assert await asyncio.to_thread(permit.release)
        assert (await bulkhead.asnapshot()).in_flight == 0

    asyncio.run(main())


def test_many_threads_share_one_bulkhead_and_never_exceed_it(store: Storage) -> None:
    bulkhead = Bulkhead("b", 3, max_wait_s=50, store=store)
    lock = threading.Lock()
    inside, worst = 0, 0

    def work() -> None:
        nonlocal inside, worst
        for _ in range(10):
            with bulkhead:
                with lock:
                    inside += 1
                    worst = max(worst, inside)
                with lock:
                    inside -= 1

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert worst <= 3
    assert bulkhead.in_flight == 0


def test_a_short_lease_does_not_end_the_key_of_a_long_one(valkey_url: str, key_prefix: str) -> None:
    """By the server's own clock: under a test's clock keys live an hour more, which would hide it."""
    bulkhead = Bulkhead("b", 3, lease_s=3600, store=RedisStore(valkey_url, prefix=key_prefix, timeout_s=5))
    long = bulkhead.acquire()
    bulkhead.configure(lease_s=0.1)
    short = bulkhead.acquire()
    with redis.Redis.from_url(valkey_url) as server:
        assert server.pttl(f"{key_prefix}bulkhead:{{b}}:permits") > 3_000_000
    assert long.release()
    short.release()
