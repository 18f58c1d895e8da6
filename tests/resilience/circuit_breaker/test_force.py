"""A person's word: it goes before what is measured, it says why, it ends, and it changes nothing that is measured."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest

from resilience import CircuitBreaker, CircuitOpen, FakeClock, StorageError, StorageUnavailable
from resilience.telemetry import Event
from tests.resilience.circuit_breaker.calling import admitted, fail, on_a_loop, works

Make = Callable[..., CircuitBreaker]


def test_forced_open_refuses_with_its_reason(make: Make, clock: FakeClock) -> None:
    breaker = make()
    breaker.force_open("the supplier asked us to", until=clock.now_us() / 1e6 + 60, author="alice")
    assert (breaker.state, breaker.measured_state) == ("forced_open", "closed")
    with pytest.raises(CircuitOpen, match="the supplier asked us to") as refused:
        breaker.call(works)
    assert (refused.value.forced, refused.value.reason, refused.value.retry_after_s) == (True, "the supplier asked us to", 60)
    snapshot = breaker.snapshot()
    assert (snapshot.force, snapshot.force_reason, snapshot.force_author) == ("open", "the supplier asked us to", "alice")
    assert snapshot.force_until == clock.now_us() / 1e6 + 60


@pytest.mark.parametrize("to", ["force_open", "force_closed"])
def test_it_ends_at_its_end(make: Make, clock: FakeClock, to: str) -> None:
    breaker = make()
    getattr(breaker, to)("for a minute", until=clock.now_us() / 1e6 + 60)
    clock.advance(59.999999)
    assert breaker.state.startswith("forced")
    clock.advance(0.000001)
    assert breaker.state == "closed"
    assert admitted(breaker)


def test_forced_closed_admits_and_goes_on_measuring(make: Make, clock: FakeClock) -> None:
    breaker = make()
    breaker.force_closed("we know, and want it anyway")
    fail(breaker, 10)
    assert (breaker.state, breaker.measured_state) == ("forced_closed", "open")
    assert breaker.call(works) == 7
    breaker.auto()
    assert breaker.state == "open"
    assert not admitted(breaker)


def test_what_was_measured_before_a_force_is_there_after_it(make: Make, clock: FakeClock) -> None:
    breaker = make()
    fail(breaker, 4)
    breaker.force_open("more reasons", until=clock.now_us() / 1e6 + 10)
    clock.advance(30)
    assert breaker.state == "half_open"
    assert breaker.call(works) == 7


def test_it_is_told_with_who_and_why(make: Make, events: list[Event]) -> None:
    breaker = make()
    breaker.force_closed("calm down", author="alice")
    breaker.auto(reason="all well", author="bob")
    breaker.auto()
    assert [(event.name, event.attributes["reason"], event.attributes["author"]) for event in events] == [
        ("circuit_breaker.forced", "calm down", "alice"),
        ("circuit_breaker.auto", "all well", "bob"),
    ]


@on_a_loop
async def test_it_has_asynchronous_twins(make: Make) -> None:
    breaker = make()
    await breaker.aforce_open("now")
    assert breaker.state == "forced_open"
    await breaker.aforce_closed("no")
    assert breaker.state == "forced_closed"
    await breaker.aauto()
    assert breaker.state == "closed"
    await breaker.areset()


@pytest.mark.parametrize("reason", ["", "   ", None, 7, b"x", "x" * 501])
def test_a_force_needs_a_reason(make: Make, reason: Any) -> None:
    breaker = make()
    with pytest.raises(ValueError, match=r"^reason is "):
        breaker.force_open(reason)
    assert breaker.state == "closed"


@pytest.mark.parametrize("until", [0, -1.0, 1_699_999_999, math.nan, math.inf, True, "tomorrow", 1e300])
def test_an_end_lies_in_the_time_to_come(make: Make, until: Any) -> None:
    breaker = make()
    with pytest.raises(ValueError, match=r"^until is "):
        breaker.force_open("why", until=until)
    assert breaker.state == "closed"


@pytest.mark.parametrize("author", [None, 7, "x" * 501])
def test_an_author_is_a_short_text(make: Make, author: Any) -> None:
    with pytest.raises(ValueError, match=r"^author is "):
        make().force_open("why", author=author)


def test_a_force_that_did_not_reach_the_store_is_an_error(make: Make, store: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    breaker = make()

    def away(*args: Any) -> Any:
        raise StorageUnavailable("breaker_force", "refused")

    monkeypatch.setattr(store, "attempt", away)
    with pytest.raises(StorageError):
        breaker.force_open("why")


def test_a_reset_closes_under_a_new_epoch(make: Make) -> None:
    breaker = make()
    fail(breaker, 4)
    before = breaker.snapshot().epoch
    breaker.reset()
    assert breaker.state == "closed"
    assert breaker.snapshot().epoch > before
    assert breaker.call(works) == 7


def test_a_force_overrides_what_a_process_sees_for_itself(fleet: Any) -> None:
    sick, other, *rest = fleet(11, consecutive=4, minimum_calls=1000)
    for breaker in (sick, other, *rest):
        breaker.call(works)
        breaker.flush()
    fail(sick, 4)
    assert not admitted(sick)
    other.force_closed("carry on")
    sick.refresh()
    assert sick.state == "forced_closed"
    assert sick.call(works) == 7
    other.auto()
    sick.refresh()
    assert sick.state == "open"
