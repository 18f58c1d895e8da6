"""Timeout: a deadline that everything inside can read; a coroutine is cancelled, a sync call is not."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from resilience import DeadlineExceeded, FakeClock, ResilienceError, Timeout, remaining_s
from resilience.timeout import ensure_time_left


def test_without_a_deadline_nothing_remains_to_be_told() -> None:
    assert remaining_s() is None
    ensure_time_left()


def test_the_call_can_read_what_is_left(clock: FakeClock) -> None:
    def work() -> float | None:
        clock.advance(0.4)
        return remaining_s()

    assert Timeout(1.0, clock=clock).call(work) == pytest.approx(0.6)
    assert remaining_s() is None


def test_a_late_sync_result_is_returned_for_it_was_paid_for(clock: FakeClock) -> None:
    def work() -> str:
        clock.advance(9.0)
        assert remaining_s() == 0.0
        return "late"

    assert Timeout(1.0, clock=clock).call(work) == "late"


def test_sync_code_stops_where_it_asks(clock: FakeClock) -> None:
    steps = []

    def work() -> None:
        for step in range(10):
            ensure_time_left()
            steps.append(step)
            clock.advance(0.4)

    with pytest.raises(DeadlineExceeded) as caught:
        Timeout(1.0, name="report", clock=clock).call(work)
    assert steps == [0, 1, 2]
    assert (caught.value.name, caught.value.timeout_s) == ("report", 1.0)
    assert isinstance(caught.value, TimeoutError)
    assert isinstance(caught.value, ResilienceError)


def test_a_deadline_never_reaches_beyond_the_one_around_it(clock: FakeClock) -> None:
    with Timeout(1.0, name="outer", clock=clock):
        with Timeout(5.0, name="inner", clock=clock):
            assert remaining_s() == pytest.approx(1.0)
            clock.advance(1.0)
            with pytest.raises(DeadlineExceeded, match="outer"):
                ensure_time_left()
        with pytest.raises(DeadlineExceeded, match="outer"), Timeout(5.0, clock=clock):
            raise AssertionError("what has not begun by then does not begin")
        assert remaining_s() == 0.0
    assert remaining_s() is None


def test_one_object_serves_many_calls_at_once(clock: FakeClock) -> None:
    timeout = Timeout(1.0, clock=clock)
    with timeout:
        clock.advance(0.5)
        with timeout:
            assert remaining_s() == pytest.approx(0.5)
        assert remaining_s() == pytest.approx(0.5)
    assert remaining_s() is None


def test_a_thread_of_its_own_has_no_deadline(clock: FakeClock) -> None:
    seen: list[float | None] = []
    with Timeout(1.0, clock=clock):
        thread = threading.Thread(target=lambda: seen.append(remaining_s()))
        thread.start()
        thread.join()
    assert seen == [None]


def test_the_body_s_exception_leaves_as_the_same_object(clock: FakeClock) -> None:
    error = TimeoutError("the body's own")
    with pytest.raises(TimeoutError) as caught, Timeout(1.0, clock=clock):
        raise error
    assert caught.value is error
    assert remaining_s() is None


async def _late(clock: FakeClock, limit: Timeout, body: Callable[[], Awaitable[Any]]) -> BaseException | str:
    """Runs body() under the timeout and lets the deadline pass while it waits; what came of it."""
    task: asyncio.Future[str] = asyncio.ensure_future(limit.acall(body))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    clock.advance(1.0)
    try:
        return await task
    except BaseException as error:  # noqa: BLE001 - the test asks which it is
        return error


def test_a_coroutine_is_cancelled_and_deadline_exceeded_raised(clock: FakeClock) -> None:
    cancelled = []

    async def body() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.append(True)
            raise

    came = asyncio.run(_late(clock, Timeout(1.0, name="report", clock=clock), body))
    assert isinstance(came, DeadlineExceeded)
    assert came.name == "report"
    assert isinstance(came.__cause__, asyncio.CancelledError)
    assert cancelled == [True]


def test_on_the_system_clock_too() -> None:
    async def scenario() -> None:
        async with Timeout(0.001):
            await asyncio.Event().wait()

    with pytest.raises(DeadlineExceeded):
        asyncio.run(scenario())


def test_a_cancellation_from_outside_stays_a_cancellation(clock: FakeClock) -> None:
    async def scenario() -> None:
        task = asyncio.ensure_future(Timeout(1.0, clock=clock).acall(asyncio.Event().wait))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert task.cancelled()

    asyncio.run(scenario())


def test_a_cancellation_from_outside_that_meets_the_deadline_stays_one(clock: FakeClock) -> None:
    async def scenario() -> None:
        task = asyncio.ensure_future(Timeout(1.0, clock=clock).acall(asyncio.Event().wait))
        await asyncio.sleep(0)
        clock.advance(1.0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(scenario())


def test_an_exception_of_the_body_after_its_cancellation_leaves_as_it_is(clock: FakeClock) -> None:
    error = TimeoutError("closing failed, too")

    async def body() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            raise error

    assert asyncio.run(_late(clock, Timeout(1.0, clock=clock), body)) is error


def test_a_time_out_of_the_body_is_not_ours(clock: FakeClock) -> None:
    error = TimeoutError("the driver's")

    async def body() -> None:
        raise error

    with pytest.raises(TimeoutError) as caught:
        asyncio.run(Timeout(1.0, clock=clock).acall(body))
    assert caught.value is error


def test_of_two_nested_the_one_that_has_passed_is_named(clock: FakeClock) -> None:
    async def body() -> None:
        async with Timeout(5.0, name="inner", clock=clock):
            await asyncio.Event().wait()

    came = asyncio.run(_late(clock, Timeout(1.0, name="outer", clock=clock), body))
    assert isinstance(came, DeadlineExceeded)
    assert came.name == "outer"


def test_the_task_can_be_used_after_its_time_out(clock: FakeClock) -> None:
    async def scenario() -> int:
        with pytest.raises(DeadlineExceeded):
            async with Timeout(0.001):
                await asyncio.Event().wait()
        await asyncio.sleep(0)
        task = asyncio.current_task()
        assert task is not None
        assert remaining_s() is None
        return task.cancelling()

    assert asyncio.run(scenario()) == 0


def test_a_child_task_knows_the_deadline_it_was_made_under(clock: FakeClock) -> None:
    async def scenario() -> float | None:
        async with Timeout(1.0, clock=clock):
            clock.advance(0.25)

            async def child() -> float | None:
                return remaining_s()

            return await asyncio.ensure_future(child())

    assert asyncio.run(scenario()) == pytest.approx(0.75)


def test_leaving_in_another_context_is_said_and_stops_nothing_else() -> None:
    timeout = Timeout(1.0)
    with pytest.raises(RuntimeError, match="another context"):
        timeout.__exit__(None, None, None)


@pytest.mark.parametrize("wrong", [0, -1, float("nan"), float("inf"), True, "1", None, 10**400, 86_401])
def test_a_wrong_time_is_a_value_error_and_changes_nothing(wrong: object) -> None:
    with pytest.raises(ValueError, match="timeout_s"):
        Timeout(wrong)  # type: ignore[arg-type]
    timeout = Timeout(1.0)
    with pytest.raises(ValueError, match="timeout_s"):
        timeout.configure(timeout_s=wrong)
    with pytest.raises(ValueError, match="limit"):
        timeout.configure(limit=wrong)
    assert timeout.options == {"timeout_s": 1.0}
    timeout.configure(timeout_s=2)
    timeout.configure()
    assert timeout.options == {"timeout_s": 2.0}
