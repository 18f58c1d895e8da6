"""Generators under a pipeline: what each stage means for a call that lasts from the first item to the last."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Any

import pytest

from resilience import DeadlineExceeded, Fallback, Pipeline, RateLimited, Retry, degraded, remaining_s
from tests.resilience.composition.conftest import Counted
from tests.resilience.composition.kit import LIMIT, Kit, run_all

Items = Callable[[], Iterable[Any]]
Collect = Callable[[Pipeline, Items], tuple[list[Any], BaseException | None]]


@pytest.fixture(params=["sync", "async"])
def collect(request: pytest.FixtureRequest) -> Collect:
    """What came of the items, and what ended them, through stream and astream."""

    def sync(pipeline: Pipeline, items: Items) -> tuple[list[Any], BaseException | None]:
        def generator() -> Any:
            yield from items()

        got: list[Any] = []
        try:
            for item in pipeline.stream(generator):
                got.append(item)
        except Exception as error:  # noqa: BLE001 - the test asks which it is
            return got, error
        return got, None

    def twin(pipeline: Pipeline, items: Items) -> tuple[list[Any], BaseException | None]:
        async def generator() -> Any:
            for item in items():
                await asyncio.sleep(0)
                yield item

        async def main() -> tuple[list[Any], BaseException | None]:
            got: list[Any] = []
            try:
                async for item in pipeline.astream(generator):
                    got.append(item)
            except Exception as error:  # noqa: BLE001 - as above
                return got, error
            return got, None

        answer: tuple[list[Any], BaseException | None] = run_all(main())
        return answer

    return sync if request.param == "sync" else twin


def then_raise(items: Iterable[Any], error: Exception) -> Iterable[Any]:
    yield from items
    raise error


def test_all_items_pass_and_it_is_one_success(collect: Collect, counted: Counted) -> None:
    kit = Kit()
    assert collect(kit.pipeline(), lambda: range(5)) == ([0, 1, 2, 3, 4], None)
    assert counted("resilience_circuit_breaker_calls_total", "dep", "success") == 1
    assert kit.limiter.peek("pay").remaining == LIMIT - 1
    assert kit.bulkhead.in_flight == 0


def test_no_item_at_all_is_a_success_too(collect: Collect, counted: Counted) -> None:
    kit = Kit()
    assert collect(kit.pipeline(on=Exception), lambda: ()) == ([], None)
    assert counted("resilience_circuit_breaker_calls_total", "dep", "success") == 1


def test_it_is_tried_again_until_the_first_item_is_there(collect: Collect) -> None:
    kit, tries = Kit(), []
    pipeline = kit.pipeline(breaker=None, retry=Retry(3, base_s=0.0, clock=kit.clock))

    def items() -> Iterable[Any]:
        tries.append(1)
        return then_raise([], ConnectionError()) if len(tries) < 3 else [1, 2]

    assert collect(pipeline, items) == ([1, 2], None)
    assert len(tries) == 3


def test_after_the_first_item_nothing_is_tried_again_or_replaced(collect: Collect) -> None:
    kit, tries, error = Kit(), [], ConnectionError()
    pipeline = kit.pipeline(
        breaker=None, retry=Retry(3, base_s=0.0, clock=kit.clock), fallback=Fallback(lambda: ["plain"], on=Exception)
    )

    def items() -> Iterable[Any]:
        tries.append(1)
        return then_raise([1], error)

    assert collect(pipeline, items) == ([1], error)
    assert len(tries) == 1
    assert degraded() == ()


def test_a_retry_on_every_exception_does_not_take_the_end_for_a_failure(collect: Collect) -> None:
    kit, tries = Kit(), []
    pipeline = kit.pipeline(retry=Retry(3, base_s=0.0, on=Exception, clock=kit.clock))

    def items() -> Iterable[Any]:
        tries.append(1)
        return []

    assert collect(pipeline, items) == ([], None)
    assert len(tries) == 1


def test_a_fallback_s_items_stand_in_for_those_that_never_came(collect: Collect) -> None:
    pipeline = Kit().pipeline(fallback=Fallback(lambda: ["plain", "items"], on=Exception, name="list"))
    assert collect(pipeline, lambda: then_raise([], TimeoutError())) == (["plain", "items"], None)
    assert degraded() == ("list",)


def test_a_fallback_without_items_is_an_answer(collect: Collect) -> None:
    pipeline = Kit().pipeline(fallback=Fallback(list, on=Exception))
    assert collect(pipeline, lambda: then_raise([], TimeoutError())) == ([], None)


@pytest.mark.parametrize("before", [[], ["plain"]])
def test_a_fallback_that_fails_in_its_items_raises_the_first_exception(collect: Collect, before: list[Any]) -> None:
    original, second = TimeoutError("first"), LookupError("second")
    pipeline = Kit().pipeline(fallback=Fallback(lambda: then_raise(before, second), on=Exception))
    got, error = collect(pipeline, lambda: then_raise([], original))
    assert got == before
    assert error is original
    assert original.__context__ is second


def test_an_asynchronous_fallback_may_be_a_coroutine_or_a_generator() -> None:
    async def fails() -> Any:
        for item in then_raise([], TimeoutError()):
            yield item

    async def generator() -> Any:
        yield "plain"

    async def coroutine() -> list[str]:
        return ["plain"]

    async def scenario(handler: Callable[[], Any]) -> list[Any]:
        return [item async for item in Kit().pipeline(fallback=Fallback(handler, on=Exception)).astream(fails)]

    assert run_all(scenario(generator)) == run_all(scenario(coroutine)) == ["plain"]


def test_the_consumer_s_time_is_not_the_generator_s_but_counts_to_the_whole() -> None:
    kit = Kit()
    seen: list[float | None] = []

    def items() -> Any:
        while True:
            seen.append(remaining_s())
            yield 1

    stream = kit.pipeline(timeout_s=10.0, attempt_timeout_s=4.0).stream(items)
    next(stream)
    assert remaining_s() is None, "the deadline is the generator's, not its consumer's"
    kit.clock.advance(7.0)
    next(stream)
    kit.clock.advance(4.0)
    with pytest.raises(DeadlineExceeded, match="10 s"):
        next(stream)
    assert seen == [4.0, pytest.approx(3.0)]
    assert kit.bulkhead.in_flight == 0
    with pytest.raises(StopIteration):
        next(stream)


def test_an_item_that_does_not_come_in_time_is_cancelled() -> None:
    kit = Kit()
    closed = []

    async def items() -> Any:
        try:
            yield 1
            asyncio.get_running_loop().call_soon(kit.clock.advance, 4.0)
            await asyncio.Event().wait()
        finally:
            closed.append(True)

    async def scenario() -> None:
        stream = kit.pipeline(timeout_s=None, attempt_timeout_s=4.0).astream(items)
        assert await anext(stream) == 1
        with pytest.raises(DeadlineExceeded, match="an attempt"):
            await anext(stream)

    run_all(scenario())
    assert closed == [True]
    assert kit.bulkhead.in_flight == 0
    assert kit.breaker.state == "open"


def test_what_is_sent_and_thrown_reaches_the_generator() -> None:
    def items() -> Any:
        got: Any = None
        while got != "end":
            try:
                got = yield got
            except KeyError as error:
                got = error
        return "returned"

    error = KeyError("thrown")
    stream = Kit().pipeline().stream(items)
    assert [next(stream), stream.send("sent"), stream.throw(error)] == [None, "sent", error]
    with pytest.raises(StopIteration) as stop:
        stream.send("end")
    assert stop.value.value == "returned"


def test_what_is_sent_and_thrown_reaches_the_asynchronous_generator() -> None:
    async def items() -> Any:
        got: Any = None
        while got != "end":
            try:
                got = yield got
            except KeyError as error:
                got = error

    async def scenario() -> None:
        error = KeyError("thrown")
        stream = Kit().pipeline().astream(items)
        assert [await anext(stream), await stream.asend("sent"), await stream.athrow(error)] == [None, "sent", error]
        with pytest.raises(StopAsyncIteration):
            await stream.asend("end")

    run_all(scenario())


def test_a_thrown_exception_that_comes_out_is_the_same_object_and_a_failure(counted: Counted) -> None:
    kit, error = Kit(), ValueError()

    def items() -> Any:
        yield 1

    stream = kit.pipeline().stream(items)
    next(stream)
    with pytest.raises(ValueError) as caught:
        stream.throw(error)
    assert caught.value is error
    assert counted("resilience_circuit_breaker_calls_total", "dep", "failure") == 1


def test_one_that_is_never_begun_takes_nothing() -> None:
    kit = Kit()

    def items() -> Any:
        yield from then_raise([], AssertionError("nobody asked"))

    kit.pipeline().stream(items).close()
    assert kit.limiter.peek("pay").remaining == LIMIT
    assert kit.breaker.snapshot().calls == 0


def test_closing_closes_the_generator_inside_and_what_that_raises_leaves() -> None:
    kit, error = Kit(), OSError("cannot close")

    def items() -> Any:
        try:
            yield 1
        finally:
            raise error

    stream = kit.pipeline().stream(items)
    next(stream)
    with pytest.raises(OSError) as caught:
        stream.close()
    assert caught.value is error
    assert kit.bulkhead.in_flight == 0


def test_a_refusal_comes_with_the_first_item(collect: Collect) -> None:
    kit = Kit()
    kit.limiter.acquire("pay", LIMIT)
    got, error = collect(kit.pipeline(fallback=None), lambda: [1])
    assert got == []
    assert isinstance(error, RateLimited)
