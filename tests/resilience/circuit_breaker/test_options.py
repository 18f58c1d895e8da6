"""What a breaker may be told: each mistake is named, and changes nothing."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest

from resilience import CircuitBreaker, FakeClock, MemoryStore, SimpleBreaker
from tests.resilience.circuit_breaker.calling import fail, works

Make = Callable[..., CircuitBreaker]
NO_NUMBERS: list[Any] = [True, "1", None, math.nan, math.inf, -math.inf, -1, 1e300, [], b"1"]
NO_COUNTS: list[Any] = [True, 0, -1, 1.5, "1", math.nan, 10**30]
MISTAKES = [
    *[
        (name, value)
        for name in ("failure_ratio", "window_s", "open_s", "probe_lease_s", "flush_s", "open_backoff")
        for value in NO_NUMBERS
    ],
    *[(name, value) for name in ("slow_call_s", "slow_ratio", "open_max_s") for value in NO_NUMBERS if value is not None],
    *[
        (name, value)
        for name in ("minimum_calls", "half_open_permits", "half_open_failures", "quorum")
        for value in (*NO_COUNTS, None)
    ],
    *[("consecutive", value) for value in NO_COUNTS],
    ("failure_ratio", 0),
    ("failure_ratio", 1.01),
    ("window_s", 0),
    ("open_s", 0),
    ("open_backoff", 0.99),
    ("open_max_s", 29.9),
    ("ignore", "LookupError"),
    ("ignore", (LookupError, 7)),
    ("ignore", None),
    ("failure_if", 7),
    ("shadow", 1),
    ("shadow", None),
]


@pytest.mark.parametrize(("name", "value"), MISTAKES)
def test_a_mistake_is_named_at_construction_and_when_configured(make: Make, name: str, value: Any) -> None:
    with pytest.raises(ValueError, match=rf"^{name} is "):
        make(**{name: value})
    breaker = make()
    before = dict(breaker.options)
    with pytest.raises(ValueError, match=rf"^{name} is "):
        breaker.configure(window_s=5, **{name: value}) if name != "window_s" else breaker.configure(**{name: value})
    assert breaker.options == before


@pytest.mark.parametrize("name", ["", "a b", "ä", "a:b", "{a}", "x" * 101, None, 7, b"a"])
def test_a_name_can_stand_in_a_key(make: Make, name: Any) -> None:
    with pytest.raises(ValueError, match=r"^name is "):
        make(name)


def test_an_unknown_option_is_named(make: Make) -> None:
    with pytest.raises(TypeError):
        make(fail_max=5)
    with pytest.raises(ValueError, match="fail_max is no option"):
        make().configure(fail_max=5)


@pytest.mark.parametrize("option", [{"store": "redis://"}, {"clock": 7}])
def test_a_store_and_a_clock_are_what_they_say(option: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=rf"^{next(iter(option))} is "):
        CircuitBreaker("billing", **option)


def test_the_options_show_what_was_given_and_cannot_be_changed_there(make: Make) -> None:
    breaker = make(ignore=LookupError, slow_call_s=2)
    assert (breaker.options["ignore"], breaker.options["slow_call_s"], breaker.options["quorum"]) == ((LookupError,), 2.0, 2)
    with pytest.raises(TypeError):
        breaker.options["quorum"] = 3  # type: ignore[index]


def test_configured_options_act_on_the_next_call_and_keep_what_is_measured(make: Make, clock: FakeClock) -> None:
    breaker = make(minimum_calls=100)
    fail(breaker, 5)
    breaker.configure(minimum_calls=6, open_s=5)
    assert breaker.state == "closed"
    fail(breaker)
    assert breaker.state == "open"
    assert breaker.snapshot().retry_after_s == 5
    clock.advance(5)
    breaker.configure(half_open_permits=2)
    breaker.call(works)
    assert breaker.state == "half_open"
    breaker.configure(half_open_permits=1)
    breaker.call(works)
    assert breaker.state == "closed"


def test_it_does_nothing_before_it_is_used() -> None:
    breaker = CircuitBreaker("billing")
    assert breaker._core is None
    assert repr(breaker) == "CircuitBreaker('billing')"


@pytest.mark.parametrize("failures", [0, -1, True, 1.5, "5", None])
def test_a_simple_breaker_counts_whole_failures(failures: Any) -> None:
    with pytest.raises(ValueError, match=r"^failures is "):
        SimpleBreaker("billing", failures=failures)


@pytest.mark.parametrize("option", ["consecutive", "minimum_calls", "failure_ratio", "slow_ratio"])
def test_a_simple_breaker_takes_no_ratio(option: str) -> None:
    with pytest.raises(ValueError, match=option):
        SimpleBreaker("billing", **{option: 1}, store=MemoryStore())
