"""Who renews, with what: one thread a process, one timer an event loop, one pipeline for all that is due."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import os
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from resilience.bulkhead import Bulkhead
from resilience.errors import StorageError
from resilience.laws.keyspace import Reply
from resilience.lock import LockFactory
from resilience.renewal import Renewals
from resilience.storage.base import Call
from resilience.storage.memory import MemoryStore
from resilience.storage.redis import RedisStore
from tests.resilience.lock.faults import FaultyStore, settle
from tests.resilience.lock.faults import until as loop_until

ROOT = Path(__file__).resolve().parents[3]


class Counting(FaultyStore):
    """Counts pipelines."""

    def __init__(self) -> None:
        super().__init__()
        self.pipelines: list[int] = []
        self.answered = threading.Event()

    def attempt_many(self, calls: Sequence[Call], now: int = 0) -> list[Reply | StorageError]:
        self.pipelines.append(len(calls))
        replies = super().attempt_many(calls, now)
        self.answered.set()
        return replies


def until(holds: Any, what: str) -> None:
    for _ in range(4000):
        if holds():
            return
        time.sleep(0.005)
    raise AssertionError(f"never: {what}")


def test_one_thread_renews_many_locks_and_permits_in_one_pipeline() -> None:
    store = Counting()
    scheduler = Renewals()
    factory = LockFactory(store, scheduler=scheduler)
    before = threading.active_count()
    locks = [factory.create(f"job{number}", ttl_s=2.4) for number in range(150)]
    bulkhead = Bulkhead("b", 150, lease_s=2.4, store=store, scheduler=scheduler)
    assert all(lock.acquire() for lock in locks)
    permits = [bulkhead.acquire() for _ in range(150)]
    assert threading.active_count() == before + 1
    until(lambda: sum(store.pipelines) >= 600, "two rounds of renewals")
    assert threading.active_count() == before + 1
    assert max(store.pipelines) > 100
    assert len(store.pipelines) < sum(store.pipelines) / 10
    assert all(lock.held for lock in locks)
    assert not any(permit.lost for permit in permits)


def test_a_real_lock_outlives_its_time_to_live_many_times_over(valkey_url: str, key_prefix: str) -> None:
    factory = LockFactory(RedisStore(valkey_url, prefix=key_prefix, timeout_s=5))
    with factory.create("job", ttl_s=1.2) as lock:
        ends = time.monotonic() + 3
        while time.monotonic() < ends:
            assert not factory.create("job").acquire()
            time.sleep(0.02)
        lock.check()


def test_the_thread_outlives_a_store_that_raises_what_it_must_not() -> None:
    store = Counting()
    factory = LockFactory(store, scheduler=Renewals())
    lock = factory.create("job", ttl_s=3)
    store.fail["lock_renew"] = [RuntimeError("bug")]
    assert lock.acquire()
    until(lambda: store.calls.count("lock_renew") >= 2, "a second try")
    assert lock.held


def test_a_forgotten_lock_is_not_renewed(clock: Any) -> None:
    """Else what a bug leaked would be held as long as the process lives."""
    store = Counting()
    scheduler = Renewals()
    lock = LockFactory(store, scheduler=scheduler).create("job", ttl_s=0.3)
    assert lock.acquire()
    assert store.answered.wait(20)
    del lock
    gc.collect()
    assert list(scheduler.chores()) == []
    until(lambda: store.inner.run("lock_inspect", "job")[0] == 0, "the lease ended")


def test_an_idle_thread_holds_nothing_alive() -> None:
    store = Counting()
    scheduler = Renewals()
    permit = Bulkhead("b", 1, lease_s=0.3, store=store, scheduler=scheduler).acquire()
    assert store.answered.wait(20)
    permit.release()
    assert list(scheduler.chores()) == []


def test_a_loop_renews_its_own_and_no_thread_is_started(valkey_url: str, key_prefix: str) -> None:
    async def main() -> None:
        store = RedisStore(valkey_url, prefix=key_prefix, timeout_s=5)
        factory = LockFactory(store, scheduler=Renewals())
        before = {thread for thread in threading.enumerate() if thread.name == "resilience-renewal"}
        locks = [factory.create_async(f"job{number}", ttl_s=1.2) for number in range(50)]
        for lock in locks:
            assert await lock.acquire()
        for _ in range(120):
            await asyncio.sleep(0.02)
            renewing = [task for task in asyncio.all_tasks() if task.get_name() == "resilience-renewal"]
            assert len(renewing) <= 1
        assert all(lock.held for lock in locks)
        assert {thread for thread in threading.enumerate() if thread.name == "resilience-renewal"} == before
        for lock in locks:
            assert await lock.release()
        await settle()
        assert asyncio.all_tasks() == {asyncio.current_task()}
        await store.aclose()

    asyncio.run(main())


def test_a_loop_is_not_blocked_while_the_store_is_slow() -> None:
    """The probe counts turns of the loop during waits for the store; a blocking call would leave it none."""

    class Slow(FaultyStore):
        async def aattempt_many(self, calls: Sequence[Call], now: int = 0) -> list[Reply | StorageError]:
            await released.wait()
            renewed.set()
            return self.attempt_many(calls, now)

        def attempt(self, *args: Any, **kwargs: Any) -> Reply:
            assert threading.current_thread() is threading.main_thread()
            return super().attempt(*args, **kwargs)

    released, renewed = asyncio.Event(), asyncio.Event()

    async def main() -> None:
        async with LockFactory(Slow(), scheduler=Renewals()).create_async("job", ttl_s=3) as lock:
            turns = 0
            while turns < 500 or lock.expires_in_s > 1.9:  # a renewal is under way
                await asyncio.sleep(0.001)
                turns += 1
            released.set()
            await renewed.wait()
            await settle()
            lock.check()

    asyncio.run(main())


def test_the_loop_answers_while_locks_are_waited_for_on_a_real_server(valkey_url: str, key_prefix: str) -> None:
    """A lag probe: while 50 tasks wait, every turn of the loop is short of the wait of a single poll."""

    async def main() -> None:
        store = RedisStore(valkey_url, prefix=key_prefix, timeout_s=5)
        factory = LockFactory(store)
        holder = factory.create_async("job")
        assert await holder.acquire()
        waiting = [asyncio.create_task(factory.create_async("job").acquire(wait_s=0.5)) for _ in range(50)]
        turns = 0
        while not all(task.done() for task in waiting):
            await asyncio.sleep(0)
            turns += 1
        assert not any(task.result() for task in waiting)
        # Blocking polls of 5 ms and more would leave it some hundred turns; free, it makes thousands.
        assert turns > 1_000
        assert await holder.release()
        await store.aclose()

    asyncio.run(main())


def test_renewals_do_not_run_in_the_context_of_who_came_first() -> None:
    """A deadline of the first caller would else be a deadline of every renewal."""
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="none")
    seen: list[str] = []

    class Watching(FaultyStore):
        async def aattempt_many(self, calls: Sequence[Call], now: int = 0) -> list[Reply | StorageError]:
            seen.append(variable.get())
            return await super().aattempt_many(calls, now)

    async def main() -> None:
        variable.set("the caller's")
        async with LockFactory(Watching(), scheduler=Renewals()).create_async("job", ttl_s=0.3):
            await loop_until(lambda: seen)

    asyncio.run(main())
    assert set(seen) == {"none"}


def test_a_loop_that_is_closed_with_a_lock_held_says_nothing_and_the_lease_ends(caplog: pytest.LogCaptureFixture) -> None:
    store = MemoryStore()
    factory = LockFactory(store, scheduler=Renewals())
    loop = asyncio.new_event_loop()
    lock = factory.create_async("job", ttl_s=0.3)
    assert loop.run_until_complete(lock.acquire())
    loop.close()
    assert factory.create("job", wait_s=20).acquire()
    assert lock.lost
    gc.collect()
    assert not caplog.records


def test_importing_opens_no_connection_and_starts_no_thread() -> None:
    code = """
import os, threading
from resilience.bulkhead import Bulkhead
from resilience.lock import LockFactory
from resilience.storage.redis import RedisStore

store = RedisStore("redis://127.0.0.1:1")
Bulkhead("b", 1, store=store)
LockFactory(store).create("a"), LockFactory(store).create_async("a")
files = [f"/proc/self/fd/{number}" for number in os.listdir("/proc/self/fd")]
sockets = [file for file in files if os.path.exists(file) and os.readlink(file).startswith("socket:")]
print(threading.active_count(), len(sockets))
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env={**os.environ}, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["1", "0"]
