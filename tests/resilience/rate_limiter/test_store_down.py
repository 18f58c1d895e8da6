"""A lost store is a verdict, not an exception, unless the policy says so; and a bug of ours is told aloud."""

from __future__ import annotations

import asyncio
import math

import pytest

from resilience import (
    RateLimiter,
    StorageAuthError,
    StorageFull,
    StorageProtocolError,
    StorageTimeout,
    StorageUnavailable,
    telemetry,
)
from resilience.operations import LIMITERS
from resilience.storage import base
from tests.resilience.rate_limiter.failing import FailingStore

ERRORS = [StorageUnavailable, StorageTimeout, StorageFull, StorageAuthError, StorageProtocolError]
each_error = pytest.mark.parametrize("error", ERRORS)


@pytest.fixture(autouse=True)
def processes():
    """How many processes live, as a heartbeat would tell; one afterwards."""
    yield base.set_live_processes
    base.set_live_processes(1)


def rule(store, clock, **options):
    return RateLimiter("login", **{"limit": 10, "period_s": 60, **options}, store=store, clock=clock)


@each_error
def test_allow_admits_everything_by_policy(clock, error):
    limiter = rule(FailingStore(error("take", "away")), clock, on_store_down="allow")
    for ask in (limiter.acquire, limiter.peek):
        verdict = ask("alice", 7)
        assert (verdict.allowed, verdict.source, verdict.retry_after_s) == (True, "policy", 0.0)
    assert limiter.refund(verdict) is False
    assert asyncio.run(limiter.aacquire("alice")).source == "policy"


@each_error
def test_deny_refuses_everything_by_policy_and_says_when_to_come_again(clock, error):
    limiter = rule(FailingStore(error("take", "away")), clock, on_store_down="deny")
    for ask in (limiter.acquire, limiter.peek):
        verdict = ask("alice")
        assert (verdict.allowed, verdict.source, verdict.retry_after_s) == (False, "policy", 1.0)
    assert asyncio.run(limiter.aacquire("alice")) == verdict


@each_error
def test_raise_hands_the_error_on(clock, error):
    store = FailingStore(error("take", "away"))
    limiter = rule(store, clock, on_store_down="raise")
    for ask in (limiter.acquire, limiter.peek, limiter.require):
        with pytest.raises(error) as raised:
            ask("alice")
        assert raised.value is store.error
    with pytest.raises(error):
        asyncio.run(limiter.aacquire("alice"))
    with pytest.raises(error):
        asyncio.run(limiter.apeek("alice"))


@each_error
@pytest.mark.parametrize("algorithm", sorted(LIMITERS))
def test_local_gives_this_process_s_share_in_memory(clock, processes, algorithm, error):
    processes(3)
    store = FailingStore(error("take", "away"))
    limiter = rule(store, clock, algorithm=algorithm)
    assert limiter.peek("alice").remaining == 3
    told = [limiter.acquire("alice") for _ in range(3)] + [asyncio.run(limiter.aacquire("alice"))]
    assert [verdict.allowed for verdict in told] == [True] * 3 + [False]
    assert {verdict.source for verdict in told} == {"local"}
    clock.advance_us(round(told[-1].retry_after_s * 1e6) - 1)
    assert not limiter.acquire("alice")
    clock.advance_us(1)
    assert limiter.acquire("alice")


def test_the_share_is_at_least_one_and_has_a_share_of_the_burst(clock, processes):
    processes(1000)
    store = FailingStore(StorageUnavailable("take", "away"))
    assert [rule(store, clock).acquire("alice").allowed for _ in range(2)] == [True, False]
    processes(4)
    assert rule(store, clock, burst=40).peek("bob").remaining == 10


def test_a_cost_above_the_share_is_refused_for_as_long_as_the_store_is_away(clock, processes):
    processes(5)
    limiter = rule(FailingStore(StorageUnavailable("take", "away")), clock)
    verdict = limiter.acquire("alice", 3)
    assert (verdict.allowed, verdict.source, verdict.retry_after_s) == (False, "local", math.inf)


def test_an_outage_gives_at_most_one_more_allowance_and_the_store_s_count_is_there_afterwards(clock):
    store = FailingStore()
    limiter = rule(store, clock)
    limiter.acquire("alice", 8)
    store.error = StorageUnavailable("take", "away")
    assert sum(limiter.acquire("alice").allowed for _ in range(30)) == 10
    store.error = None
    assert limiter.acquire("alice").remaining == 1


def test_after_a_time_out_the_question_is_not_repeated(clock):
    store = FailingStore(StorageTimeout("take", "no reply"))
    rule(store, clock).acquire("alice")
    assert store.asked == ["gcra"]


def test_in_shadow_an_outage_refuses_nobody(clock):
    limiter = rule(FailingStore(StorageUnavailable("take", "away")), clock, on_store_down="deny", shadow=True)
    verdict = limiter.acquire("alice")
    assert (verdict.allowed, verdict.is_shadow) == (True, True)


@pytest.mark.parametrize("policy", ["local", "allow", "deny"])
def test_a_bug_of_ours_is_told_aloud_whatever_the_policy(clock, policy):
    label = ("rate_limiter", "gcra")
    before = telemetry.collect()["resilience_internal_errors_total"].get(label, 0)
    limiter = rule(FailingStore(StorageProtocolError("gcra", "a script failed")), clock, on_store_down=policy)
    limiter.acquire("alice")
    assert telemetry.collect()["resilience_internal_errors_total"][label] == before + 1


def test_where_memory_fails_too_the_answer_is_no(clock):
    store = FailingStore(StorageUnavailable("take", "away"))
    store.local = FailingStore(StorageProtocolError("gcra", "a law failed"))  # type: ignore[assignment]
    store.local.run, store.local.arun = store.local.attempt, store.local.aattempt  # type: ignore[method-assign]
    limiter = rule(store, clock)
    for verdict in (limiter.acquire("alice"), asyncio.run(limiter.aacquire("alice"))):
        assert (verdict.allowed, verdict.source, verdict.retry_after_s) == (False, "policy", 1.0)
