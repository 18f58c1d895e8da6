"""A lock without its store: an error, or this process alone; and what may have been taken unseen is given back."""

from __future__ import annotations

import asyncio
import threading

import pytest

from resilience.clock import FakeClock
from resilience.errors import StorageError, StorageFull, StorageProtocolError, StorageTimeout, StorageUnavailable
from resilience.lock import LockFactory
from tests.resilience.lock.faults import FaultyStore


def test_it_raises_unless_told_otherwise(faulty: FaultyStore, clock: FakeClock) -> None:
    faulty.is_down = True
    lock = LockFactory(faulty, clock).create("job")
    with pytest.raises(StorageUnavailable):
        lock.acquire()
    with pytest.raises(StorageUnavailable), lock:
        raise AssertionError("inside without a lock")
    assert not lock.held
    assert lock.token is None


def test_local_excludes_within_this_process(faulty: FaultyStore, clock: FakeClock) -> None:
    factory = LockFactory(faulty, clock)
    faulty.is_down = True
    with factory.create("job", on_store_down="local") as lock:
        assert not factory.create("job", on_store_down="local").acquire()
        clock.advance(100)  # renewed where it was taken
        lock.check()
    with factory.create("job", on_store_down="local"):
        pass


def test_a_local_lock_is_given_back_where_it_was_taken(faulty: FaultyStore, clock: FakeClock) -> None:
    factory = LockFactory(faulty, clock)
    lock = factory.create("job", on_store_down="local")
    faulty.is_down = True
    assert lock.acquire()
    faulty.is_down = False
    assert lock.release()
    assert faulty.fallback.run("lock_inspect", "job")[0] == 0


@pytest.mark.parametrize("error", [StorageFull("lock_acquire", "OOM"), StorageTimeout("lock_acquire", "late")])
def test_every_outage_is_a_case_for_the_policy(faulty: FaultyStore, clock: FakeClock, error: StorageError) -> None:
    factory = LockFactory(faulty, clock)
    faulty.fail["lock_acquire"] = [error, error]
    with pytest.raises(type(error)):
        factory.create("job").acquire()
    assert factory.create("job", on_store_down="local").acquire()


def test_our_own_bug_is_hidden_by_no_fallback(faulty: FaultyStore, clock: FakeClock) -> None:
    faulty.fail["lock_acquire"] = [StorageProtocolError("lock_acquire", "WRONGTYPE")]
    with pytest.raises(StorageProtocolError):
        LockFactory(faulty, clock).create("job", on_store_down="local").acquire()


def test_a_lock_whose_reply_was_lost_is_released_by_its_token(faulty: FaultyStore, clock: FakeClock) -> None:
    factory = LockFactory(faulty, clock)
    faulty.fail["lock_acquire"] = ["unheard"]
    with pytest.raises(StorageTimeout):
        factory.create("job").acquire()
    assert faulty.calls == ["lock_acquire", "lock_release"]
    assert factory.create("job").acquire()


def test_the_release_is_asked_again_until_the_store_answers_once(faulty: FaultyStore, clock: FakeClock) -> None:
    factory = LockFactory(faulty, clock)
    faulty.fail = {"lock_acquire": ["unheard"], "lock_release": ["unsent", "down"]}
    with pytest.raises(StorageTimeout):
        factory.create("job", ttl_s=10).acquire()
    assert not factory.create("job").acquire()
    clock.advance(1)
    assert factory.create("job").acquire()
    assert faulty.calls.count("lock_release") == 3
    clock.advance(100)
    assert faulty.calls.count("lock_release") == 3


def test_it_is_not_asked_for_ever(faulty: FaultyStore, clock: FakeClock) -> None:
    faulty.fail["lock_acquire"] = ["unheard"]
    with pytest.raises(StorageTimeout):
        lock = LockFactory(faulty, clock).create("job", ttl_s=10)
        faulty.fail["lock_release"] = ["unsent"] * 1000
        lock.acquire()
    clock.advance(20.5)
    asked = len(faulty.calls)
    clock.advance(100)
    assert len(faulty.calls) == asked


def test_by_real_time_it_is_asked_by_the_renewal_thread_and_the_caller_waits_for_nothing(faulty: FaultyStore) -> None:
    faulty.fail["lock_acquire"] = ["unheard"]
    factory = LockFactory(faulty)
    with pytest.raises(StorageTimeout):
        factory.create("job").acquire()
    assert factory.create("job", wait_s=20).acquire()


def test_nothing_is_released_that_was_surely_not_taken(faulty: FaultyStore, clock: FakeClock) -> None:
    faulty.fail["lock_acquire"] = ["down"]
    with pytest.raises(StorageUnavailable):
        LockFactory(faulty, clock).create("job").acquire()
    assert faulty.calls == ["lock_acquire"]


def test_a_release_without_the_store_says_held_and_the_lease_ends_it(faulty: FaultyStore, clock: FakeClock) -> None:
    factory = LockFactory(faulty, clock)
    lock = factory.create("job", ttl_s=10)
    assert lock.acquire()
    faulty.is_down = True
    assert lock.release()
    faulty.is_down = False
    assert not factory.create("job").acquire()
    clock.advance(10)
    assert factory.create("job").acquire()


def test_a_renewal_by_hand_says_when_the_store_is_away(faulty: FaultyStore, clock: FakeClock) -> None:
    lock = LockFactory(faulty, clock).create("job", ttl_s=10)
    assert lock.acquire()
    faulty.is_down = True
    with pytest.raises(StorageUnavailable):
        lock.renew()
    assert lock.held


def test_the_async_one_follows_the_same_policy(faulty: FaultyStore) -> None:
    async def main() -> None:
        factory = LockFactory(faulty)
        faulty.is_down = True
        with pytest.raises(StorageUnavailable):
            await factory.create_async("job").acquire()
        async with factory.create_async("job", on_store_down="local") as lock:
            assert not await factory.create_async("job", on_store_down="local").acquire()
            with pytest.raises(StorageUnavailable):
                await factory.ainspect("job")
            lock.check()

    asyncio.run(main())


def test_no_thread_is_left_by_a_test_clock(faulty: FaultyStore, clock: FakeClock) -> None:
    before = set(threading.enumerate())
    faulty.fail = {"lock_acquire": ["unheard"], "lock_release": ["unsent"]}
    with pytest.raises(StorageTimeout):
        LockFactory(faulty, clock).create("job").acquire()
    clock.advance(10)
    assert set(threading.enumerate()) == before
