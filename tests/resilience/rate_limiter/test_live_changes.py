"""A changed rule holds from the next call on and keeps what was used; a rule on trial refuses nothing and says what it would."""

from __future__ import annotations

import asyncio
import itertools
import math

import pytest

from resilience import RateLimiter, telemetry
from resilience.operations import LIMITERS


def rule(algorithm, store, clock, **options):
    given = {"limit": 10, "period_s": 10, "deny_cache": False, **options}
    return RateLimiter("login", algorithm, store=store, clock=clock, **given)


each_algorithm = pytest.mark.parametrize("algorithm", sorted(LIMITERS))


@each_algorithm
def test_a_lowered_limit_counts_what_was_used_before(algorithm, store, clock):
    limiter = rule(algorithm, store, clock)
    limiter.acquire("alice", 6)
    limiter.configure(limit=5)
    # The windows know of 6 calls; the bucket of 4 tokens left; gcra of 6 seconds owed, which are 3 calls now.
    left = {"token_bucket": 4, "gcra": 2}.get(algorithm, 0)
    refused = limiter.acquire("alice", left + 1)
    assert (refused.allowed, refused.remaining, refused.limit) == (False, left, 5)
    clock.advance(refused.retry_after_s)
    assert limiter.acquire("alice", left + 1)


@each_algorithm
def test_a_raised_limit_never_takes_away(algorithm, store, clock):
    limiter = rule(algorithm, store, clock)
    limiter.acquire("alice", 6)
    limiter.configure(limit=20)
    assert limiter.peek("alice").remaining == {"token_bucket": 4, "gcra": 8}.get(algorithm, 14)
    clock.advance(20)
    assert limiter.peek("alice").remaining == 20


@each_algorithm
def test_a_shorter_period_frees_sooner(algorithm, store, clock):
    clock.set(1_700_000_000)
    limiter = rule(algorithm, store, clock)
    limiter.acquire("alice", 10)
    limiter.configure(period_s=1)
    refused = limiter.acquire("alice", 10)
    assert not refused
    assert refused.retry_after_s <= {"gcra": 10, "sliding_window": 2}.get(algorithm, 1)
    clock.advance(refused.retry_after_s)
    assert limiter.acquire("alice", 10)


@each_algorithm
def test_a_longer_period_tells_the_truth_about_calls_before_it(algorithm, store, clock):
    limiter = rule(algorithm, store, clock)
    limiter.acquire("alice", 10)
    clock.advance(4)
    limiter.configure(period_s=1000)
    refused = limiter.acquire("alice", 10)
    assert not refused
    clock.advance_us(round(refused.retry_after_s * 1e6) - 1)
    assert not limiter.acquire("alice", 10)
    clock.advance_us(1)
    assert limiter.acquire("alice", 10)


def test_a_raised_burst_is_there_at_once_under_gcra_and_fills_up_in_a_bucket(store, clock):
    for algorithm, at_once in (("gcra", 30), ("token_bucket", 0)):
        limiter = rule(algorithm, store, clock)
        limiter.acquire("alice", 10)
        limiter.configure(burst=40)
        assert limiter.peek("alice").remaining == at_once
        clock.advance(5)
        assert limiter.peek("alice").remaining == at_once + 5


def test_another_algorithm_starts_afresh_and_the_old_count_is_there_when_it_comes_back(store, clock):
    limiter = rule("gcra", store, clock)
    limiter.acquire("alice", 10)
    limiter.configure(algorithm="sliding_log")
    assert limiter.acquire("alice", 10)
    limiter.configure(algorithm="gcra")
    assert not limiter.acquire("alice")


@each_algorithm
def test_in_shadow_everything_is_allowed_and_the_figures_say_what_would_have_been(algorithm, store, clock):
    limiter = rule(algorithm, store, clock, limit=2, shadow=True, deny_cache=True)
    verdicts = [limiter.acquire("alice") for _ in range(3)]
    assert all(verdicts)
    assert [verdict.is_shadow for verdict in verdicts] == [False, False, True]
    assert verdicts[2].retry_after_s > 0
    assert limiter.is_on_trial("alice")
    assert asyncio.run(_aacquire_and_close(limiter, store)).is_shadow
    assert limiter.peek("alice").is_shadow
    assert limiter.acquire("alice", 3) == verdicts[2]._replace(
        remaining=0, retry_after_s=math.inf, reset_after_s=0.0, source="policy"
    )
    limiter.configure(shadow=False)
    assert not limiter.acquire("alice")


async def _aacquire_and_close(limiter, store):
    try:
        return await limiter.aacquire("alice")
    finally:
        if store.name == "redis":
            await store.aclose()


def test_a_refusal_in_shadow_consumes_nothing_and_cannot_be_refunded(store, clock):
    limiter = rule("fixed_window", store, clock, limit=2, shadow=True)
    limiter.acquire("alice", 2)
    shadowed = limiter.acquire("alice", 2)
    assert shadowed.is_shadow
    assert limiter.refund(shadowed) is False
    assert limiter.peek("alice").remaining == 0


def test_the_enforced_share_is_the_same_keys_everywhere_and_only_grows(clock):
    from resilience import MemoryStore

    keys = [f"user:{number}" for number in range(2000)]
    enforced = []
    for percent in (0, 1, 25, 26, 99, 100):
        here, elsewhere = (
            RateLimiter("login", limit=1, period_s=60, store=MemoryStore(), enforced_percent=percent) for _ in range(2)
        )
        mine = {key for key in keys if not here.is_on_trial(key)}
        assert mine == {key for key in keys if not elsewhere.is_on_trial(key)}
        enforced.append(mine)
    assert enforced[0] == set()
    assert enforced[-1] == set(keys)
    assert all(less <= more for less, more in itertools.pairwise(enforced))
    assert 400 < len(enforced[2]) < 600  # a quarter of 2,000, by hash
    other = RateLimiter("upload", limit=1, period_s=60, store=MemoryStore(), enforced_percent=25)
    assert {key for key in keys if not other.is_on_trial(key)} != enforced[2]


def test_only_the_enforced_keys_are_refused(clock):
    from resilience import MemoryStore

    limiter = RateLimiter("login", limit=1, period_s=60, store=MemoryStore(), clock=clock, enforced_percent=50)
    for key in (f"user:{number}" for number in range(50)):
        assert limiter.acquire(key)
        second = limiter.acquire(key)
        assert second.allowed is limiter.is_on_trial(key) is second.is_shadow


@each_algorithm
def test_a_key_with_a_limit_of_its_own_has_it_until_its_end(algorithm, store, clock):
    events: list[telemetry.Event] = []
    stop = telemetry.subscribe(events.append, "rate_limiter.override")
    limiter = rule(algorithm, store, clock, limit=2)
    end = clock.now_us() / 1e6 + 100
    limiter.override("alice", 5, until=end)
    stop()
    assert dict(events[0].attributes) == {"rule": "login", "key": "alice", "limit": 5, "until": end}
    assert [limiter.acquire("alice").allowed for _ in range(6)] == [True] * 5 + [False]
    assert [limiter.acquire("bob").allowed for _ in range(3)] == [True, True, False]
    assert not limiter.acquire("alice", 6)
    clock.advance(100)
    assert limiter.peek("alice").limit == 2


@each_algorithm
def test_an_override_can_be_lower_be_changed_and_be_taken_back(algorithm, store, clock):
    limiter = rule(algorithm, store, clock, limit=5)
    end = clock.now_us() / 1e6 + 1000
    limiter.override("alice", 1, until=end)
    assert [limiter.acquire("alice").allowed for _ in range(2)] == [True, False]
    limiter.override("alice", 3, until=end)
    assert limiter.peek("alice").limit == 3
    limiter.configure(period_s=20)
    assert limiter.peek("alice").limit == 3
    limiter.override("alice", None)
    assert limiter.peek("alice").limit == 5


def test_an_override_also_has_its_own_burst(store, clock):
    limiter = rule("gcra", store, clock, limit=5, burst=2)
    limiter.override("alice", 10, until=clock.now_us() / 1e6 + 1000)
    assert limiter.peek("alice").remaining == 10


@pytest.mark.parametrize(
    ("limit", "until"), [(5, None), (5, "soon"), (5, math.nan), (5, math.inf), (5, -1), (5, True), (0, 2e9), (True, 2e9)]
)
def test_an_override_out_of_bounds_is_refused_and_changes_nothing(clock, limit, until):
    from resilience import MemoryStore

    limiter = rule("gcra", MemoryStore(), clock)
    with pytest.raises(ValueError, match=r"^(until|limit) is "):
        limiter.override("alice", limit, until)
    assert limiter.peek("alice").limit == 10
