"""A cancelled task counts as neither good nor bad, and leaves no probe behind, wherever it was waiting."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Literal

import pytest

from resilience import CircuitBreaker, FakeClock, MemoryStore
from resilience.storage.base import Storage
from tests.resilience.circuit_breaker.calling import admitted, fail, on_a_loop


class Waiting:
    """A store whose asynchronous operations can be held before they run, or after, when the reply is on its way."""

    name: Literal["redis"] = "redis"
    prefix = ""

    def __init__(self) -> None:
        self.memory = MemoryStore()
        self.hold = ""
        self.held = asyncio.Event()

    @property
    def local(self) -> Storage:
        return self.memory

    def __getattr__(self, name: str) -> Any:
        return getattr(self.memory, name)

    async def aattempt(self, op: str, *rest: Any) -> Any:
        if self.hold == f"before {op}":
            await self._wait()
        reply = self.memory.attempt(op, *rest)
        if self.hold == f"after {op}":
            await self._wait()
        return reply

    async def _wait(self) -> None:
        self.held.set()
        await asyncio.sleep(3600)


async def half_open(store: Waiting, clock: FakeClock) -> CircuitBreaker:
    breaker = CircuitBreaker("billing", minimum_calls=4, store=store, clock=clock)
    await asyncio.to_thread(fail, breaker, 4)
    await breaker.aflush()
    clock.advance(30)
    return breaker


async def settled(breaker: CircuitBreaker) -> None:
    """Has told what it owes."""
    await breaker.aflush()


WAYS: list[Callable[..., Any]] = []


def way(run: Callable[..., Any]) -> Callable[..., Any]:
    WAYS.append(run)
    return run


@way
async def by_acall(breaker: CircuitBreaker, body: Callable[[], Any]) -> None:
    await breaker.acall(body)


@way
async def by_block(breaker: CircuitBreaker, body: Callable[[], Any]) -> None:
    async with breaker:
        await body()


@way
async def by_permit(breaker: CircuitBreaker, body: Callable[[], Any]) -> None:
    async with await breaker.aacquire():
        await body()


@way
async def by_generator(breaker: CircuitBreaker, body: Callable[[], Any]) -> None:
    @breaker
    async def rows() -> Any:
        yield await body()

    async for _ in rows():
        pass


@pytest.mark.parametrize("hold", ["before breaker_allow", "after breaker_allow", "the call"])
@pytest.mark.parametrize("run", WAYS, ids=lambda run: run.__name__)
@on_a_loop
async def test_cancelled_before_the_end_it_gives_the_probe_back(run: Callable[..., Any], hold: str, clock: FakeClock) -> None:
    store = Waiting()
    breaker = await half_open(store, clock)
    store.hold = hold

    async def body() -> None:
        if hold == "the call":
            await store._wait()
        raise AssertionError("nobody gave leave")

    task = asyncio.create_task(run(breaker, body))
    await store.held.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    store.hold = ""
    await settled(breaker)
    assert breaker.measured_state == "half_open"
    assert (await breaker.asnapshot()).probes_running == 0
    permit = await breaker.aacquire()
    assert permit.is_probe
    await permit.asuccess()
    assert breaker.state == "closed"


@pytest.mark.parametrize("hold", ["before breaker_report", "after breaker_report"])
@pytest.mark.parametrize("run", WAYS, ids=lambda run: run.__name__)
@on_a_loop
async def test_cancelled_while_it_reports_its_outcome_still_counts_once(
    run: Callable[..., Any], hold: str, clock: FakeClock
) -> None:
    store = Waiting()
    breaker = await half_open(store, clock)
    store.hold = hold

    async def body() -> int:
        return 7

    task = asyncio.create_task(run(breaker, body))
    await store.held.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    store.hold = ""
    await settled(breaker)
    await breaker.arefresh()
    assert breaker.state == "closed", "the call was good, and a probe's report names its probe"


@on_a_loop
async def test_a_closed_breaker_has_no_point_at_which_it_could_be_cancelled(clock: FakeClock) -> None:
    store = Waiting()
    breaker = CircuitBreaker("billing", store=store, clock=clock)

    async def body() -> int:
        return 7

    assert await breaker.acall(body) == 7
    store.hold = "before breaker_report"
    running = breaker.acall(body)
    with pytest.raises(StopIteration) as ended:
        running.send(None)
    assert ended.value.value == 7


@on_a_loop
async def test_many_cancelled_calls_leave_a_closed_breaker_closed_and_uncounted(clock: FakeClock) -> None:
    breaker = CircuitBreaker("billing", minimum_calls=4, store=MemoryStore(), clock=clock)
    begun = asyncio.Event()

    async def body() -> None:
        begun.set()
        await asyncio.sleep(3600)

    tasks = [asyncio.create_task(breaker.acall(body)) for _ in range(50)]
    await begun.wait()
    for task in tasks:
        task.cancel()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert {type(result) for result in results} == {asyncio.CancelledError}
    assert (await breaker.asnapshot()).calls == 0
    assert await asyncio.to_thread(admitted, breaker)
