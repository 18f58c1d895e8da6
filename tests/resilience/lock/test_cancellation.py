"""Cancelled at any wait, a task leaves no lock and no permit behind."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from resilience.bulkhead import Bulkhead
from resilience.errors import StorageTimeout
from resilience.lock import LockFactory
from resilience.storage.redis import RedisStore
from tests.resilience.lock.faults import FaultyStore, settle, until

Work = Callable[[], Awaitable[Any]]


async def cancelled_at_each_wait(work: Work, is_free: Callable[[], bool], *, most: int = 60) -> int:
    """Cancels a fresh task after 0, 1, 2 … turns of the loop, until it ends by itself. Answers how often it was cancelled."""
    for turns in range(most):
        task = asyncio.ensure_future(work())
        await settle(turns)
        if task.done():
            await task
            return turns
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert is_free(), f"cancelled after {turns} turns, it left something behind"
        await settle()
        assert len(asyncio.all_tasks()) == 1
    raise AssertionError("it never ended")


def free(store: FaultyStore) -> Callable[[], bool]:
    def is_free() -> bool:
        return store.inner.run("lock_inspect", "job")[0] == 0 and store.inner.run("bulkhead_inspect", "b", (9,))[0] == 0

    return is_free


def test_acquiring_a_lock(faulty: FaultyStore) -> None:
    async def work() -> None:
        assert await LockFactory(faulty).create_async("job").acquire()
        faulty.inner.run("lock_break", "job")  # without a wait: from here on it would rightly stay held

    assert asyncio.run(cancelled_at_each_wait(work, free(faulty))) >= 4


def test_a_whole_block(faulty: FaultyStore) -> None:
    async def work() -> None:
        async with LockFactory(faulty).create_async("job"):
            await asyncio.sleep(0)
            await asyncio.sleep(0)

    assert asyncio.run(cancelled_at_each_wait(work, free(faulty))) >= 8


def test_waiting_for_a_lock_that_is_held(faulty: FaultyStore) -> None:
    async def main() -> None:
        holder = LockFactory(faulty).create_async("job")
        assert await holder.acquire()
        waiting = asyncio.create_task(LockFactory(faulty).create_async("job").acquire(wait_s=60))
        await settle()
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert holder.held
        assert await holder.release()
        assert free(faulty)()

    asyncio.run(main())


def test_a_permit(faulty: FaultyStore) -> None:
    bulkhead = Bulkhead("b", 1, store=faulty)

    async def work() -> None:
        async with bulkhead:
            await asyncio.sleep(0)

    assert asyncio.run(cancelled_at_each_wait(work, free(faulty))) >= 8


def test_a_guarded_coroutine_and_a_guarded_generator(faulty: FaultyStore) -> None:
    bulkhead = Bulkhead("b", 1, store=faulty)

    @bulkhead
    async def coroutine() -> None:
        await asyncio.sleep(0)

    @bulkhead
    async def generator() -> Any:
        yield 1
        await asyncio.sleep(0)
        yield 2

    async def consume() -> None:
        async for _ in generator():
            await asyncio.sleep(0)

    async def main() -> None:
        assert await cancelled_at_each_wait(coroutine, free(faulty)) >= 8

    asyncio.run(main())

    async def abandoned() -> None:
        for turns in range(3, 15):
            task = asyncio.create_task(consume())
            await settle(turns)
            task.cancel()
            await asyncio.wait([task])
            del task
            await settle(60)  # the loop closes what nobody iterates any more
            assert free(faulty)(), turns

    asyncio.run(abandoned())


def test_cancelled_twice_it_still_gives_back(faulty: FaultyStore) -> None:
    async def main() -> None:
        task = asyncio.create_task(LockFactory(faulty).create_async("job").acquire())
        for _ in range(6):
            await asyncio.sleep(0)
            task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert free(faulty)()

    asyncio.run(main())


def test_cancelled_with_the_reply_lost_it_asks_again_until_the_store_has_heard(faulty: FaultyStore) -> None:
    faulty.fail = {"lock_acquire": ["unheard"], "lock_release": ["unsent", "down"]}

    async def main() -> None:
        task = asyncio.create_task(LockFactory(faulty).create_async("job").acquire())
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await until(free(faulty))

    asyncio.run(main())


def test_a_reply_that_is_never_seen_is_made_good_by_the_token(faulty: FaultyStore) -> None:
    faulty.fail["lock_acquire"] = ["unheard"]

    async def main() -> None:
        lock = LockFactory(faulty).create_async("job")
        with pytest.raises(StorageTimeout):
            await lock.acquire()
        assert not lock.held
        await until(free(faulty))

    asyncio.run(main())


def test_a_loop_that_shuts_down_gives_back_what_its_tasks_held(faulty: FaultyStore) -> None:
    async def hold() -> None:
        async with LockFactory(faulty).create_async("job"):
            await asyncio.sleep(3600)

    async def main() -> None:
        asyncio.create_task(hold())  # noqa: RUF006 - nobody waits for it: that is the case
        await settle()
        assert not free(faulty)()

    asyncio.run(main())
    assert free(faulty)()


def test_two_hundred_cancellations_on_a_real_server_leave_nothing(valkey_url: str, key_prefix: str) -> None:
    chance = random.Random(7)

    async def main() -> None:
        store = RedisStore(valkey_url, prefix=key_prefix, timeout_s=5)
        factory, bulkhead = LockFactory(store), Bulkhead("b", 1, store=store)
        cancelled = 0

        async def work() -> None:
            async with factory.create_async("job"), bulkhead:
                pass

        for _ in range(200):
            task = asyncio.create_task(work())
            for _ in range(chance.randrange(12)):
                await asyncio.sleep(0)
            if chance.random() < 0.5:
                await asyncio.sleep(chance.random() * 0.000_6)
            cancelled += task.cancel()
            await asyncio.wait([task])
            assert task.cancelled() or task.exception() is None
            assert not (await factory.ainspect("job")).held
            assert (await bulkhead.asnapshot()).in_flight == 0
        assert cancelled > 100
        await store.aclose()

    asyncio.run(main())
