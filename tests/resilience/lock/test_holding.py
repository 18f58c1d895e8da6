"""Taking, keeping and giving back a lock."""

from __future__ import annotations

import threading

import pytest

from resilience.clock import FakeClock
from resilience.errors import LockLost, LockNotAcquired
from resilience.lock import LockFactory
from resilience.storage.base import Storage


def test_one_holds_it_and_the_other_is_refused(factory: LockFactory) -> None:
    mine, other = factory.create("job"), factory.create("job")
    assert mine.acquire()
    assert mine.held
    assert not other.acquire()
    assert not other.held
    assert mine.release()
    assert other.acquire()


def test_with_raises_for_a_lock_that_is_held_and_says_when_to_come_again(factory: LockFactory) -> None:
    with factory.create("job", ttl_s=8), pytest.raises(LockNotAcquired) as refused, factory.create("job"):
        raise AssertionError("two are inside")
    assert refused.value.retry_after_s == pytest.approx(8)
    assert refused.value.name == "job"


def test_locks_of_different_names_do_not_meet(factory: LockFactory) -> None:
    with factory.create("a"), factory.create("b"):
        pass


def test_it_is_kept_as_long_as_the_block_runs(factory: LockFactory, clock: FakeClock) -> None:
    with factory.create("job", ttl_s=10) as lock:
        for _ in range(20):
            clock.advance(7)
            assert lock.held
            assert not factory.create("job").acquire()
            lock.check()


def test_without_renewal_it_ends_after_its_time(factory: LockFactory, clock: FakeClock) -> None:
    lock = factory.create("job", ttl_s=10, renew=False)
    assert lock.acquire()
    clock.advance(9.8)
    assert lock.held
    assert lock.expires_in_s == pytest.approx(0.1)
    clock.advance(0.2)
    assert lock.lost
    assert lock.expires_in_s == 0
    with pytest.raises(LockLost, match="job"):
        lock.check()


def test_its_holder_stops_believing_before_the_store_gives_it_away(factory: LockFactory, clock: FakeClock) -> None:
    lock, next_one = factory.create("job", ttl_s=10, renew=False), factory.create("job")
    assert lock.acquire()
    clock.advance(9.899)
    assert lock.held
    assert not next_one.acquire()
    clock.advance(0.001)
    assert lock.lost
    assert not next_one.acquire()
    clock.advance(0.1)
    assert next_one.acquire()


def test_a_renewal_by_hand_counts_from_now(factory: LockFactory, clock: FakeClock) -> None:
    lock = factory.create("job", ttl_s=10, renew=False)
    assert lock.acquire()
    clock.advance(9)
    assert lock.renew()
    assert lock.expires_in_s == pytest.approx(9.9)
    clock.advance(9)
    assert lock.held
    assert lock.release()
    assert not lock.renew()


def test_a_release_is_told_whether_it_still_held(factory: LockFactory, clock: FakeClock) -> None:
    lock = factory.create("job", ttl_s=10, renew=False)
    assert not lock.release()
    assert lock.acquire()
    assert lock.release()
    assert not lock.release()
    assert lock.acquire()
    clock.advance(10)
    assert not lock.release()


def test_a_release_leaves_the_lock_of_the_next_holder_alone(factory: LockFactory, clock: FakeClock) -> None:
    """A release that asks for no token frees another's lock: the oldest fault of locks in Redis."""
    late, next_one = factory.create("job", ttl_s=10, renew=False), factory.create("job")
    assert late.acquire()
    clock.advance(10)
    assert next_one.acquire()
    assert not late.release()
    assert next_one.held
    assert not factory.create("job").acquire()


def test_the_same_thread_takes_it_again_and_only_the_last_release_frees_it(factory: LockFactory) -> None:
    lock, other = factory.create("job"), factory.create("job")
    with lock:
        token, fence = lock.token, lock.fence
        with lock:
            assert (lock.token, lock.fence) == (token, fence)
        assert lock.held
        assert not other.acquire()
    assert lock.expires_in_s == 0
    assert other.acquire()


def test_another_thread_is_refused_though_it_uses_the_same_object(factory: LockFactory) -> None:
    lock = factory.create("job")
    answers = []
    with lock:
        thread = threading.Thread(target=lambda: answers.append(lock.acquire()))
        thread.start()
        thread.join()
        assert answers == [False]
        assert lock.held


def test_waiting_ends_when_the_holder_lets_go(store: Storage) -> None:
    factory = LockFactory(store)
    first, second = factory.create("job"), factory.create("job", wait_s=30)
    assert first.acquire()
    entered = threading.Event()

    def wait() -> None:
        with second:
            entered.set()

    thread = threading.Thread(target=wait)
    thread.start()
    assert not entered.wait(0.05)
    first.release()
    assert entered.wait(20)
    thread.join()


def test_waiting_ends_with_the_time_allowed(factory: LockFactory, clock: FakeClock) -> None:
    """The waiting thread sleeps by the clock, so that this thread decides how long it lasts."""
    first, second = factory.create("job"), factory.create("job")
    assert first.acquire()
    answers: list[bool] = []
    thread = threading.Thread(target=lambda: answers.append(second.acquire(wait_s=5)))
    thread.start()
    while thread.is_alive():
        clock.advance(0.05)
        thread.join(0.001)
    assert answers == [False]
    assert clock.monotonic() >= 5


def test_a_killed_holder_is_waited_for_no_longer_than_its_lease(factory: LockFactory, clock: FakeClock) -> None:
    lock = factory.create("job", ttl_s=10)
    assert lock.acquire()
    del lock  # nobody refers to it any more: nobody renews it
    assert not factory.create("job").acquire()
    clock.advance(10)
    assert factory.create("job").acquire()


def test_an_operator_sees_who_holds_it_and_may_break_it(factory: LockFactory, clock: FakeClock) -> None:
    assert not factory.inspect("job").held
    with pytest.raises(LockLost), factory.create("job", ttl_s=9) as lock:
        state = factory.inspect("job")
        assert (state.held, state.owner, state.fence) == (True, lock.token, lock.fence)
        assert state.expires_in_s == pytest.approx(9)
        assert factory.break_lock("job") == state
        assert not factory.inspect("job").held
        assert not factory.break_lock("job").held
        clock.advance(3)
        assert lock.lost
    assert factory.create("job").acquire()


def test_the_object_is_used_again_after_its_lock_was_lost(factory: LockFactory, clock: FakeClock) -> None:
    lock = factory.create("job", ttl_s=10, renew=False)
    assert lock.acquire()
    before = lock.fence or 0
    clock.advance(10)
    assert lock.acquire()
    assert lock.held
    assert not lock.lost
    assert (lock.fence or 0) > before
    assert lock.release()
