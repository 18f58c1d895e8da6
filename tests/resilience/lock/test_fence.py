"""The fence: it rises from holder to holder, whatever happens to the data."""

from __future__ import annotations

import redis

from resilience.clock import FakeClock
from resilience.lock import LockFactory
from resilience.storage.memory import MemoryStore
from resilience.storage.redis import RedisStore


def taken(factory: LockFactory) -> int:
    with factory.create("job") as lock:
        assert lock.fence is not None
        return lock.fence


def test_each_holder_has_a_higher_fence(factory: LockFactory) -> None:
    """By the test's clock no time passes between them."""
    fences = [taken(factory) for _ in range(5)]
    assert fences == sorted(set(fences))


def test_it_rises_although_the_clock_was_set_back(factory: LockFactory, clock: FakeClock) -> None:
    before = taken(factory)
    clock.set(clock.now_us() / 1e6 - 3600)
    assert taken(factory) > before


def test_it_is_at_least_the_time_so_it_rises_over_lost_data(clock: FakeClock) -> None:
    before = taken(LockFactory(MemoryStore(), clock))
    clock.advance(0.001)
    assert taken(LockFactory(MemoryStore(), clock)) > before


def test_it_rises_after_flushall(valkey_url: str, key_prefix: str) -> None:
    factory = LockFactory(RedisStore(valkey_url, prefix=key_prefix, timeout_s=5))
    fences = []
    with redis.Redis.from_url(valkey_url) as server:
        for _ in range(3):
            fences.append(taken(factory))
            server.flushall()
    assert fences == sorted(set(fences))


def test_a_holder_that_a_flush_robbed_finds_out_and_its_fence_is_the_lower_one(valkey_url: str, key_prefix: str) -> None:
    factory = LockFactory(RedisStore(valkey_url, prefix=key_prefix, timeout_s=5))
    robbed, next_one = factory.create("job"), factory.create("job")
    assert robbed.acquire()
    with redis.Redis.from_url(valkey_url) as server:
        server.flushall()
    assert next_one.acquire()
    assert (next_one.fence or 0) > (robbed.fence or 0)
    assert not robbed.renew()
    assert robbed.lost
    assert not robbed.release()
    assert next_one.release()


def test_an_outage_that_is_bridged_by_memory_keeps_it_rising() -> None:
    """Both stores take it from the time of day."""
    from tests.resilience.lock.faults import FaultyStore

    store = FaultyStore()
    factory = LockFactory(store)
    fences = []
    for down in (False, True, False):
        store.is_down = down
        with factory.create("job", on_store_down="local") as lock:
            fences.append(lock.fence or 0)
    assert fences == sorted(set(fences))
