"""Fallback: who is answered, with what, and which exception leaves when it fails."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import Callable
from typing import Any

import pytest

from resilience import CircuitOpen, DeadlineExceeded, ExecutionRejected, Fallback, degraded, degraded_scope, telemetry
from tests.resilience.composition.conftest import Counted

Run = Callable[..., Any]


@pytest.fixture(params=["sync", "async"])
def run(request: pytest.FixtureRequest) -> Run:
    """Fallback.call and .acall, for a call that raises `error`."""

    def sync(fallback: Fallback, error: BaseException, *args: object, **kwargs: object) -> Any:
        def fail(*args: object, **kwargs: object) -> None:
            raise error

        return fallback.call(fail, *args, **kwargs)

    def twin(fallback: Fallback, error: BaseException, *args: object, **kwargs: object) -> Any:
        async def fail(*args: object, **kwargs: object) -> None:
            raise error

        return asyncio.run(fallback.acall(fail, *args, **kwargs))

    return sync if request.param == "sync" else twin


@pytest.mark.parametrize("error", [CircuitOpen("b"), ExecutionRejected("x"), DeadlineExceeded("x"), TimeoutError()])
def test_a_rejection_or_a_time_out_is_answered(run: Run, error: Exception) -> None:
    assert run(Fallback(lambda: "plain"), error) == "plain"


def test_an_exception_on_does_not_name_leaves_untouched(run: Run) -> None:
    error, asked = KeyError("x"), []
    with pytest.raises(KeyError) as caught:
        run(Fallback(lambda: asked.append(1)), error)
    assert caught.value is error
    assert (caught.value.__context__, asked) == (None, [])


@pytest.mark.parametrize("kind", [asyncio.CancelledError, KeyboardInterrupt, SystemExit])
def test_what_is_no_exception_is_never_answered(kind: type[BaseException]) -> None:
    raised = kind()

    def fail() -> None:
        raise raised

    with pytest.raises(kind) as caught:
        Fallback(lambda: "plain", on=Exception).call(fail)
    assert caught.value is raised


def test_the_handler_gets_the_arguments_of_the_call(run: Run) -> None:
    assert run(Fallback(lambda user, limit=10: (user, limit)), TimeoutError(), 7, limit=3) == (7, 3)


def test_a_handler_without_parameters_gets_none(run: Run) -> None:
    assert run(Fallback(lambda: "plain"), TimeoutError(), 7, limit=3) == "plain"


def test_a_parameter_called_error_gets_the_exception(run: Run) -> None:
    raised = TimeoutError()
    assert run(Fallback(lambda user, *, error: (user, error)), raised, 7) == (7, raised)
    assert run(Fallback(lambda error: error), raised, 7) is raised


def test_a_handler_that_hides_its_signature_gets_the_arguments(run: Run) -> None:
    assert run(Fallback(dict), TimeoutError(), a=1) == {"a": 1}


def test_a_coroutine_answers_a_coroutine_and_a_plain_handler_does_too() -> None:
    async def fail() -> str:
        raise TimeoutError

    async def handler() -> str:
        await asyncio.sleep(0)
        return "plain"

    assert asyncio.run(Fallback(handler).acall(fail)) == "plain"
    assert asyncio.run(Fallback(lambda: "plain").acall(fail)) == "plain"


def test_a_coroutine_handler_of_a_sync_call_is_refused_before_the_call() -> None:
    async def handler() -> None: ...

    class Handler:
        async def __call__(self) -> None: ...

    for coroutine in (handler, Handler()):
        with pytest.raises(ValueError, match="coroutine"):
            Fallback(coroutine).call(lambda: pytest.fail("must not be called"))


def test_if_it_fails_the_first_exception_leaves_with_the_second_as_its_context(run: Run, counted: Counted) -> None:
    original, second = TimeoutError("first"), LookupError("second")

    def handler() -> None:
        raise second

    with pytest.raises(TimeoutError) as caught:
        run(Fallback(handler, name="page"), original)
    assert caught.value is original
    assert caught.value.__context__ is second
    assert counted("resilience_fallback_total", "page", "failed") == 1
    assert counted("resilience_fallback_total", "page", "used") == 0
    assert degraded() == ()


def chain(error: BaseException | None) -> list[BaseException]:
    links: list[BaseException] = []
    while error is not None:
        assert error not in links, "a ring of contexts"
        links.append(error)
        error = error.__context__
    return links


def test_no_context_is_lost_and_there_is_no_ring(run: Run) -> None:
    root, original, inner = KeyError("root"), TimeoutError("first"), OSError("inner")
    original.__context__ = root
    second = LookupError("second")

    def handler() -> None:
        try:
            raise inner
        except OSError:
            raise second from None

    with pytest.raises(TimeoutError) as caught:
        run(Fallback(handler), original)
    assert chain(caught.value) == [original, second, inner, root]


def test_a_handler_that_raises_the_first_exception_again_changes_nothing(run: Run) -> None:
    original = TimeoutError("first")

    def handler(error: Exception) -> None:
        raise error

    with pytest.raises(TimeoutError) as caught:
        run(Fallback(handler), original)
    assert caught.value is original
    assert chain(original) == [original]


def test_a_cancelled_handler_is_cancelled() -> None:
    async def fail() -> None:
        raise TimeoutError

    async def scenario() -> None:
        begun = asyncio.Event()

        async def handler() -> None:
            begun.set()
            await asyncio.Event().wait()

        task = asyncio.ensure_future(Fallback(handler).acall(fail))
        await begun.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(scenario())


def test_use_is_counted_told_and_named_in_the_context(run: Run, counted: Counted, events: list[telemetry.Event]) -> None:
    def scenario() -> tuple[str, ...]:
        with degraded_scope() as used:
            run(Fallback(lambda: 1, name="page"), TimeoutError())
            run(Fallback(lambda: 1, name="menu"), CircuitOpen("b"))
            run(Fallback(lambda: 1, name="page"), TimeoutError())
            assert tuple(used) == degraded()
            return degraded()

    assert contextvars.copy_context().run(scenario) == ("page", "menu")
    assert degraded() == ()
    assert counted("resilience_fallback_total", "page", "used") == 2
    assert [(event.name, event.attributes) for event in events][1] == ("fallback.used", {"name": "menu", "error": "CircuitOpen"})


def test_a_failing_listener_takes_no_answer_away(run: Run, counted: Counted) -> None:
    def listener(event: telemetry.Event) -> None:
        raise RuntimeError("mine")

    unsubscribe = telemetry.subscribe(listener)
    try:
        assert run(Fallback(lambda: "plain"), TimeoutError()) == "plain"
    finally:
        unsubscribe()
    assert counted("resilience_internal_errors_total", "telemetry", "listener") == 1


def test_a_failing_counter_takes_no_answer_away(run: Run, monkeypatch: pytest.MonkeyPatch, counted: Counted) -> None:
    def broken(*args: object) -> None:
        raise RuntimeError("mine")

    monkeypatch.setattr("resilience.fallback.count", broken)
    original = TimeoutError()
    assert run(Fallback(lambda: "plain"), TimeoutError()) == "plain"
    with pytest.raises(TimeoutError) as caught:
        run(Fallback(lambda: 1 / 0), original)
    assert caught.value is original
    assert isinstance(original.__context__, ZeroDivisionError)
    assert counted("resilience_internal_errors_total", "fallback", "used") == 1
    assert counted("resilience_internal_errors_total", "fallback", "failed") == 1


def test_requests_do_not_see_each_other_s_fallbacks_but_tasks_write_into_theirs() -> None:
    async def fail() -> None:
        raise TimeoutError

    async def request(name: str) -> tuple[str, ...]:
        with degraded_scope():
            await asyncio.gather(*[Fallback(lambda: 1, name=f"{name}.{n}").acall(fail) for n in range(2)])
            return degraded()

    async def scenario() -> list[tuple[str, ...]]:
        return list(await asyncio.gather(request("a"), request("b")))

    assert asyncio.run(scenario()) == [("a.0", "a.1"), ("b.0", "b.1")]


def test_threads_have_records_of_their_own() -> None:
    seen: list[tuple[str, ...]] = []

    def work() -> None:
        Fallback(lambda: 1, name="page").call(lambda: (_ for _ in ()).throw(TimeoutError()))
        seen.append(degraded())

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert (seen, degraded()) == ([("page",)], ())


@pytest.mark.parametrize("wrong", [None, 3, "plain", [], ()])
def test_a_handler_that_cannot_be_called_is_a_value_error(wrong: object) -> None:
    with pytest.raises(ValueError, match="handler"):
        Fallback(wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("wrong", [(), "TimeoutError", BaseException, (KeyError, 3), None, (asyncio.CancelledError,)])
def test_wrong_classes_are_a_value_error(wrong: object) -> None:
    with pytest.raises(ValueError, match="on "):
        Fallback(lambda: 1, on=wrong)  # type: ignore[arg-type]
