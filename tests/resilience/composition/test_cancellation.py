"""A task may be cancelled at every await: its caller hears of it, nothing stays held, nothing is counted as a failure."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import pytest

from resilience import Fallback, Retry, RetryBudget, remaining_s
from tests.resilience.composition.conftest import Counted, Top
from tests.resilience.composition.kit import Kit, run_all

Scenario = Callable[[Kit], Coroutine[Any, Any, Any]]


async def works() -> str:
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    return "done"


async def call(kit: Kit) -> Any:
    return await kit.pipeline().acall(works)


async def probe(kit: Kit) -> Any:
    """The breaker is half open: a permit of it is a lease in the store."""
    kit.breaker.unasked().failure(ValueError())
    kit.clock.advance(31.0)
    return await kit.pipeline(timeout_s=None).acall(works)


async def generator(kit: Kit) -> Any:
    async def items() -> Any:
        await asyncio.sleep(0)
        yield 1
        await asyncio.sleep(0)
        yield 2

    return [item async for item in kit.pipeline().astream(items)]


async def context(kit: Kit) -> Any:
    async with kit.timeout, kit.bulkhead, kit.breaker:
        return await works()


async def with_fallback(kit: Kit) -> Any:
    async def fails() -> None:
        await asyncio.sleep(0)
        raise TimeoutError

    async def plain() -> str:
        await asyncio.sleep(0)
        return "plain"

    # A time-out of the call's own: it counts as a failure whether the task is cancelled later or not.
    return await kit.pipeline(fallback=Fallback(plain), breaker=None).acall(fails)


async def moving(kit: Kit, after: int, then: Callable[[], Awaitable[object]]) -> None:
    """After some turns of the loop does `then()`; from there on time goes on, until cancelled."""
    for _ in range(after):
        await asyncio.sleep(0)
    await then()
    while True:
        kit.clock.advance(0.2)
        await asyncio.sleep(0)


async def stopped(task: asyncio.Task[None], before: Callable[[], bool] = lambda: True) -> None:
    """Ends the other task, whatever happens to this one; `before()`: what it must have done until then."""
    cancelled = False
    while not before():
        try:
            await asyncio.sleep(0)
        except asyncio.CancelledError:
            cancelled = True
    task.cancel()
    if cancelled:
        raise asyncio.CancelledError


async def waiting_for_room(kit: Kit) -> Any:
    """Somebody has the only place, and leaves after a while."""
    kit.bulkhead.configure(max_concurrent=1, max_wait_s=20.0)
    held = await kit.bulkhead.aacquire()
    released: list[bool] = []

    async def leave() -> None:
        released.append(await held.arelease())

    other = asyncio.ensure_future(moving(kit, 12, leave))
    try:
        return await kit.pipeline(timeout_s=None, attempt_timeout_s=None).acall(works)
    finally:
        # Only what the pipeline holds is asked for afterwards: the other permit goes by itself.
        await stopped(other, lambda: bool(released))


async def between_attempts(kit: Kit) -> Any:
    """A retry that waits; the clock is moved by another task."""
    answers: list[BaseException | str] = [ConnectionError(), ConnectionError(), "done"]

    async def fails() -> Any:
        await asyncio.sleep(0)
        answer = answers.pop(0)
        if isinstance(answer, BaseException):
            raise answer
        return answer

    other = asyncio.ensure_future(moving(kit, 0, lambda: asyncio.sleep(0)))
    try:
        retry = Retry(3, base_s=0.5, clock=kit.clock, rng=Top(), budget=BUDGET)
        return await kit.pipeline(retry=retry, breaker=None, timeout_s=None, attempt_timeout_s=None).acall(fails)
    finally:
        await stopped(other)


BUDGET = RetryBudget(capacity=1000)
SCENARIOS: dict[str, Scenario] = {
    scenario.__name__: scenario
    for scenario in (call, probe, generator, context, with_fallback, waiting_for_room, between_attempts)
}


async def cancelled_after(steps: int, work: Awaitable[Any], times: int) -> tuple[bool, BaseException | None]:
    """Runs `work` for so many turns of the loop, then cancels it. Whether it had ended before, and what it raised."""
    task = asyncio.ensure_future(work)
    for _ in range(steps):
        await asyncio.sleep(0)
    ended = task.done()
    for _ in range(times):
        task.cancel()
        await asyncio.sleep(0)
    await asyncio.wait([task], timeout=30)
    assert task.done(), f"hangs when cancelled after {steps} turns"
    return ended, asyncio.CancelledError() if task.cancelled() else task.exception()


@pytest.mark.parametrize("times", [1, 2])
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_cancelled_at_each_await_nothing_stays_behind(scenario: str, times: int, counted: Counted) -> None:
    cancelled = 0
    for steps in range(200):
        kit = Kit()
        ended, error = run_all(cancelled_after(steps, SCENARIOS[scenario](kit), times))
        if error is not None:
            assert isinstance(error, asyncio.CancelledError), f"after {steps} turns: {error!r}"
            cancelled += 1
        assert kit.bulkhead.in_flight == 0, f"after {steps} turns"
        # A report that was itself cancelled is owed, and paid with the next ones.
        kit.breaker.flush()
        snapshot = kit.breaker.snapshot()
        assert snapshot.probes_running == 0, f"after {steps} turns"
        assert snapshot.failures == 0
        assert remaining_s() is None
        if ended:
            break
    else:
        raise AssertionError("it never ends")
    assert cancelled >= 3, "the cancellation must have met it in several places"
    assert counted("resilience_internal_errors_total") == 0


def test_a_cancelled_task_does_not_go_on() -> None:
    """A cancellation that is swallowed once would let the rest of the call run."""
    kit, went_on = Kit(), []

    async def body() -> None:
        await asyncio.Event().wait()

    async def scenario() -> None:
        await kit.pipeline().acall(body)
        went_on.append(True)

    _, error = run_all(cancelled_after(20, scenario(), 1))
    assert isinstance(error, asyncio.CancelledError)
    assert went_on == []


def test_an_abandoned_async_generator_gives_everything_back() -> None:
    kit = Kit()

    async def items() -> Any:
        while True:
            yield 1

    async def scenario() -> None:
        async for _ in kit.pipeline().astream(items):
            assert (await kit.bulkhead.asnapshot()).in_flight == 1
            break

    run_all(scenario())
    assert kit.bulkhead.in_flight == 0
    assert kit.breaker.snapshot().failures == 0


def test_an_abandoned_generator_gives_everything_back(counted: Counted) -> None:
    kit = Kit()

    def items() -> Any:
        while True:
            yield 1

    stream = kit.pipeline().stream(items)
    next(stream)
    assert kit.bulkhead.in_flight == 1
    stream.close()
    assert kit.bulkhead.in_flight == 0
    assert counted("resilience_circuit_breaker_calls_total", "dep", "success") == 1
