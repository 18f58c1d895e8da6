"""Locks between processes: killed, frozen, forked."""

from __future__ import annotations

import os
import signal
import threading
import time
import traceback
from collections.abc import Callable

import pytest

from resilience.lock import LockFactory
from resilience.storage.base import Storage
from resilience.storage.memory import MemoryStore
from resilience.storage.redis import RedisStore
from tests.resilience.lock.puppet import puppet


def store_at(url: str, prefix: str) -> RedisStore:
    return RedisStore(url, prefix=prefix, timeout_s=5)


@pytest.mark.chaos
@pytest.mark.timeout(60)
def test_the_lock_of_a_killed_process_comes_back_after_one_lease(valkey_url: str, key_prefix: str) -> None:
    factory = LockFactory(store_at(valkey_url, key_prefix))
    with puppet(valkey_url, key_prefix) as holder:
        held, fence = holder.ask("lock", 2.5)
        assert held
        time.sleep(3)  # longer than its lease: it lives, so it is renewed
        assert not factory.create("job").acquire()
        holder.process.kill()
        holder.process.wait()
        left = factory.inspect("job").expires_in_s
        assert 0 < left <= 2.5
        next_one = factory.create("job")
        began = time.monotonic()
        assert next_one.acquire(wait_s=30)
        # Not before the lease was over. How long after says only how busy the machine is.
        assert time.monotonic() - began >= left - 0.1
        assert (next_one.fence or 0) > fence


@pytest.mark.chaos
@pytest.mark.timeout(60)
def test_a_process_frozen_past_its_lease_finds_itself_lost_at_once(valkey_url: str, key_prefix: str) -> None:
    factory = LockFactory(store_at(valkey_url, key_prefix))
    with puppet(valkey_url, key_prefix) as holder:
        assert holder.ask("lock", 0.5)[0]
        holder.process.send_signal(signal.SIGSTOP)
        with factory.create("job", wait_s=30) as lock:
            holder.send("state")  # waits in the pipe: the first thing it does when it wakes
            holder.process.send_signal(signal.SIGCONT)
            assert holder.hear() == {"held": False, "lost": True}
            assert holder.ask("release") is False
            assert lock.renew()


@pytest.mark.chaos
@pytest.mark.timeout(60)
@pytest.mark.cluster
def test_processes_exclude_each_other_on_a_cluster(cluster_url: str, key_prefix: str) -> None:
    factory = LockFactory(store_at(cluster_url, key_prefix))
    with puppet(cluster_url, key_prefix) as holder:
        assert holder.ask("lock", 5)[0]
        assert not factory.create("job").acquire()
        assert holder.ask("release") is True
        with factory.create("job"):
            assert not holder.ask("lock", 5)[0]


def in_child(check: Callable[[], None]) -> None:
    """Runs `check` in a forked child; fails if it fails there."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            check()
            status = 0
        except BaseException:  # noqa: BLE001 - told by the exit status; nothing of the parent's may run on here
            traceback.print_exc()
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


@pytest.fixture(params=["memory", "redis"])
def forked_store(request: pytest.FixtureRequest) -> Storage:
    if request.param == "memory":
        return MemoryStore()
    return store_at(request.getfixturevalue("valkey_url"), request.getfixturevalue("key_prefix"))


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")  # from 3.12; what is tested here
def test_a_parents_lock_is_not_the_childs(forked_store: Storage) -> None:
    factory = LockFactory(forked_store)
    lock = factory.create("job")
    assert lock.acquire()

    def check() -> None:
        assert lock.lost
        assert not lock.held
        assert not lock.renew()
        assert not lock.release()
        is_shared = forked_store.name == "redis"
        # The child must neither free its parent's lock nor have it; its own copy of a memory is its own.
        assert factory.create("job").acquire() is not is_shared

    in_child(check)
    assert lock.held
    assert lock.renew()
    assert lock.release()


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_child_renews_its_own_in_a_thread_of_its_own(valkey_url: str, key_prefix: str) -> None:
    factory = LockFactory(store_at(valkey_url, key_prefix))
    lock = factory.create("parent", ttl_s=1.2)
    assert lock.acquire()

    def check() -> None:
        assert not any(thread.name == "resilience-renewal" for thread in threading.enumerate())
        with factory.create("child", ttl_s=1.2) as own:
            token = own.token or ""
            assert str(os.getpid()) in token
            assert token != lock.token
            time.sleep(2)
            own.check()

    in_child(check)
    lock.check()
    assert lock.release()


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_block_that_a_fork_left_in_the_child_frees_nothing(valkey_url: str, key_prefix: str) -> None:
    factory = LockFactory(store_at(valkey_url, key_prefix))
    with factory.create("job") as lock:

        def check() -> None:
            from resilience.errors import LockLost

            with pytest.raises(LockLost, match="forked from"):
                lock.__exit__(None, None, None)

        in_child(check)
        assert factory.inspect("job").owner == lock.token


def test_many_threads_never_two_inside(valkey_url: str, key_prefix: str) -> None:
    factory = LockFactory(store_at(valkey_url, key_prefix))
    inside = 0
    worst = 0
    fences: list[int] = []

    def work() -> None:
        nonlocal inside, worst
        for _ in range(10):
            with factory.create("job", wait_s=50) as lock:
                inside += 1
                worst = max(worst, inside)
                time.sleep(0)
                fences.append(lock.fence or 0)
                inside -= 1

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert worst == 1
    assert fences == sorted(set(fences))
    assert len(fences) == 80
