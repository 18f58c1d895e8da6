"""`async with`: the body ends when the lock is lost, and only the lock's own cancellation becomes LockLost."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

import pytest

from resilience.clock import FakeClock
from resilience.errors import LockLost, LockNotAcquired
from resilience.lock import AsyncDistributedLock, LockFactory
from resilience.storage.memory import MemoryStore
from tests.resilience.lock.faults import FaultyStore, settle

T = TypeVar("T")


def run(main: Coroutine[Any, Any, T]) -> T:
    async def guarded() -> T:
        async with asyncio.timeout(50):
            result = await main
        task = asyncio.current_task()
        assert task is not None
        assert task.cancelling() == 0, "a cancellation was left behind"
        await settle()
        assert asyncio.all_tasks() == {task}, "a task was left behind"
        return result

    return asyncio.run(guarded())


async def lose(factory: LockFactory, clock: FakeClock, lock: AsyncDistributedLock) -> None:
    await factory.abreak_lock(lock.name)
    clock.advance(lock.options["ttl_s"] / 3)


def test_one_holds_it_and_the_other_is_refused(factory: LockFactory, clock: FakeClock) -> None:
    async def main() -> None:
        async with factory.create_async("job", ttl_s=8) as lock:
            assert lock.held
            assert (await factory.ainspect("job")).owner == lock.token
            with pytest.raises(LockNotAcquired) as refused:
                async with factory.create_async("job"):
                    raise AssertionError("two are inside")
            assert refused.value.retry_after_s == pytest.approx(8)
            assert not factory.create("job").acquire()
        assert lock.expires_in_s == 0
        assert factory.create("job").acquire()

    run(main())


def test_it_is_renewed_while_the_body_runs(factory: LockFactory, clock: FakeClock) -> None:
    async def main() -> None:
        async with factory.create_async("job", ttl_s=9) as lock:
            for _ in range(20):
                clock.advance(3)
                for _ in range(1000):
                    await asyncio.sleep(0.001)
                    if lock.expires_in_s > 8:
                        break
                assert lock.held

    run(main())


def test_the_body_is_cancelled_when_the_lock_is_lost(factory: LockFactory, clock: FakeClock) -> None:
    reached: list[str] = []

    async def main() -> None:
        lock = factory.create_async("job", on_lost=lambda: reached.append("told"))
        with pytest.raises(LockLost) as lost:
            async with lock:
                await lose(factory, clock, lock)
                try:
                    await asyncio.sleep(10)
                    raise AssertionError("the body ran on")
                finally:
                    reached.append("body ended")
        assert isinstance(lost.value.__cause__, asyncio.CancelledError)
        await settle()
        assert sorted(reached) == ["body ended", "told"]

    run(main())


def test_a_coroutine_may_be_told(factory: LockFactory, clock: FakeClock) -> None:
    async def main() -> None:
        told = asyncio.Event()

        async def tell() -> None:
            await asyncio.sleep(0)
            told.set()

        lock = factory.create_async("job", on_lost=tell)
        assert await lock.acquire()
        await lose(factory, clock, lock)
        await told.wait()
        assert not await lock.release()

    run(main())


def test_a_body_that_ends_before_its_cancellation_arrives_is_told_by_the_end(clock: FakeClock) -> None:
    """The cancellation would come with the next wait, which may be a stranger's."""

    async def main() -> None:
        factory = LockFactory(MemoryStore(), clock)
        lock = factory.create_async("job")
        with pytest.raises(LockLost):
            async with lock:
                taking = lock._takings[-1]
                asyncio.get_running_loop().call_soon(taking.lose, "as if the renewal had just been refused")
                await asyncio.sleep(0)  # the renewal's turn comes within this wait, the cancellation after the body
        await asyncio.sleep(0)

    run(main())


def test_an_exception_of_the_body_is_not_replaced_and_no_cancellation_stays(clock: FakeClock) -> None:
    error = KeyError("mine")

    async def main() -> None:
        factory = LockFactory(MemoryStore(), clock)
        lock = factory.create_async("job")
        with pytest.raises(KeyError) as raised:
            async with lock:
                await lose(factory, clock, lock)
                try:
                    await asyncio.sleep(3600)
                except asyncio.CancelledError:
                    raise error from None
        assert raised.value is error
        await asyncio.sleep(0)

    run(main())


def test_a_cancellation_from_outside_stays_a_cancellation(clock: FakeClock) -> None:
    async def main() -> None:
        factory = LockFactory(MemoryStore(), clock)
        inside = asyncio.Event()

        async def work() -> None:
            async with factory.create_async("job"):
                inside.set()
                await asyncio.sleep(3600)

        task = asyncio.create_task(work())
        await inside.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert task.cancelled()
        assert await factory.create_async("job").acquire()

    run(main())


def test_lost_and_cancelled_from_outside_is_a_cancellation(clock: FakeClock) -> None:
    async def main() -> None:
        factory = LockFactory(MemoryStore(), clock)
        inside = asyncio.Event()
        lock = factory.create_async("job")

        async def work() -> None:
            async with lock:
                inside.set()
                await asyncio.sleep(3600)

        task = asyncio.create_task(work())
        await inside.wait()
        lock._takings[-1].lose("for the test")
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert task.cancelled()

    run(main())


def test_a_timeout_around_the_block_stays_a_timeout(clock: FakeClock) -> None:
    async def main() -> None:
        factory = LockFactory(MemoryStore(), clock)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                async with factory.create_async("job"):
                    await asyncio.sleep(3600)
        assert not (await factory.ainspect("job")).held

    run(main())


def test_a_group_of_tasks_in_the_body_ends_with_the_lock(clock: FakeClock) -> None:
    async def main() -> None:
        factory = LockFactory(MemoryStore(), clock)
        lock = factory.create_async("job")
        with pytest.raises(LockLost):
            async with lock, asyncio.TaskGroup() as group:
                group.create_task(asyncio.sleep(3600))
                group.create_task(asyncio.sleep(3600))
                await lose(factory, clock, lock)

    run(main())


def test_only_the_outermost_block_turns_the_cancellation_into_a_loss(clock: FakeClock) -> None:
    seen: list[type[BaseException]] = []

    async def main() -> None:
        factory = LockFactory(MemoryStore(), clock)
        lock = factory.create_async("job")
        with pytest.raises(LockLost):
            async with lock:
                try:
                    async with lock:
                        await lose(factory, clock, lock)
                        await asyncio.sleep(3600)
                except BaseException as error:
                    seen.append(type(error))
                    raise
        assert seen == [asyncio.CancelledError]

    run(main())


def test_another_task_is_refused_though_it_uses_the_same_object(clock: FakeClock) -> None:
    async def main() -> None:
        lock = LockFactory(MemoryStore(), clock).create_async("job")
        async with lock:
            assert not await asyncio.create_task(lock.acquire())
            assert await lock.acquire()  # this task: again
            assert await lock.release()
            assert lock.held

    run(main())


def test_a_store_that_stays_away_ends_the_body_at_the_local_deadline(faulty: FaultyStore, clock: FakeClock) -> None:
    async def main() -> None:
        lock = LockFactory(faulty, clock).create_async("job", ttl_s=10)
        with pytest.raises(LockLost):
            async with lock:
                faulty.is_down = True
                for _ in range(200):
                    clock.advance(0.05)
                    await settle(5)
                raise AssertionError("the body ran past the deadline")
        assert clock.monotonic() == pytest.approx(9.9, abs=0.11)

    run(main())


def test_waiting_is_a_poll_that_leaves_the_loop_free(clock: FakeClock) -> None:
    async def main() -> None:
        factory = LockFactory(MemoryStore())
        first, second = factory.create_async("job"), factory.create_async("job", wait_s=30)
        assert await first.acquire()
        waiting = asyncio.create_task(second.acquire())
        await asyncio.sleep(0.02)
        assert not waiting.done()
        await first.release()
        assert await waiting
        await second.release()

    run(main())


def test_a_wait_by_a_test_clock_ends_with_the_time_allowed(clock: FakeClock) -> None:
    async def main() -> None:
        factory = LockFactory(MemoryStore(), clock)
        async with factory.create_async("job"):
            waiting = asyncio.create_task(factory.create_async("job").acquire(wait_s=5))
            while not waiting.done():
                clock.advance(0.05)
                await settle(5)
            assert await waiting is False

    run(main())


def test_a_renewal_by_hand_says_whether_it_is_lost(factory: LockFactory, clock: FakeClock) -> None:
    async def main() -> None:
        lock = factory.create_async("job", renew=False)
        assert not await lock.renew()
        async with lock:
            clock.advance(5)
            assert await lock.renew()
            assert lock.expires_in_s == pytest.approx(9.9)
        with pytest.raises(LockLost):
            async with lock:
                await factory.abreak_lock("job")
                assert not await lock.renew()
                lock.check()

    run(main())
