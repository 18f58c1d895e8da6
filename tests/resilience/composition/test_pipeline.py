"""Pipeline: what each stage sees, takes and gives back."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import pytest

from resilience import (
    Bulkhead,
    BulkheadFull,
    CircuitBreaker,
    CircuitOpen,
    DeadlineExceeded,
    FakeClock,
    Fallback,
    Limit,
    MemoryStore,
    Pipeline,
    RateLimited,
    RateLimiter,
    Retry,
    RetryBudget,
    Timeout,
    remaining_s,
)
from tests.resilience.composition.conftest import Counted, HastyClock, Top

Run = Callable[..., Any]
Make = Callable[..., Pipeline]


@pytest.fixture(params=["sync", "async"])
def run(request: pytest.FixtureRequest) -> Run:
    """`run(pipeline, function, …)` through call, or through acall with the function as a coroutine function."""

    def twin(pipeline: Pipeline, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        async def coroutine(*args: Any, **kwargs: Any) -> Any:
            return function(*args, **kwargs)

        return asyncio.run(pipeline.acall(coroutine, *args, **kwargs))

    return twin if request.param == "async" else lambda pipeline, function, *a, **k: pipeline.call(function, *a, **k)


class Kit:
    """Strategies on one clock that never makes a test wait, and one memory."""

    def __init__(self, clock: FakeClock) -> None:
        self.clock, self.store = clock, MemoryStore(clock=clock)

    def limiter(self, name: str = "rule", limit: int = 2) -> RateLimiter:
        return RateLimiter(name, limit=limit, period_s=60.0, store=self.store, clock=self.clock)

    def bulkhead(self, most: int = 1, **options: Any) -> Bulkhead:
        return Bulkhead("room", most, store=self.store, clock=self.clock, **options)

    def breaker(self, **options: Any) -> CircuitBreaker:
        return CircuitBreaker("dep", consecutive=2, store=self.store, clock=self.clock, **options)

    def retry(self, attempts: int = 3, **options: Any) -> Retry:
        return Retry(attempts, clock=self.clock, rng=Top(), **options)

    def pipeline(self, **stages: Any) -> Pipeline:
        return Pipeline("pay", clock=self.clock, **stages)


@pytest.fixture
def kit(hasty: HastyClock) -> Kit:
    return Kit(hasty)


def failing(error: BaseException) -> Callable[..., Any]:
    def fail(*args: object, **kwargs: object) -> None:
        raise error

    return fail


def test_without_stages_it_is_the_call(run: Run) -> None:
    assert run(Pipeline("bare"), lambda *args, **kwargs: (args, kwargs), 1, 2, name="x") == ((1, 2), {"name": "x"})


def test_retries_are_one_call_to_the_limit_and_the_bulkhead_and_several_to_the_breaker(run: Run, kit: Kit) -> None:
    limiter, breaker, bulkhead = kit.limiter(limit=10), kit.breaker(), kit.bulkhead()
    inside: list[int] = []

    def fail() -> None:
        inside.append(bulkhead.in_flight)
        raise ConnectionError

    with pytest.raises(ConnectionError):
        run(kit.pipeline(rate_limit=limiter, bulkhead=bulkhead, retry=kit.retry(2), breaker=breaker), fail)
    assert limiter.peek("pay").remaining == 9
    assert inside == [1, 1]
    assert bulkhead.in_flight == 0
    assert breaker.state == "open"


def test_an_open_breaker_is_not_tried_again(run: Run, kit: Kit, hasty: HastyClock) -> None:
    breaker, calls = kit.breaker(), []
    pipeline = kit.pipeline(retry=kit.retry(5, on=Exception), breaker=breaker)

    def fail() -> None:
        calls.append(1)
        raise ConnectionError

    with pytest.raises(CircuitOpen):
        run(pipeline, fail)
    assert len(calls) == 2, "two failures open it; the third attempt is refused, and a refusal is not retried"
    assert len(hasty.waits) == 2


def test_the_rate_limit_refuses_before_anything_else_is_taken(run: Run, kit: Kit) -> None:
    limiter, bulkhead = kit.limiter(limit=1), kit.bulkhead()
    pipeline = kit.pipeline(rate_limit=limiter, bulkhead=bulkhead)
    run(pipeline, lambda: None)
    with pytest.raises(RateLimited) as caught:
        run(pipeline, failing(AssertionError("must not be called")))
    assert caught.value.name == "rule"
    assert caught.value.retry_after_s == pytest.approx(60.0)


def test_of_several_limits_all_admit_or_none_is_charged(run: Run, kit: Kit) -> None:
    wide, narrow = kit.limiter("wide", 10), kit.limiter("narrow", 1)
    pipeline = kit.pipeline(rate_limit=[Limit(wide, "k"), Limit(narrow, lambda user: user)])
    run(pipeline, lambda user: None, "alice")
    with pytest.raises(RateLimited, match="narrow"):
        run(pipeline, lambda user: None, "alice")
    assert wide.peek("k").remaining == 9, "what the first limit granted went back"
    run(pipeline, lambda user: None, "bob")


def test_a_key_that_cannot_be_made_charges_nobody(run: Run, kit: Kit) -> None:
    wide, error = kit.limiter("wide", 10), KeyError("no such user")
    pipeline = kit.pipeline(rate_limit=[Limit(wide, "k"), Limit(kit.limiter(), failing(error))])
    with pytest.raises(KeyError) as caught:
        run(pipeline, lambda: None)
    assert caught.value is error
    assert wide.peek("k").remaining == 10


def test_a_full_bulkhead_refuses(run: Run, kit: Kit) -> None:
    bulkhead = kit.bulkhead()
    with bulkhead.acquire(), pytest.raises(BulkheadFull):
        run(kit.pipeline(bulkhead=bulkhead), lambda: None)
    assert run(kit.pipeline(bulkhead=bulkhead), lambda: "in") == "in"


def test_a_wait_for_the_bulkhead_ends_with_the_deadline(run: Run, kit: Kit, hasty: HastyClock) -> None:
    bulkhead = kit.bulkhead(max_wait_s=50.0, lease_s=100.0)
    # A coroutine is cancelled at the deadline; a sync call looks a last time.
    with bulkhead.acquire(), pytest.raises((BulkheadFull, DeadlineExceeded)):
        run(kit.pipeline(bulkhead=bulkhead, timeout_s=1.0), lambda: None)
    assert sum(hasty.waits) == pytest.approx(1.0, abs=0.001), "a second, not fifty"


def test_what_has_not_begun_by_the_deadline_does_not_begin(run: Run, kit: Kit, hasty: HastyClock) -> None:
    breaker = kit.breaker()

    def slow_key() -> str:
        hasty.advance(2.0)
        return "k"

    with pytest.raises(DeadlineExceeded, match="pay"):
        run(
            kit.pipeline(timeout_s=1.0, rate_limit=Limit(kit.limiter(), slow_key), breaker=breaker),
            failing(AssertionError("must not begin")),
        )
    assert breaker.snapshot().calls == 0


def test_time_that_runs_out_while_the_breaker_is_asked_says_nothing_about_the_call(
    run: Run, kit: Kit, hasty: HastyClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    breaker = kit.breaker()
    acquire, aacquire = breaker.acquire, breaker.aacquire

    def slow() -> Any:
        hasty.advance(2.0)
        return acquire()

    async def aslow() -> Any:
        hasty.advance(2.0)
        return await aacquire()

    monkeypatch.setattr(breaker, "acquire", slow)
    monkeypatch.setattr(breaker, "aacquire", aslow)
    for _ in range(3):
        with pytest.raises(DeadlineExceeded):
            run(kit.pipeline(timeout_s=1.0, attempt_timeout_s=5.0, breaker=breaker), failing(AssertionError("must not begin")))
    assert breaker.state == "closed"


def test_an_attempt_that_takes_too_long_is_a_failure_to_the_breaker_and_may_be_tried_again(kit: Kit) -> None:
    clock = FakeClock()
    kit = Kit(clock)
    breaker = kit.breaker()
    pipeline = kit.pipeline(retry=Retry(2, base_s=0.0, clock=clock), breaker=breaker, attempt_timeout_s=1.0)
    calls = []

    async def hang() -> None:
        calls.append(remaining_s())
        # Due after the deadline's own timer, which was set a moment ago.
        asyncio.get_running_loop().call_soon(clock.advance, 1.0)
        await asyncio.Event().wait()

    with pytest.raises(DeadlineExceeded) as caught:
        asyncio.run(pipeline.acall(hang))
    assert caught.value.timeout_s == 1.0
    assert calls == [1.0, 1.0]
    assert breaker.state == "open"


def test_the_total_time_out_cancels_and_counts_as_neither_to_the_breaker() -> None:
    clock = FakeClock()
    kit = Kit(clock)
    breaker, bulkhead = kit.breaker(), kit.bulkhead()
    pipeline = kit.pipeline(timeout_s=1.0, bulkhead=bulkhead, retry=kit.retry(), breaker=breaker)

    async def hang() -> None:
        asyncio.get_running_loop().call_soon(clock.advance, 1.0)
        await asyncio.Event().wait()

    for _ in range(3):
        with pytest.raises(DeadlineExceeded, match="pay"):
            asyncio.run(pipeline.acall(hang))
    assert breaker.state == "closed"
    assert bulkhead.in_flight == 0


def test_a_fallback_is_outside_the_time_out(run: Run, kit: Kit, hasty: HastyClock) -> None:
    def fail() -> None:
        hasty.advance(2.0)
        raise TimeoutError

    pipeline = kit.pipeline(fallback=Fallback(remaining_s), timeout_s=1.0)
    assert run(pipeline, fail) is None, "its own time is not up: None is no deadline"


def test_a_fallback_answers_every_kind_of_refusal(run: Run, kit: Kit) -> None:
    breaker, bulkhead, limiter = kit.breaker(), kit.bulkhead(), kit.limiter(limit=1)
    breaker.force_open("test")
    limiter.acquire("pay")
    plain = Fallback(lambda x, error: (x, type(error).__name__))
    assert run(kit.pipeline(fallback=plain, breaker=breaker), lambda x: x, 7) == (7, "CircuitOpen")
    assert run(kit.pipeline(fallback=plain, rate_limit=limiter), lambda x: x, 7) == (7, "RateLimited")
    with bulkhead.acquire():
        assert run(kit.pipeline(fallback=plain, bulkhead=bulkhead), lambda x: x, 7) == (7, "BulkheadFull")


def test_results_that_are_failures_are_shown_to_the_breaker(run: Run, kit: Kit) -> None:
    breaker = kit.breaker(failure_if=lambda status: status >= 500)
    pipeline = kit.pipeline(breaker=breaker)
    assert [run(pipeline, lambda: 503), run(pipeline, lambda: 503)] == [503, 503]
    with pytest.raises(CircuitOpen):
        run(pipeline, lambda: 200)


def test_a_deadline_around_the_pipeline_holds_for_all_of_it(run: Run, kit: Kit, hasty: HastyClock) -> None:
    error = ConnectionError()
    with Timeout(0.01, clock=hasty), pytest.raises(ConnectionError) as caught:
        run(kit.pipeline(timeout_s=100.0, retry=kit.retry(base_s=1.0)), failing(error))
    assert caught.value is error
    assert hasty.waits == []


def test_a_live_change_acts_on_the_next_call_and_a_running_one_keeps_its_stages(kit: Kit) -> None:
    bulkhead = kit.bulkhead(most=1)
    pipeline = kit.pipeline(bulkhead=bulkhead)

    def inner() -> str:
        pipeline.configure(bulkhead=None)
        assert bulkhead.in_flight == 1
        return pipeline.call(lambda: "without")

    assert pipeline.call(inner) == "without"
    assert bulkhead.in_flight == 0, "the permit of the first call went back although the pipeline has no bulkhead now"
    assert pipeline.options["bulkhead"] is None


def test_a_budget_shared_by_two_pipelines_bounds_both(run: Run, kit: Kit) -> None:
    budget = RetryBudget(capacity=10)
    one, two = (kit.pipeline(retry=kit.retry(5, budget=budget)) for _ in range(2))
    calls: list[str] = []

    def fail(name: str) -> None:
        calls.append(name)
        raise ConnectionError

    for pipeline, name in ((one, "one"), (two, "two")):
        with pytest.raises(ConnectionError):
            run(pipeline, fail, name)
    assert calls == ["one"] * 3 + ["two"]


def test_many_threads_leave_nothing_behind(kit: Kit, counted: Counted) -> None:
    kit = Kit(FakeClock())
    bulkhead = kit.bulkhead(most=4)
    pipeline = kit.pipeline(bulkhead=bulkhead, breaker=kit.breaker(ignore=KeyError), timeout_s=9.0)
    results: list[str] = []
    start = threading.Barrier(12)

    def work() -> None:
        start.wait()
        for n in range(50):
            try:
                pipeline.call(failing(KeyError()) if n % 3 == 0 else lambda: None)
                results.append("ok")
            except (KeyError, BulkheadFull) as error:
                results.append(type(error).__name__)

    threads = [threading.Thread(target=work) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 600
    assert bulkhead.in_flight == 0
    assert counted("resilience_internal_errors_total") == 0


@pytest.mark.parametrize("option", ["fallback", "bulkhead", "retry", "breaker", "rate_limit"])
@pytest.mark.parametrize("wrong", ["name", 3, True, (1, 2), object(), [None]])
def test_a_wrong_stage_is_a_value_error_that_names_it_and_changes_nothing(option: str, wrong: Any) -> None:
    with pytest.raises(ValueError, match=option):
        Pipeline("pay", **{option: wrong})
    pipeline = Pipeline("pay", timeout_s=1.0)
    with pytest.raises(ValueError, match=option):
        pipeline.configure(timeout_s=2.0, **{option: wrong})
    assert pipeline.options["timeout_s"] == 1.0


@pytest.mark.parametrize("option", ["timeout_s", "attempt_timeout_s"])
@pytest.mark.parametrize("wrong", ["1", True, 0, -1, float("nan"), float("inf"), 10**400, []])
def test_a_wrong_time_is_a_value_error_that_names_it(option: str, wrong: Any) -> None:
    with pytest.raises(ValueError, match=option):
        Pipeline("pay", **{option: wrong})


@pytest.mark.parametrize("name", ["", "a b", "ключ", "x" * 101, 3, None, "a:b"])
def test_a_wrong_name_is_a_value_error(name: Any) -> None:
    with pytest.raises(ValueError, match="name"):
        Pipeline(name)


@pytest.mark.parametrize(
    ("limit", "what"),
    [(("rule", "k"), "rate_limit"), ("key", "key"), ("cost", "cost"), ("bool", "cost"), ("limiter", "RateLimiter")],
)
def test_a_wrong_limit_is_a_value_error_that_says_what(kit: Kit, limit: Any, what: str) -> None:
    wrong: dict[str, Any] = {
        "key": Limit(kit.limiter(), 3),  # type: ignore[arg-type]
        "cost": Limit(kit.limiter(), "k", 0),
        "bool": Limit(kit.limiter(), "k", True),
        "limiter": Limit("login", "k"),  # type: ignore[arg-type]
    }
    with pytest.raises(ValueError, match=what):
        Pipeline("pay", rate_limit=wrong.get(limit, limit) if isinstance(limit, str) else limit)


def test_an_unknown_option_names_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"tries.*fallback, timeout_s"):
        Pipeline("pay").configure(tries=3)
