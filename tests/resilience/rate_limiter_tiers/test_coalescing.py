"""T1, threads: callers that come while a question is under way ask the next one together, exactly."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest

from resilience import FakeClock, RateLimiter, RedisStore
from resilience.errors import StorageTimeout, StorageUnavailable
from resilience.rate_limiter import coalescing
from resilience.rate_limiter.verdict import Verdict
from tests.resilience.rate_limiter_tiers.stores import Gated, Watched, until


def limiter(store: Any, limit: int = 100, **options: Any) -> RateLimiter:
    return RateLimiter(
        "login", **{"limit": limit, "period_s": 3600.0, "store": store, "clock": FakeClock(), "coalesce": True, **options}
    )


class Crowd:
    """Threads that ask one after the other, each only once the one before it waits."""

    def __init__(self, store: Gated, rule: RateLimiter) -> None:
        self.store = store
        self.rule = rule
        self.pool = ThreadPoolExecutor(64)
        self.asked: list[Future[Verdict]] = []

    def ask(self, cost: int = 1) -> None:
        self.asked.append(self.pool.submit(self.rule.acquire, "alice", cost))
        if len(self.asked) == 1:
            assert self.store.entered.acquire(timeout=30)
        else:
            until(lambda: self.waiting() == len(self.asked) - 1)

    def waiting(self) -> int:
        tiers: Any = self.rule._tiers
        return sum(len(queue) for queue in tiers._threads._queues.values())

    def answers(self) -> list[Verdict]:
        found = [future.result(timeout=30) for future in self.asked]
        self.pool.shutdown()
        return found


def test_a_lone_caller_never_waits_and_asks_for_itself_alone() -> None:
    store = Watched()
    rule = limiter(store)
    assert all(rule.acquire("alice") for _ in range(3))
    assert store.takes() == [(1, 1)] * 3


def test_callers_that_come_meanwhile_ask_together_for_their_sum_and_are_served_in_the_order_of_arrival() -> None:
    store = Gated()
    crowd = Crowd(store, limiter(store, limit=5))
    for _ in range(10):
        crowd.ask()
    store.open(2)
    assert [verdict.allowed for verdict in crowd.answers()] == [True] * 5 + [False] * 5
    assert store.takes() == [(1, 1), (9, 1)]


def test_who_is_refused_in_company_is_told_when_the_same_call_is_admitted() -> None:
    store, clock = Gated(), FakeClock()
    rule = limiter(store, limit=3, period_s=3.0, clock=clock, deny_cache=False)
    crowd = Crowd(store, rule)
    for _ in range(5):
        crowd.ask()
    store.open(2)
    refused = crowd.answers()[-1]
    assert (refused.allowed, refused.remaining) == (False, 0)
    store.open(2)
    clock.advance_us(round(refused.retry_after_s * 1_000_000) - 2)
    assert not rule.acquire("alice")
    clock.advance_us(2)
    assert rule.acquire("alice")


def test_different_keys_do_not_wait_for_each_other() -> None:
    store = Gated()
    rule = limiter(store)
    with ThreadPoolExecutor(2) as pool:
        alice, bob = pool.submit(rule.acquire, "alice"), pool.submit(rule.acquire, "bob")
        assert store.entered.acquire(timeout=30)
        assert store.entered.acquire(timeout=30)
        store.open(2)
        assert alice.result(timeout=30)
        assert bob.result(timeout=30)
    assert store.takes() == [(1, 1), (1, 1)]


def test_costs_of_several_sizes_are_asked_for_as_one_sum() -> None:
    store = Gated()
    crowd = Crowd(store, limiter(store, limit=20))
    for cost in (1, 5, 2, 7):
        crowd.ask(cost)
    store.open(2)
    assert all(crowd.answers())
    assert store.takes() == [(1, 1), (14, 14)]


def test_a_sum_that_is_too_large_is_given_up_for_single_questions_and_nothing_is_lost() -> None:
    store = Gated()
    rule = limiter(store, limit=10, deny_cache=False)
    crowd = Crowd(store, rule)
    for cost in (1, 5, 6, 3):
        crowd.ask(cost)
    store.open(10)
    answers = crowd.answers()
    # Which of the three comes first when each goes alone is the scheduler's choice; that what fits is granted is not.
    granted = sum(cost for cost, verdict in zip((1, 5, 6, 3), answers, strict=True) if verdict)
    assert granted in {9, 10}
    assert rule.peek("alice").remaining == 10 - granted


def test_costs_of_several_sizes_are_never_asked_for_beyond_the_capacity() -> None:
    store = Gated()
    crowd = Crowd(store, limiter(store, limit=5))
    for cost in (1, 2, 2, 2):
        crowd.ask(cost)
    store.open(10)
    assert sum(verdict.allowed for verdict in crowd.answers()) == 3
    assert max(want for want, _ in store.takes()) <= 5


@pytest.mark.parametrize("policy", ["deny", "allow", "local"])
def test_a_lost_store_is_everybodys_and_each_gets_the_policys_answer(policy: Any) -> None:
    store = Gated()
    crowd = Crowd(store, limiter(store, limit=100, on_store_down=policy))
    for _ in range(4):
        crowd.ask()
    store.fails = StorageUnavailable("gcra", "refused")
    store.open(2)
    answers = crowd.answers()
    assert [verdict.allowed for verdict in answers] == [policy != "deny"] * 4
    assert {verdict.source for verdict in answers} == {"local" if policy == "local" else "policy"}


def test_each_caller_raises_an_error_of_its_own() -> None:
    store = Gated()
    crowd = Crowd(store, limiter(store, on_store_down="raise"))
    for _ in range(4):
        crowd.ask()
    store.fails = StorageTimeout("gcra", "no reply within 80 ms")
    store.open(2)
    errors = [future.exception(timeout=30) for future in crowd.asked]
    crowd.pool.shutdown()
    assert {(type(error), str(error)) for error in errors} == {(StorageTimeout, "gcra: no reply within 80 ms")}
    assert len({id(error) for error in errors}) == 4


def test_after_an_error_the_next_question_is_asked_as_ever() -> None:
    store = Gated()
    rule = limiter(store, on_store_down="deny")
    crowd = Crowd(store, rule)
    for _ in range(3):
        crowd.ask()
    store.fails = StorageUnavailable("gcra", "refused")
    store.open(2)
    crowd.answers()
    store.fails = None
    store.open()
    assert rule.acquire("alice")
    assert crowd.waiting() == 0


def test_a_bug_in_one_question_leaves_nobody_waiting() -> None:
    store = Gated()
    crowd = Crowd(store, limiter(store))
    for _ in range(4):
        crowd.ask()
    failures = iter([None, RuntimeError("planted")])

    def fail() -> None:
        error = next(failures, None)
        if error is not None:
            raise error

    store.before = fail
    store.open(10)
    outcomes = [future.exception(timeout=30) for future in crowd.asked]
    crowd.pool.shutdown()
    # The one who led meets the bug; the others ask again by themselves.
    assert [type(outcome) for outcome in outcomes] == [type(None), RuntimeError, type(None), type(None)]


def test_what_was_granted_in_company_can_be_refunded_once() -> None:
    store = Gated()
    rule = limiter(store, limit=4)
    crowd = Crowd(store, rule)
    for _ in range(4):
        crowd.ask()
    store.open(10)
    last = crowd.answers()[-1]
    assert rule.refund(last)
    assert not rule.refund(last)
    assert rule.peek("alice").remaining == 1


@pytest.mark.parametrize("when", ["in the queue", "as the leader", "when granted"])
def test_an_interrupted_thread_passes_on_what_was_its_to_do(when: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C in the main thread while it waits: nobody hangs, and nothing stays counted for it."""
    store = Gated()
    rule = limiter(store, limit=10)
    crowd = Crowd(store, rule)
    place = {"in the queue": 2, "as the leader": 1, "when granted": 2}[when]
    made: list[Any] = []

    class Waiter(coalescing._Waiter):
        def __init__(self, cost: int) -> None:
            super().__init__(cost)
            made.append(self)
            if len(made) == place:
                self.gate = Interrupted(self.gate, wait=when != "in the queue")  # type: ignore[assignment]  # a lock's shape

    monkeypatch.setattr(coalescing, "_Waiter", Waiter)
    crowd.ask()
    for number in (1, 2, 3):
        if number == place and when == "in the queue":
            with pytest.raises(KeyboardInterrupt):
                rule.acquire("alice")
        else:
            crowd.ask()
    store.open(10)
    outcomes = [future.exception(timeout=30) for future in crowd.asked]
    crowd.pool.shutdown()
    granted = outcomes.count(None)
    assert granted == 3
    assert rule.peek("alice").remaining == 10 - granted
    assert crowd.waiting() == 0


class Interrupted:
    """A lock whose first acquire() ends with KeyboardInterrupt: at once, or just as the lock was to be had."""

    def __init__(self, lock: Any, *, wait: bool) -> None:
        self.lock = lock
        self.wait = wait
        self.is_first = True

    def acquire(self) -> None:
        if not self.is_first:
            self.lock.acquire()
            return
        self.is_first = False
        if self.wait:
            self.lock.acquire()
            self.lock.release()
        raise KeyboardInterrupt

    def release(self) -> None:
        self.lock.release()


def hammer(threads: int, calls: int, ask: Callable[[], Verdict]) -> int:
    barrier = threading.Barrier(threads)

    def work(_: int) -> int:
        barrier.wait()
        return sum(ask().allowed for _ in range(calls))

    with ThreadPoolExecutor(threads) as pool:
        return sum(pool.map(work, range(threads)))


def test_sixteen_threads_are_admitted_exactly_as_often_as_the_limit_says(valkey_url: str, key_prefix: str) -> None:
    store = Watched(RedisStore(valkey_url, prefix=key_prefix))
    rule = limiter(store, limit=100, clock=None, deny_cache=False)
    assert hammer(16, 25, lambda: rule.acquire("alice")) == 100
    assert store.trips < 400
