"""A verdict tells the truth: what is left, when to come again, when all is forgotten; and a refusal consumes nothing."""

from __future__ import annotations

import asyncio
import math
from typing import Any

import pytest

from resilience import MemoryStore, RateLimited, RateLimiter, Verdict
from resilience.operations import LIMITERS
from tests.resilience.rate_limiter.failing import FailingStore

pytestmark = pytest.mark.parametrize("algorithm", sorted(LIMITERS))


@pytest.fixture
def limiter(algorithm, store, clock):
    # Three in a second: no whole number of microseconds a token.
    return RateLimiter("login", algorithm, 3, 1, store=store, clock=clock, deny_cache=False)


def microseconds(seconds: float) -> int:
    return round(seconds * 1_000_000)


def test_the_first_calls_are_admitted_and_what_is_left_counts_down(limiter):
    verdicts = [limiter.acquire("alice") for _ in range(3)]
    assert [verdict.allowed for verdict in verdicts] == [True] * 3
    assert [verdict.remaining for verdict in verdicts] == [2, 1, 0]
    assert [verdict.retry_after_s for verdict in verdicts] == [0.0] * 3
    assert all(verdicts)


def test_a_refused_call_is_refused_one_microsecond_early_and_admitted_at_its_time(limiter, clock):
    for cost in (1, 2, 3):
        while (refused := limiter.acquire("alice", cost)).allowed:
            pass
        wait = microseconds(refused.retry_after_s)
        assert wait > 0
        assert not refused
        clock.advance_us(wait - 1)
        early = limiter.acquire("alice", cost)
        assert (early.allowed, microseconds(early.retry_after_s)) == (False, 1)
        clock.advance_us(1)
        assert limiter.acquire("alice", cost)


def test_a_refusal_consumes_nothing(limiter, clock):
    limiter.acquire("alice", 2)
    clock.advance(0.1)
    before = limiter.peek("alice")
    for _ in range(50):
        assert not limiter.acquire("alice", 3)
    assert limiter.peek("alice") == before
    assert limiter.acquire("alice")


def test_all_is_forgotten_after_the_reset_and_not_a_microsecond_before(limiter, clock):
    fresh = limiter.peek("bob")
    taken = limiter.acquire("alice", 2)
    clock.advance_us(microseconds(taken.reset_after_s) - 1)
    assert limiter.peek("alice").reset_after_s == 0.000001
    clock.advance_us(1)
    assert limiter.peek("alice") == fresh == Verdict(True, 3, 0.0, 0.0, 3, fresh.source)


def test_each_key_has_its_own_allowance(limiter):
    for key in ("alice", "bob", "alice:1"):
        assert limiter.acquire(key, 3)
        assert not limiter.acquire(key)


def test_a_peek_answers_like_the_call_and_writes_nothing(limiter, clock):
    for _ in range(3):
        shown, again = limiter.peek("alice"), limiter.peek("alice")
        taken = limiter.acquire("alice")
        assert shown == again
        assert (shown.allowed, shown.remaining) == (True, taken.remaining + 1)
    shown, refused = limiter.peek("alice"), limiter.acquire("alice")
    assert shown == refused
    assert shown.receipt is None


def test_require_raises_with_the_verdict(limiter):
    assert limiter.require("alice", 3).remaining == 0
    with pytest.raises(RateLimited) as raised:
        limiter.require("alice")
    assert raised.value.name == "login"
    assert raised.value.verdict == limiter.peek("alice")
    assert raised.value.retry_after_s == raised.value.verdict.retry_after_s > 0


def test_the_source_names_who_decided(limiter, store):
    assert limiter.acquire("alice").source == store.name


def test_the_async_twins_give_the_same_answers(algorithm, store, clock):
    def twins(name):
        return RateLimiter(name, algorithm, 3, 1, store=store, clock=clock, deny_cache=False)

    one, two = twins("one"), twins("two")

    async def walk():
        told = []
        for cost in (1, 2, 1, 3):
            told += [await two.apeek("alice", cost), await two.aacquire("alice", cost)]
        with pytest.raises(RateLimited):
            await two.arequire("alice")
        grant = await two.arequire("bob", 2)
        told += [await two.arefund(grant), await two.arefund(grant), await two.apeek("bob")]
        await two.areset("alice")
        told.append(await two.arequire("alice"))
        await store.aclose()
        return told

    due = []
    for cost in (1, 2, 1, 3):
        due += [one.peek("alice", cost), one.acquire("alice", cost)]
    grant = one.require("bob", 2)
    due += [one.refund(grant), one.refund(grant), one.peek("bob")]
    one.reset("alice")
    due.append(one.require("alice"))
    assert asyncio.run(walk()) == due


def test_a_cost_above_the_capacity_is_refused_for_ever_and_no_store_is_asked(algorithm):
    store: Any = FailingStore()
    limiter = RateLimiter("login", algorithm, 3, 1, store=store)
    for answer in (limiter.acquire("alice", 4), limiter.peek("alice", 4), asyncio.run(limiter.aacquire("alice", 4))):
        assert answer == Verdict(False, 0, math.inf, 0.0, 3, "policy")
    with pytest.raises(RateLimited, match="rate limit login"):
        limiter.require("alice", 10**12)
    assert store.asked == []


def test_one_decision_is_one_question_to_the_store(algorithm):
    store: Any = FailingStore()
    limiter = RateLimiter("login", algorithm, 3, 1, store=store)
    limiter.acquire("alice")
    limiter.peek("alice")
    assert store.asked == [algorithm, algorithm]


def test_the_server_s_clock_is_used_where_no_other_is_given(algorithm, store):
    limiter = RateLimiter("login", algorithm, 2, 3600, store=store, deny_cache=False)
    assert [limiter.acquire("alice").allowed for _ in range(3)] == [True, True, False]
    refused = limiter.acquire("alice")
    assert 0 < refused.retry_after_s <= 7200


def test_a_limiter_without_a_store_counts_in_the_process_s_own(algorithm, monkeypatch):
    from resilience import storage

    monkeypatch.delenv("REDIS_URL", raising=False)
    mine = MemoryStore()
    storage.use_default(mine)
    try:
        limiter = RateLimiter("login", algorithm, 1, 60)
        assert len(mine) == 0
        assert limiter.acquire("alice").source == "memory"
        assert len(mine) == 1
    finally:
        storage.use_default(None)
