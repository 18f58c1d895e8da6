"""T0: a refusal is repeated here for as long as it must hold, and not a microsecond longer."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resilience import FakeClock, MemoryStore, RateLimiter, RedisStore
from resilience.rate_limiter import local
from tests.resilience.rate_limiter_tiers.stores import Slow, Watched

ALGORITHMS = ("gcra", "token_bucket", "sliding_window", "sliding_log", "fixed_window")


def limiter(store: Any, clock: FakeClock, algorithm: str = "gcra", **options: Any) -> RateLimiter:
    return RateLimiter("login", algorithm, **{"limit": 2, "period_s": 0.5, "store": store, "clock": clock, **options})


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_refused_key_is_answered_without_a_round_trip_until_exactly_when_it_would_be_admitted(algorithm: str) -> None:
    store, clock = Watched(), FakeClock()
    rule = limiter(store, clock, algorithm)
    while (first := rule.acquire("alice")).allowed:
        pass
    asked = store.trips
    wait_us = round(first.retry_after_s * 1_000_000)
    clock.advance_us(wait_us - 1)
    repeated = rule.acquire("alice")
    assert (repeated.allowed, repeated.source, store.trips) == (False, "deny_cache", asked)
    clock.advance_us(1)
    assert rule.acquire("alice").allowed
    assert store.trips == asked + 1


def test_the_same_on_a_real_server(valkey_url: str, key_prefix: str) -> None:
    store, clock = Watched(RedisStore(valkey_url, prefix=key_prefix)), FakeClock()
    rule = limiter(store, clock)
    while (first := rule.acquire("alice")).allowed:
        pass
    asked = store.trips
    clock.advance_us(round(first.retry_after_s * 1_000_000) - 1)
    assert rule.acquire("alice").source == "deny_cache"
    clock.advance_us(1)
    assert rule.acquire("alice").allowed
    assert store.trips == asked + 1


def test_the_answer_is_one_ready_made_verdict_that_repeats_the_refusals_figures() -> None:
    store, clock = Watched(), FakeClock()
    rule = limiter(store, clock)
    while (first := rule.acquire("alice")).allowed:
        pass
    clock.advance(0.1)
    second, third = rule.acquire("alice"), rule.acquire("alice")
    assert second is third
    assert second == first._replace(source="deny_cache")


def test_it_counts_from_the_moment_of_sending_so_a_slow_reply_lengthens_nothing() -> None:
    clock = FakeClock()
    store = Slow(clock, delay_s=0.1)
    rule = limiter(store, clock, limit=1, period_s=0.5)
    assert rule.acquire("alice")
    # Sent 0.1 s after the grant was decided, so refused for 0.4 s; that reply takes 0.1 s too.
    refused = rule.acquire("alice")
    assert refused.retry_after_s == 0.4
    clock.advance(0.3)
    assert rule.acquire("alice").allowed


def test_an_equal_or_larger_cost_is_refused_here_and_a_smaller_one_asks() -> None:
    store, clock = Watched(), FakeClock()
    rule = limiter(store, clock, limit=10)
    assert rule.acquire("alice", 8)
    assert not rule.acquire("alice", 5)
    asked = store.trips
    assert [rule.acquire("alice", cost).source for cost in (5, 6, 10)] == ["deny_cache"] * 3
    assert store.trips == asked
    assert rule.acquire("alice", 2).allowed
    assert store.trips == asked + 1


def test_a_key_under_attack_costs_at_most_one_round_trip_a_second() -> None:
    store, clock = Watched(), FakeClock()
    rule = limiter(store, clock, limit=1, period_s=3600.0)
    for _ in range(10_000):
        rule.acquire("alice")
        clock.advance(0.001)
    # The one that was admitted, and one in each of ten seconds.
    assert store.trips <= 11


def test_a_key_that_is_reset_refunded_or_given_a_higher_limit_elsewhere_is_admitted_within_a_second() -> None:
    store, clock = Watched(), FakeClock()
    here = limiter(store, clock, limit=1, period_s=3600.0)
    elsewhere = limiter(store, clock, limit=1, period_s=3600.0)
    here.acquire("alice")
    assert not here.acquire("alice")
    elsewhere.reset("alice")
    clock.advance(0.999)
    assert not here.acquire("alice")
    clock.advance(0.001)
    assert here.acquire("alice")


def test_a_reset_a_refund_and_a_changed_limit_made_here_act_at_once() -> None:
    store, clock = Watched(), FakeClock()
    rule = limiter(store, clock, limit=1, period_s=3600.0)
    granted = rule.acquire("alice")
    assert not rule.acquire("alice")
    assert rule.refund(granted)
    assert rule.acquire("alice")
    assert not rule.acquire("alice")
    rule.reset("alice")
    assert rule.acquire("alice")
    assert not rule.acquire("alice")
    rule.configure(burst=2)
    assert rule.acquire("alice")


def test_it_holds_so_many_keys_and_drops_the_one_learnt_longest_ago(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local, "MAX_KEYS", 3)
    store, clock = Watched(), FakeClock()
    rule = limiter(store, clock, limit=1, period_s=3600.0)
    for key in ("a", "b", "c", "d"):
        rule.acquire(key)
        assert not rule.acquire(key)
    asked = store.trips
    assert [rule.acquire(key).source for key in ("b", "c", "d", "a")] == ["deny_cache"] * 3 + ["redis"]
    assert store.trips == asked + 1


def test_it_holds_ten_thousand_keys() -> None:
    assert local.MAX_KEYS == 10_000


def test_memory_is_asked_each_time_for_it_answers_as_fast() -> None:
    clock = FakeClock()
    rule = limiter(MemoryStore(), clock)
    assert [rule.acquire("alice").source for _ in range(4)] == ["memory"] * 4


def test_it_can_be_switched_off() -> None:
    store, clock = Watched(), FakeClock()
    rule = limiter(store, clock, deny_cache=False)
    assert [rule.acquire("alice").source for _ in range(4)] == ["redis"] * 4
    assert store.trips == 4


@pytest.mark.parametrize("cost", [0, -1, True, 1.5, "1", None])
def test_a_cost_that_is_none_is_refused_with_words_although_the_key_is_denied(cost: Any) -> None:
    rule = limiter(Watched(), FakeClock(), limit=1, period_s=3600.0)
    rule.acquire("alice")
    rule.acquire("alice")
    with pytest.raises(ValueError, match="cost is"):
        rule.acquire("alice", cost)


def test_tasks_have_the_same_cache_as_threads() -> None:
    store, clock = Watched(), FakeClock()
    rule = limiter(store, clock, limit=1, period_s=3600.0)

    async def ask() -> list[str]:
        return [(await rule.aacquire("alice")).source for _ in range(3)]

    assert asyncio.run(ask()) == ["redis", "redis", "deny_cache"]
    assert rule.acquire("alice").source == "deny_cache"
    assert store.trips == 2


steps = st.lists(st.tuples(st.integers(0, 400_000), st.integers(1, 4), st.sampled_from("ab")), min_size=5, max_size=60)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@given(steps=steps)
def test_it_changes_no_decision(algorithm: str, steps: list[tuple[int, int, str]]) -> None:
    """The same calls at the same times, with the cache and without: allowed or refused alike, to the microsecond."""
    clock = FakeClock()
    cached = limiter(Watched(), clock, algorithm, limit=4, period_s=1.5)
    plain = limiter(Watched(), clock, algorithm, limit=4, period_s=1.5, deny_cache=False)
    for passed_us, cost, key in steps:
        clock.advance_us(passed_us)
        assert cached.acquire(key, cost).allowed == plain.acquire(key, cost).allowed
