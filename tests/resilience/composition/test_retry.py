"""Retry: what is tried again, when, and what leaves."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import format_datetime

import pytest

from resilience import BulkheadFull, CircuitOpen, DeadlineExceeded, ExecutionRejected, Retry, RetryBudget, Timeout
from resilience.retry import retry_after_s
from tests.resilience.composition.conftest import Counted, HastyClock, Top

NAN, INF = float("nan"), float("inf")


class Failing:
    """Raises the given exceptions one after the other, then answers."""

    def __init__(self, *errors: BaseException) -> None:
        self.errors = list(errors)
        self.calls = 0

    def __call__(self) -> str:
        self.calls += 1
        if self.errors:
            raise self.errors.pop(0)
        return "answer"

    async def acall(self) -> str:
        return self()


@pytest.fixture(params=["sync", "async"])
def run(request: pytest.FixtureRequest) -> Callable[[Retry, Failing], str]:
    """Both twins through every test."""
    if request.param == "sync":
        return lambda retry, failing: retry.call(failing)
    return lambda retry, failing: asyncio.run(retry.acall(failing.acall))


Run = Callable[[Retry, Failing], str]


def test_a_call_that_succeeds_is_made_once(run: Run, hasty: HastyClock) -> None:
    failing = Failing()
    assert run(Retry(clock=hasty), failing) == "answer"
    assert (failing.calls, hasty.waits) == (1, [])


def test_a_transient_failure_is_tried_again_until_it_succeeds(run: Run, hasty: HastyClock, counted: Counted) -> None:
    failing = Failing(ConnectionError(), TimeoutError())
    assert run(Retry(name="shop", clock=hasty), failing) == "answer"
    assert failing.calls == 3
    assert counted("resilience_retry_total", "shop", "retried") == 2
    assert counted("resilience_retry_total", "shop", "recovered") == 1


def test_the_last_exception_leaves_as_the_same_object(run: Run, hasty: HastyClock, counted: Counted) -> None:
    errors = [ConnectionError(n) for n in range(3)]
    failing = Failing(*errors)
    with pytest.raises(ConnectionError) as caught:
        run(Retry(name="shop", clock=hasty), failing)
    assert caught.value is errors[2]
    assert failing.calls == 3
    assert counted("resilience_retry_total", "shop", "exhausted") == 1


def test_what_on_does_not_name_is_not_tried_again(run: Run, hasty: HastyClock) -> None:
    error = KeyError("a mistake does not pass by waiting")
    failing = Failing(error)
    with pytest.raises(KeyError) as caught:
        run(Retry(clock=hasty), failing)
    assert caught.value is error
    assert failing.calls == 1


@pytest.mark.parametrize("rejection", [CircuitOpen("b"), BulkheadFull("p", 1), ExecutionRejected("x", retry_after_s=0.0)])
def test_a_local_rejection_is_never_tried_again_whatever_on_says(run: Run, hasty: HastyClock, rejection: Exception) -> None:
    failing = Failing(rejection)
    with pytest.raises(type(rejection)) as caught:
        run(Retry(on=Exception, clock=hasty), failing)
    assert caught.value is rejection
    assert (failing.calls, hasty.waits) == (1, [])


def test_pauses_are_bounded_by_a_doubling_that_stops_at_max(run: Run, hasty: HastyClock) -> None:
    failing = Failing(*[ConnectionError()] * 5)
    run(Retry(attempts=6, base_s=0.1, max_s=0.5, clock=hasty, rng=Top()), failing)
    assert hasty.waits == pytest.approx([0.1, 0.2, 0.4, 0.5, 0.5])


def test_a_hundred_attempts_do_not_overflow(run: Run, hasty: HastyClock) -> None:
    failing = Failing(*[ConnectionError()] * 99)
    budget = RetryBudget(capacity=10_000)
    assert run(Retry(attempts=100, base_s=0.001, max_s=0.01, clock=hasty, rng=Top(), budget=budget), failing) == "answer"


def test_jitter_is_full_from_nothing_to_the_bound(hasty: HastyClock) -> None:
    drawn: list[tuple[float, float]] = []

    class Bounds:
        def uniform(self, a: float, b: float, /) -> float:
            drawn.append((a, b))
            return a

    Retry(base_s=0.1, clock=hasty, rng=Bounds()).call(Failing(ConnectionError()))
    assert drawn == [(0.0, 0.1)]
    assert hasty.waits == [], "a pause of nothing is no wait"


def asked(value: object) -> ConnectionError:
    error = ConnectionError()
    error.retry_after_s = value  # type: ignore[attr-defined]
    return error


def by_header(value: str) -> ConnectionError:
    error = ConnectionError()
    error.response = type("Response", (), {"headers": {"Retry-After": value}})()  # type: ignore[attr-defined]
    return error


def test_it_waits_at_least_as_long_as_the_answer_asked(run: Run, hasty: HastyClock) -> None:
    run(Retry(base_s=0.1, clock=hasty, rng=Top()), Failing(asked(3.0)))
    assert hasty.waits == pytest.approx([3.1])


def test_it_does_not_wait_when_asked_for_longer_than_it_may(run: Run, hasty: HastyClock, counted: Counted) -> None:
    error = asked(31.0)
    with pytest.raises(ConnectionError) as caught:
        run(Retry(name="shop", clock=hasty), Failing(error))
    assert caught.value is error
    assert hasty.waits == []
    assert counted("resilience_retry_total", "shop", "retry_after") == 1


def test_the_header_is_read_in_both_of_its_forms(hasty: HastyClock) -> None:
    later = datetime.fromtimestamp(hasty.now_us() / 1_000_000 + 7, UTC)
    assert retry_after_s(by_header(" 5 "), hasty) == 5.0
    assert retry_after_s(by_header(format_datetime(later, usegmt=True)), hasty) == pytest.approx(7.0)
    assert retry_after_s(by_header("Wed, 21 Oct 2015 07:28:00 GMT"), hasty) == 0.0


@pytest.mark.parametrize("odd", ["", "soon", "-5", "1e9", "٣", "9" * 400, "Wed, 99 Xxx 2015", True, NAN, -1, object(), b"5"])
def test_what_cannot_be_read_asks_for_nothing(run: Run, hasty: HastyClock, odd: object) -> None:
    assert run(Retry(clock=hasty), Failing(asked(odd))) == "answer"


def test_an_exception_of_a_strange_shape_is_not_masked(run: Run, hasty: HastyClock, counted: Counted) -> None:
    class Odd(ConnectionError):
        @property
        def retry_after_s(self) -> float:
            raise RuntimeError("my own fault")

    odd = Odd()
    with pytest.raises(ConnectionError) as caught:
        run(Retry(clock=hasty), Failing(odd))
    assert caught.value is odd
    assert counted("resilience_internal_errors_total", "retry", "decide") == 1


def test_it_never_waits_past_the_deadline(run: Run, hasty: HastyClock, counted: Counted) -> None:
    error = ConnectionError()
    failing = Failing(error, ConnectionError())
    with Timeout(0.3, clock=hasty), pytest.raises(ConnectionError) as caught:
        run(Retry(base_s=0.3, clock=hasty, rng=Top(), name="shop"), failing)
    assert caught.value is error
    assert (failing.calls, hasty.waits) == (1, [])
    assert counted("resilience_retry_total", "shop", "deadline") == 1


def test_it_does_not_begin_after_the_deadline(run: Run, hasty: HastyClock) -> None:
    failing = Failing()
    with Timeout(1.0, name="page", clock=hasty):
        hasty.advance(1.0)
        with pytest.raises(DeadlineExceeded, match="page"):
            run(Retry(clock=hasty), failing)
    assert failing.calls == 0


def test_a_wait_that_took_too_long_ends_it_with_the_first_exception(hasty: HastyClock) -> None:
    hasty.late, error = 10.0, ConnectionError()
    failing, budget = Failing(error), RetryBudget(capacity=10)
    with Timeout(1.0, clock=hasty), pytest.raises(ConnectionError) as caught:
        Retry(base_s=0.2, clock=hasty, rng=Top(), budget=budget).call(failing)
    assert caught.value is error
    assert failing.calls == 1
    assert budget.tokens == 10, "the retry it paid for was not made"


def test_a_cancelled_pause_gives_back_what_it_took() -> None:
    budget = RetryBudget(capacity=10)

    async def scenario() -> None:
        begun = asyncio.Event()

        async def fail() -> None:
            begun.set()
            raise ConnectionError

        task = asyncio.ensure_future(Retry(base_s=60, max_s=60, rng=Top(), budget=budget).acall(fail))
        await begun.wait()
        assert budget.tokens == 5
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(scenario())
    assert budget.tokens == 10


@pytest.mark.parametrize("kind", [asyncio.CancelledError, KeyboardInterrupt, SystemExit, GeneratorExit])
def test_what_is_no_exception_passes_through(kind: type[BaseException]) -> None:
    raised = kind()
    failing = Failing(raised)
    with pytest.raises(kind) as caught:
        Retry(on=Exception).call(failing)
    assert caught.value is raised
    assert failing.calls == 1


def test_options_are_changed_live_and_wrong_ones_change_nothing(run: Run, hasty: HastyClock) -> None:
    retry = Retry(attempts=5, clock=hasty)
    with pytest.raises(ValueError, match="max_s"):
        retry.configure(attempts=1, max_s=NAN)
    assert retry.options["attempts"] == 5
    retry.configure(attempts=1)
    failing = Failing(ConnectionError())
    with pytest.raises(ConnectionError):
        run(retry, failing)


@pytest.mark.parametrize(
    ("option", "wrong"),
    [
        *itertools.product(["attempts"], [0, -1, 101, 10**30, True, 1.0, "3", None, NAN]),
        *itertools.product(["base_s", "max_s", "retry_after_max_s"], [-1, NAN, INF, True, "1", None, 10**400, []]),
        *itertools.product(["on"], [(), "ConnectionError", (BaseException,), (ValueError, 3), CircuitOpen, None]),
        *itertools.product(["budget"], [5, "shop", False]),
    ],
)
def test_a_wrong_option_is_a_value_error_that_names_it(option: str, wrong: object) -> None:
    with pytest.raises(ValueError, match=option):
        Retry(**{option: wrong})  # type: ignore[arg-type]


def test_an_unknown_option_names_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"tries.*attempts, base_s"):
        Retry().configure(tries=3)


def test_a_first_pause_longer_than_the_longest_is_refused() -> None:
    with pytest.raises(ValueError, match="base_s must not be more than max_s"):
        Retry(base_s=3.0, max_s=2.0)
