"""The simplified interface: ask, call, say how it went."""

from __future__ import annotations

import threading

import pytest

from resilience import CircuitOpen, FakeClock, MemoryStore, SimpleBreaker
from tests.resilience.circuit_breaker.calling import Broken, fails, on_a_loop, works


@pytest.fixture
def breaker(store: MemoryStore, clock: FakeClock) -> SimpleBreaker:
    return SimpleBreaker("billing", failures=3, open_s=10, store=store, clock=clock)


def failed(breaker: SimpleBreaker, times: int) -> None:
    for _ in range(times):
        assert breaker.allow()
        breaker.failure()


def test_it_opens_after_so_many_failures_in_a_row(breaker: SimpleBreaker) -> None:
    failed(breaker, 2)
    assert breaker.allow()
    breaker.success()
    failed(breaker, 2)
    assert breaker.state == "closed"
    failed(breaker, 1)
    assert (breaker.state, breaker.allow()) == ("open", False)


def test_no_number_of_failures_opens_it_when_each_is_followed_by_a_success(breaker: SimpleBreaker) -> None:
    for _ in range(50):
        failed(breaker, 2)
        assert breaker.allow()
        breaker.success()
    assert breaker.state == "closed"


@pytest.mark.parametrize(("outcome", "state"), [("success", "closed"), ("failure", "open")])
def test_one_probe_decides(breaker: SimpleBreaker, clock: FakeClock, outcome: str, state: str) -> None:
    failed(breaker, 3)
    clock.advance(10)
    assert [breaker.allow(), breaker.allow(), breaker.allow()] == [True, False, False]
    getattr(breaker, outcome)()
    assert breaker.state == state


def test_a_late_outcome_of_another_thread_does_not_decide_for_the_probe(breaker: SimpleBreaker, clock: FakeClock) -> None:
    asked, finish = threading.Event(), threading.Event()

    def late() -> None:
        assert breaker.allow()
        asked.set()
        finish.wait(20)
        breaker.failure()

    thread = threading.Thread(target=late)
    thread.start()
    asked.wait(20)
    failed(breaker, 3)
    clock.advance(10)
    assert breaker.allow()
    finish.set()
    thread.join(20)
    assert breaker.state == "half_open"
    breaker.success()
    assert breaker.state == "closed"


def test_another_thread_may_end_a_probe(breaker: SimpleBreaker, clock: FakeClock) -> None:
    failed(breaker, 3)
    clock.advance(10)
    assert breaker.allow()
    thread = threading.Thread(target=breaker.success)
    thread.start()
    thread.join(20)
    assert breaker.state == "closed"


def test_failures_that_nobody_asked_leave_for_count_while_it_is_closed(breaker: SimpleBreaker, clock: FakeClock) -> None:
    for _ in range(3):
        breaker.failure()
    assert breaker.state == "open"
    breaker.success()
    assert breaker.state == "open"
    clock.advance(10)
    breaker.success()
    assert breaker.state == "half_open", "only a probe closes"


def test_it_calls(breaker: SimpleBreaker) -> None:
    assert breaker.call(works) == 7
    for _ in range(3):
        with pytest.raises(Broken):
            breaker.call(fails)
    with pytest.raises(CircuitOpen):
        breaker.call(works)


@on_a_loop
async def test_it_calls_coroutines(breaker: SimpleBreaker) -> None:
    async def aworks() -> int:
        return 7

    assert await breaker.acall(aworks) == 7


def test_a_reset_closes(breaker: SimpleBreaker) -> None:
    failed(breaker, 3)
    breaker.reset()
    assert (breaker.state, breaker.allow()) == ("closed", True)
    assert breaker.snapshot().name == breaker.name == "billing"
    assert breaker.options["consecutive"] == 3
