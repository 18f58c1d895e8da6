"""What each algorithm promises of any span of one period, found by replaying the stamps of every admitted call."""

from __future__ import annotations

import random
from bisect import bisect_left

import pytest

from resilience import MemoryStore, RateLimiter
from resilience.clock import FakeClock
from resilience.operations import LIMITERS

PERIOD_US = 1_000_000
# As the table has it: limit and burst in, the most in any span of one period out.
BOUNDS = {
    "fixed_window": lambda limit, burst: 2 * limit,
    "sliding_log": lambda limit, burst: limit,
    "sliding_window": lambda limit, burst: 2 * limit - 1,
    "token_bucket": lambda limit, burst: burst + limit,
    "gcra": lambda limit, burst: burst + limit,
}


def most_in_a_span(stamps: list[tuple[int, int]]) -> int:
    """The most admitted in [t, t + period), over all t. `stamps`: (microseconds, cost), in order."""
    times = [at for at, _ in stamps]
    before = [0]
    for _, cost in stamps:
        before.append(before[-1] + cost)
    return max(before[bisect_left(times, at + PERIOD_US)] - before[place] for place, at in enumerate(times))


def admitted(algorithm: str, seed: int, *, limit: int, burst: int | None, greedy: bool) -> list[tuple[int, int]]:
    """A caller who comes whenever it may, or at random, for ten periods."""
    chance, clock = random.Random(f"{algorithm} {seed}"), FakeClock()
    limiter = RateLimiter("span", algorithm, limit, 1, burst, store=MemoryStore(), clock=clock)
    stamps = []
    start = clock.now_us() + chance.randrange(PERIOD_US)
    clock.advance_us(start - clock.now_us())
    while clock.now_us() < start + 10 * PERIOD_US:
        cost = 1 if greedy else chance.choice((1, 1, 2, 3))
        verdict = limiter.acquire("alice", cost)
        if verdict:
            stamps.append((clock.now_us(), cost))
        elif greedy or chance.random() < 0.5:
            clock.advance_us(round(verdict.retry_after_s * 1e6))
            if chance.random() < 0.2:
                clock.advance_us(chance.randrange(PERIOD_US))
        else:
            clock.advance_us(chance.randrange(1, PERIOD_US // limit))
    return stamps


@pytest.mark.parametrize("greedy", [True, False], ids=["greedy", "at-random"])
@pytest.mark.parametrize("algorithm", sorted(LIMITERS))
def test_no_span_admits_more_than_was_promised(algorithm, greedy):
    worst = 0
    for seed in range(25):
        for limit, burst in ((7, None), (10, 3), (5, 12)):
            given = burst if algorithm in ("gcra", "token_bucket") else None
            stamps = admitted(algorithm, seed, limit=limit, burst=given, greedy=greedy)
            bound = BOUNDS[algorithm](limit, limit if given is None else given)
            most = most_in_a_span(stamps)
            assert most <= bound, (algorithm, seed, limit, burst)
            worst = max(worst, most - bound)
    # Not so loose a bound that anything would pass.
    assert worst >= -3


def test_the_count_finds_a_limiter_that_admits_one_too_many():
    stamps = [(PERIOD_US * number // 10, 1) for number in range(100)]
    assert most_in_a_span(stamps) == 10
    assert most_in_a_span(sorted([*stamps, (555_555, 1)])) == 11


def test_the_worst_span_of_a_fixed_window_is_twice_its_limit_and_no_more():
    clock = FakeClock()
    limiter = RateLimiter("span", "fixed_window", 5, 1, store=MemoryStore(), clock=clock)
    stamps = [(clock.now_us(), 1)] if limiter.acquire("alice") else []
    clock.advance_us(PERIOD_US - 1)
    for _ in range(20):
        stamps += [(clock.now_us(), 1)] if limiter.acquire("alice") else []
    clock.advance_us(1)
    for _ in range(20):
        stamps += [(clock.now_us(), 1)] if limiter.acquire("alice") else []
    assert most_in_a_span(stamps) == 9


def test_aligned_windows_begin_at_multiples_of_the_period():
    clock = FakeClock(1_700_000_040.25)  # a UTC minute begins 20 seconds later
    aligned = RateLimiter("span", "fixed_window", 5, 60, aligned=True, store=MemoryStore(), clock=clock)
    free = RateLimiter("span", "fixed_window", 5, 60, store=MemoryStore(), clock=clock)
    assert aligned.acquire("alice", 5).reset_after_s == 60 - 1_700_000_040.25 % 60
    assert free.acquire("alice", 5).reset_after_s == 60
    clock.advance(60 - 1_700_000_040.25 % 60)
    assert aligned.acquire("alice", 5)
    assert not free.acquire("alice", 5)
