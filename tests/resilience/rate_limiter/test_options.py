"""What a limiter cannot be told is refused where it is told, by name, and changes nothing."""

from __future__ import annotations

import math
from typing import Any

import pytest

from resilience import Lease, RateLimiter, create_limiter
from resilience.operations import LIMITERS
from resilience.storage.memory import MemoryStore

GOOD: dict[str, Any] = {"limit": 10, "period_s": 60.0}


WRONG: dict[str, list[Any]] = {
    "limit": [None, 0, -1, True, 1.5, 10.0, "10", math.nan, math.inf, 90_000_001, 2**70, [10], b"1"],
    "period_s": [None, 0, -1, True, "60", math.nan, math.inf, -math.inf, 0.0000004, 31_622_401, 10**400],
    "burst": [0, -1, True, 1.5, "10", math.nan, 90_000_001, 2**70],
    "aligned": [1, "yes", None],
    "deny_cache": [1, "yes", None],
    "coalesce": [1, "no", None],
    "shadow": [1, 50, "yes", None],
    "enforced_percent": [-1, 101, True, 50.0, "50", None],
    "on_store_down": ["open", "", None, True, ["deny"]],
    "lease": [True, {}, 0.1, "lease"],
}


@pytest.mark.parametrize(("option", "value"), [(option, value) for option, values in WRONG.items() for value in values])
def test_a_value_out_of_bounds_is_refused_with_its_name(option, value):
    with pytest.raises(ValueError, match=rf"^{option} is "):
        RateLimiter("login", **{**GOOD, option: value})


@pytest.mark.parametrize("name", ["", "a b", "é", "a:b", "{a}", "x" * 101, None, 7, True, b"login"])
def test_a_name_that_could_not_stand_in_a_key_is_refused(name):
    with pytest.raises(ValueError, match=r"^name is "):
        RateLimiter(name, **GOOD)


@pytest.mark.parametrize("algorithm", ["leaky", "", "GCRA", None, 7, [], {}])
def test_an_unknown_algorithm_is_named_beside_the_known_ones_at_construction(algorithm):
    with pytest.raises(NotImplementedError, match="fixed_window, gcra, sliding_log, sliding_window, token_bucket"):
        create_limiter(algorithm, name="login", **GOOD)
    with pytest.raises(NotImplementedError, match="fixed_window, gcra, sliding_log, sliding_window, token_bucket"):
        create_limiter(algorithm)


@pytest.mark.parametrize("algorithm", sorted(LIMITERS))
def test_create_limiter_makes_each_known_one(algorithm):
    assert create_limiter(algorithm, name="login", **GOOD).options["algorithm"] == algorithm
    assert create_limiter(algorithm, **GOOD).acquire("alice").remaining == 9


@pytest.mark.parametrize(
    ("algorithm", "option", "value"),
    [
        *((algorithm, "burst", 10) for algorithm in ("fixed_window", "sliding_log", "sliding_window")),
        *((algorithm, "aligned", True) for algorithm in ("gcra", "sliding_log", "sliding_window", "token_bucket")),
        *((algorithm, "coalesce", True) for algorithm in ("fixed_window", "sliding_log", "sliding_window", "token_bucket")),
        *((algorithm, "lease", Lease()) for algorithm in ("fixed_window", "sliding_log", "sliding_window", "token_bucket")),
    ],
)
def test_an_option_of_another_algorithm_is_refused(algorithm, option, value):
    with pytest.raises(ValueError, match=rf"^{option} is for .*{algorithm}"):
        RateLimiter("login", algorithm, **GOOD, **{option: value})


def test_a_log_keeps_at_most_a_thousand_stamps():
    RateLimiter("login", "sliding_log", 1000, 60)
    with pytest.raises(ValueError, match="limit is 1001; it takes an integer from 1 to 1000"):
        RateLimiter("login", "sliding_log", 1001, 60)


@pytest.mark.parametrize("algorithm", sorted(LIMITERS))
def test_a_hundred_thousand_over_a_day_is_never_too_many(algorithm):
    limit = 1000 if algorithm == "sliding_log" else 100_000
    # Odd periods have no divisor in common with the limit, so the units are as small as they get.
    for period_s in (86_400, 86_399.999999, 86_399.999993):
        RateLimiter("login", algorithm, limit, period_s)


@pytest.mark.parametrize("algorithm", ["gcra", "token_bucket", "sliding_window"])
def test_what_could_not_be_counted_exactly_is_refused(algorithm):
    with pytest.raises(ValueError, match=r"limit is 8999999, too many over 8.64e"):
        RateLimiter("login", algorithm, 8_999_999, 86_400.000001 * 100)


@pytest.mark.parametrize("algorithm", ["gcra", "token_bucket"])
def test_a_burst_that_could_not_be_counted_exactly_is_refused(algorithm):
    with pytest.raises(ValueError, match="burst is 90000000, too many"):
        RateLimiter("login", algorithm, 1, 86_400, 90_000_000)


def test_a_change_is_checked_as_a_whole_and_a_bad_one_changes_nothing():
    limiter = RateLimiter("login", "gcra", 10, 60, 20, store=MemoryStore())
    before = dict(limiter.options)
    with pytest.raises(ValueError, match=r"^burst is for"):
        limiter.configure(algorithm="fixed_window")
    with pytest.raises(ValueError, match=r"^limit is 0"):
        limiter.configure(period_s=30, limit=0)
    with pytest.raises(ValueError, match=r"^limt is no option of a rate limiter; there are limit, period_s"):
        limiter.configure(limt=5)
    with pytest.raises(NotImplementedError):
        limiter.configure(algorithm="leaky")
    assert dict(limiter.options) == before
    limiter.configure(algorithm="fixed_window", burst=None)
    assert limiter.options["algorithm"] == "fixed_window"


def test_the_options_cannot_be_written_through_their_view():
    limiter = RateLimiter("login", **GOOD)
    with pytest.raises(TypeError):
        limiter.options["limit"] = 5  # type: ignore[index]


@pytest.mark.parametrize("cost", [0, -1, True, False, 1.0, 1.5, "1", None, math.nan, math.inf])
@pytest.mark.parametrize("method", ["acquire", "peek", "require"])
def test_a_cost_that_is_no_whole_number_from_one_on_is_refused(method, cost):
    limiter = RateLimiter("login", **GOOD, store=MemoryStore())
    with pytest.raises(ValueError, match=r"^cost is .* it takes an integer of at least 1"):
        getattr(limiter, method)("alice", cost)
    assert limiter.peek("alice").remaining == 10


@pytest.mark.parametrize("key", [None, 7, b"alice", ["alice"], {}, True, ("a",)])
@pytest.mark.parametrize("method", ["acquire", "peek", "require", "reset"])
def test_a_key_that_is_no_text_is_refused(method, key):
    limiter = RateLimiter("login", **GOOD, store=MemoryStore())
    with pytest.raises(ValueError, match=r"^a key is a text, not "):
        getattr(limiter, method)(key)


@pytest.mark.parametrize("key", ["", "a b", "ключ", "}{", "\x00", "\ud800", "x" * 1_000_000, "a:b", "user@example.com"])
def test_any_text_is_a_key_of_its_own(store, clock, key):
    limiter = RateLimiter("login", limit=1, period_s=60, store=store, clock=clock)
    assert limiter.acquire(key)
    assert not limiter.acquire(key)
    assert limiter.acquire(key + "x")
