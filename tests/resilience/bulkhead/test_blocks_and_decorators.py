"""Every shape of call: blocks, functions, coroutines, generators of both kinds. The caller's exception stays his own."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Generator, Iterator
from typing import Any

import pytest

from resilience.bulkhead import Bulkhead
from resilience.clock import FakeClock
from resilience.errors import BulkheadFull
from resilience.storage.memory import MemoryStore
from tests.resilience.lock.faults import FaultyStore, settle


@pytest.fixture
def bulkhead(clock: FakeClock) -> Bulkhead:
    return Bulkhead("b", 1, store=MemoryStore(), clock=clock)


class Mine(Exception):
    pass


def test_with_gives_the_permit_and_takes_it_back(bulkhead: Bulkhead) -> None:
    with bulkhead as permit:
        assert bulkhead.in_flight == 1
        assert not permit.lost
        with pytest.raises(BulkheadFull), bulkhead:
            raise AssertionError("two are inside")
    assert bulkhead.in_flight == 0
    with bulkhead.acquire():
        assert bulkhead.in_flight == 1
    assert bulkhead.in_flight == 0


def test_blocks_of_one_object_nest(clock: FakeClock) -> None:
    bulkhead = Bulkhead("b", 2, store=MemoryStore(), clock=clock)
    with bulkhead as outer:
        with bulkhead as inner:
            assert inner is not outer
            assert bulkhead.in_flight == 2
        assert inner.ended
        assert not outer.ended
    assert bulkhead.in_flight == 0


def test_tasks_share_one_object(clock: FakeClock) -> None:
    async def main() -> None:
        bulkhead = Bulkhead("b", 2, store=MemoryStore(), clock=clock)
        release = asyncio.Event()

        async def work() -> None:
            async with bulkhead:
                await release.wait()

        tasks = [asyncio.create_task(work()) for _ in range(2)]
        await settle()
        with pytest.raises(BulkheadFull):
            async with bulkhead:
                raise AssertionError("three are inside")
        release.set()
        await asyncio.gather(*tasks)
        assert (await bulkhead.asnapshot()).in_flight == 0
        assert bulkhead._blocks == {}

    asyncio.run(main())


def test_interleaved_generators_give_back_as_many_as_they_took(clock: FakeClock) -> None:
    bulkhead = Bulkhead("b", 2, store=MemoryStore(), clock=clock)

    def steps() -> Generator[int, None, None]:
        with bulkhead:
            yield 1
            yield 2

    one, other = steps(), steps()
    next(one), next(other)
    one.close()
    assert bulkhead.in_flight == 1
    other.close()
    assert bulkhead.in_flight == 0


def test_a_block_that_another_task_ends_gives_its_permit_back(clock: FakeClock) -> None:
    async def main() -> None:
        bulkhead = Bulkhead("b", 1, store=MemoryStore(), clock=clock)

        async def steps() -> AsyncIterator[int]:
            async with bulkhead:
                yield 1

        generator = steps()
        await anext(generator)
        await asyncio.create_task(generator.aclose())  # type: ignore[attr-defined]
        assert (await bulkhead.asnapshot()).in_flight == 0

    asyncio.run(main())


def test_a_function_is_guarded_and_stays_itself(bulkhead: Bulkhead) -> None:
    @bulkhead
    def work(value: int, *, twice: bool = False) -> int:
        """What it does."""
        assert bulkhead.in_flight == 1
        return value * (2 if twice else 1)

    assert work(3, twice=True) == 6
    assert (work.__name__, work.__doc__) == ("work", "What it does.")
    assert list(inspect.signature(work).parameters) == ["value", "twice"]
    assert bulkhead.in_flight == 0
    with bulkhead, pytest.raises(BulkheadFull):
        work(1)


def test_a_coroutine_is_guarded_while_it_runs(bulkhead: Bulkhead) -> None:
    @bulkhead
    async def work(value: int) -> int:
        await asyncio.sleep(0)
        assert (await bulkhead.asnapshot()).in_flight == 1
        return value

    assert inspect.iscoroutinefunction(work)
    assert asyncio.run(work(3)) == 3
    assert bulkhead.in_flight == 0


def test_a_generator_is_guarded_from_its_first_step_to_its_last(bulkhead: Bulkhead) -> None:
    @bulkhead
    def steps() -> Any:
        got = yield 1
        assert bulkhead.in_flight == 1
        try:
            yield got
        except Mine:
            yield 99
        return "end"

    assert inspect.isgeneratorfunction(steps)
    generator: Any = steps()
    assert bulkhead.in_flight == 0
    assert next(generator) == 1
    assert bulkhead.in_flight == 1
    assert generator.send(7) == 7
    assert generator.throw(Mine()) == 99
    with pytest.raises(StopIteration) as end:
        next(generator)
    assert end.value.value == "end"
    assert bulkhead.in_flight == 0
    abandoned = steps()
    next(abandoned)
    del abandoned
    assert bulkhead.in_flight == 0


def test_an_async_generator_is_guarded_and_hears_what_is_sent_and_thrown(bulkhead: Bulkhead) -> None:
    closed: list[str] = []

    @bulkhead
    async def steps() -> Any:
        try:
            got = yield 1
            try:
                yield got
            except Mine:
                yield 99
        finally:
            closed.append("inner")

    async def main() -> None:
        generator: Any = steps()
        assert await anext(generator) == 1
        assert (await bulkhead.asnapshot()).in_flight == 1
        assert await generator.asend(7) == 7
        assert await generator.athrow(Mine()) == 99
        with pytest.raises(StopAsyncIteration):
            await anext(generator)
        assert (await bulkhead.asnapshot()).in_flight == 0
        abandoned: Any = steps()
        await anext(abandoned)
        await abandoned.aclose()
        assert (await bulkhead.asnapshot()).in_flight == 0
        assert [value async for value in steps()] == [1, None]

    assert inspect.isasyncgenfunction(steps)
    asyncio.run(main())
    assert closed == ["inner"] * 3


@pytest.mark.parametrize("fault", [None, "down", "unheard", RuntimeError("bug in the store")], ids=str)
@pytest.mark.parametrize("error", [Mine("mine"), BulkheadFull("other", 1), KeyboardInterrupt()], ids=repr)
def test_the_callers_exception_leaves_as_the_same_object(
    faulty: FaultyStore, clock: FakeClock, error: BaseException, fault: Any
) -> None:
    bulkhead = Bulkhead("b", 1, store=faulty, clock=clock)

    def fail() -> None:
        if fault is not None:
            faulty.fail["bulkhead_release"] = [fault]
        raise error

    @bulkhead
    def function() -> None:
        fail()

    @bulkhead
    def generator() -> Iterator[None]:
        yield
        fail()

    @bulkhead
    async def coroutine() -> None:
        fail()

    @bulkhead
    async def async_generator() -> AsyncIterator[None]:
        yield
        fail()

    def block() -> None:
        with bulkhead:
            fail()

    async def async_block() -> None:
        async with bulkhead:
            fail()

    async def iterate() -> None:
        async for _ in async_generator():
            pass

    async def caught(work: Any) -> BaseException:
        # Inside the loop: asyncio.run() itself turns an interrupt into one of its own.
        try:
            await work()
        except BaseException as raised:  # noqa: BLE001 - the identity of whatever comes is what is tested
            return raised
        raise AssertionError("nothing was raised")

    for call in (function, lambda: list(generator()), block):
        with pytest.raises(type(error)) as raised:
            call()
        assert raised.value is error
        clock.advance(40)  # whatever was not given back has ended
    for work in (coroutine, iterate, async_block):
        assert asyncio.run(caught(work)) is error
        clock.advance(40)
    assert bulkhead.in_flight == 0
