"""The budget of retries: while most calls fail, few are repeated."""

from __future__ import annotations

import itertools
import threading

import pytest

from resilience import Retry, RetryBudget
from tests.resilience.composition.conftest import Counted, HastyClock


def test_a_retry_costs_five_a_time_out_ten() -> None:
    budget = RetryBudget(capacity=100)
    assert budget.take(ConnectionError()) == 5
    assert budget.take(TimeoutError()) == 10
    assert budget.tokens == 85


def test_a_retry_that_succeeds_gives_back_what_it_took_a_first_success_one() -> None:
    budget = RetryBudget(capacity=100)
    taken = budget.take(TimeoutError())
    budget.succeeded(0)
    assert budget.tokens == 91
    budget.succeeded(taken)
    assert budget.tokens == 100
    budget.succeeded(0)
    assert budget.tokens == 100, "never above its capacity"


def test_an_empty_budget_ends_the_retries_and_the_exception_leaves(hasty: HastyClock, counted: Counted) -> None:
    budget = RetryBudget(capacity=12)
    retry = Retry(attempts=10, clock=hasty, budget=budget, name="shop")
    error = ConnectionError()
    calls = itertools.count()

    def fail() -> None:
        next(calls)
        raise error

    with pytest.raises(ConnectionError) as caught:
        retry.call(fail)
    assert caught.value is error
    assert next(calls) == 3, "one attempt, and two retries at 5 of 12 tokens"
    assert counted("resilience_retry_total", "shop", "budget") == 1
    with pytest.raises(ConnectionError):
        retry.call(fail)
    assert next(calls) == 5, "3 and the question itself: nothing is left for a retry"


def test_under_a_total_outage_the_load_grows_by_the_budget_and_no_more(hasty: HastyClock) -> None:
    retry = Retry(attempts=5, clock=hasty, budget=RetryBudget(capacity=50))
    calls = itertools.count()

    def fail() -> None:
        next(calls)
        raise ConnectionError

    for _ in range(200):
        with pytest.raises(ConnectionError):
            retry.call(fail)
    assert next(calls) == 200 + 50 // 5


def test_a_budget_is_shared_by_its_name() -> None:
    assert RetryBudget.shared("test.shared") is RetryBudget.shared("test.shared")
    assert RetryBudget.shared("test.shared") is not RetryBudget.shared("test.other")


def test_no_token_is_lost_or_made_between_threads() -> None:
    budget = RetryBudget(capacity=1000)
    start = threading.Barrier(8)
    taken: list[int] = []

    def work() -> None:
        start.wait()
        for _ in range(100):
            taken.append(budget.take(ConnectionError()))

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(taken) == 1000
    assert budget.tokens == 0
    for amount in filter(None, taken):
        budget.give_back(amount)
    assert budget.tokens == 1000


def test_a_lowered_capacity_cuts_a_raised_one_fills_up_by_successes() -> None:
    budget = RetryBudget(capacity=100)
    budget.configure(capacity=20)
    assert budget.tokens == 20
    budget.configure(capacity=21)
    assert budget.tokens == 20
    budget.succeeded(0)
    assert budget.tokens == 21


@pytest.mark.parametrize("option", ["capacity", "retry_cost", "timeout_cost", "success_gain"])
@pytest.mark.parametrize("wrong", [0, -5, True, 1.5, "5", None, float("inf"), 10**9])
def test_a_wrong_option_is_a_value_error_that_names_it(option: str, wrong: object) -> None:
    with pytest.raises(ValueError, match=option):
        RetryBudget(**{option: wrong})  # type: ignore[arg-type]
    budget = RetryBudget()
    with pytest.raises(ValueError, match=option):
        budget.configure(**{option: wrong})
    assert budget.options == RetryBudget().options


def test_an_unknown_option_names_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"size.*capacity"):
        RetryBudget().configure(size=3)
