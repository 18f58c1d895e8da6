"""A refund gives back what a verdict took: once, exactly, never above full."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from resilience import RateLimiter, StorageProtocolError, StorageTimeout, StorageUnavailable, telemetry
from resilience.operations import LIMITERS
from tests.resilience.rate_limiter.failing import FailingStore

pytestmark = pytest.mark.parametrize("algorithm", sorted(LIMITERS))


@pytest.fixture
def limiter(algorithm, store, clock):
    return RateLimiter("login", algorithm, 5, 10, store=store, clock=clock, deny_cache=False)


def test_what_was_taken_comes_back_once(limiter):
    limiter.acquire("alice", 2)
    before = limiter.peek("alice")
    verdict = limiter.acquire("alice", 3)
    assert limiter.peek("alice").remaining == 0
    assert limiter.refund(verdict) is True
    assert limiter.peek("alice") == before
    assert limiter.refund(verdict) is False
    assert limiter.peek("alice") == before


def test_after_the_only_call_came_back_the_key_is_as_if_never_used(limiter, clock):
    verdict = limiter.acquire("alice", 5)
    limiter.refund(verdict)
    assert limiter.peek("alice") == limiter.peek("bob")
    clock.advance(3)
    assert limiter.acquire("alice", 5)
    assert not limiter.acquire("alice")


def test_a_refund_never_fills_above_full(limiter, clock):
    verdicts = [limiter.acquire("alice") for _ in range(4)]
    clock.advance(9.999)
    for verdict in verdicts:
        limiter.refund(verdict)
    assert limiter.peek("alice").remaining == 5
    assert limiter.acquire("alice", 5)
    assert not limiter.acquire("alice")


def test_nothing_comes_back_after_all_is_forgotten(limiter, clock):
    verdict = limiter.acquire("alice", 5)
    clock.advance(verdict.reset_after_s)
    assert limiter.refund(verdict) is False
    assert limiter.peek("alice") == limiter.peek("bob")


def test_a_refused_or_shown_verdict_gives_nothing_back(limiter):
    limiter.acquire("alice", 5)
    assert limiter.refund(limiter.acquire("alice")) is False
    assert limiter.refund(limiter.peek("bob")) is False
    assert limiter.refund(limiter.acquire("alice", 6)) is False
    assert limiter.peek("alice").remaining == 0


def test_of_many_threads_that_refund_one_verdict_one_succeeds(limiter):
    limiter.acquire("alice", 2)
    verdict = limiter.acquire("alice", 3)
    barrier = threading.Barrier(8)
    came_back = []

    def refund():
        barrier.wait()
        came_back.append(limiter.refund(verdict))

    threads = [threading.Thread(target=refund) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(came_back) == [False] * 7 + [True]
    assert limiter.peek("alice").remaining == 3


def test_another_limiter_s_verdict_is_refused_and_stays_refundable(algorithm, limiter, store, clock):
    other = RateLimiter("upload", algorithm, 5, 10, store=store, clock=clock)
    verdict = limiter.acquire("alice")
    with pytest.raises(ValueError, match="this verdict is not of limiter upload"):
        other.refund(verdict)
    assert limiter.refund(verdict) is True


@pytest.mark.parametrize("thing", [None, True, "alice", (True, 1, 0.0, 0.0, 5, "redis")])
def test_what_is_no_verdict_is_refused(algorithm, clock, thing):
    with pytest.raises(ValueError, match="refund takes a verdict of this limiter"):
        RateLimiter("login", algorithm, 5, 10, clock=clock).refund(thing)


@pytest.mark.parametrize("error", [StorageUnavailable, StorageTimeout])
def test_a_refund_that_the_store_did_not_confirm_is_never_repeated(algorithm, clock, error):
    store: Any = FailingStore()
    limiter = RateLimiter("login", algorithm, 5, 10, store=store, clock=clock)
    verdicts = [limiter.acquire("alice"), limiter.acquire("alice")]
    store.error = error("give", "away")
    assert limiter.refund(verdicts[0]) is False
    assert asyncio.run(limiter.arefund(verdicts[1])) is False
    store.error = None
    assert limiter.refund(verdicts[0]) is False
    assert limiter.peek("alice").remaining == 3


def test_a_bug_of_ours_in_a_refund_is_told_aloud(algorithm, clock):
    store: Any = FailingStore()
    limiter = RateLimiter("login", algorithm, 5, 10, store=store, clock=clock)
    verdict = limiter.acquire("alice")
    label = ("rate_limiter", algorithm)
    before = telemetry.collect()["resilience_internal_errors_total"].get(label, 0)
    store.error = StorageProtocolError(algorithm, "a script failed")
    assert limiter.refund(verdict) is False
    assert telemetry.collect()["resilience_internal_errors_total"][label] == before + 1


def test_what_an_outage_granted_goes_back_to_where_it_was_counted(algorithm, clock):
    store: Any = FailingStore(StorageUnavailable("take", "refused"))
    limiter = RateLimiter("login", algorithm, 5, 10, store=store, clock=clock)
    verdict = limiter.acquire("alice", 5)
    assert verdict.source == "local"
    assert not limiter.acquire("alice")
    assert limiter.refund(verdict) is True
    assert limiter.acquire("alice", 5)


def test_a_call_of_the_window_before_comes_back_to_that_window(algorithm, store, clock):
    if algorithm not in ("sliding_window", "fixed_window"):
        return  # the others have no windows
    limiter = RateLimiter("login", algorithm, 10, 10, store=store, clock=clock, deny_cache=False)
    clock.set(1_700_000_005)
    verdict = limiter.acquire("alice", 10)
    clock.set(1_700_000_015)
    half = limiter.peek("alice").remaining
    assert half == {"sliding_window": 5, "fixed_window": 10}[algorithm]
    limiter.acquire("alice")
    assert limiter.refund(verdict) is (algorithm == "sliding_window")
    assert limiter.peek("alice").remaining == 9


def test_a_reset_makes_the_key_as_if_never_used_and_tells(limiter):
    events: list[telemetry.Event] = []
    stop = telemetry.subscribe(events.append, "rate_limiter.reset")
    limiter.acquire("alice", 5)
    limiter.acquire("bob", 2)
    limiter.reset("alice")
    stop()
    assert limiter.acquire("alice", 5)
    assert limiter.peek("bob").remaining == 3
    assert [dict(event.attributes) for event in events] == [{"rule": "login", "key": "alice"}]


def test_a_reset_reaches_every_algorithm_the_key_was_counted_by(algorithm, limiter):
    limiter.acquire("alice", 5)
    other = "gcra" if algorithm != "gcra" else "sliding_log"
    limiter.configure(algorithm=other)
    limiter.reset("alice")
    limiter.configure(algorithm=algorithm)
    assert limiter.acquire("alice", 5)


def test_a_reset_that_did_not_reach_the_store_is_an_error(algorithm, clock):
    store: Any = FailingStore(StorageUnavailable("limiter_reset", "refused"))
    limiter = RateLimiter("login", algorithm, 5, 10, store=store, clock=clock)
    with pytest.raises(StorageUnavailable):
        limiter.reset("alice")
    with pytest.raises(StorageUnavailable):
        asyncio.run(limiter.areset("alice"))
