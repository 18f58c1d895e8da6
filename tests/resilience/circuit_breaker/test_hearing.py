"""What one process does, the others hear of: by message at once, by poll where messages do not come."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from resilience import CircuitBreaker, FakeClock, RedisStore, telemetry
from resilience.circuit_breaker import reports
from resilience.clock import SYSTEM
from tests.resilience.circuit_breaker.calling import fail, until, works

Fleet = Callable[..., list[CircuitBreaker]]


@pytest.fixture
def no_poll(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only messages tell."""
    monkeypatch.setattr(reports, "POLL_S", 3600.0)


@pytest.fixture
def deaf(monkeypatch: pytest.MonkeyPatch) -> None:
    """No message comes."""
    monkeypatch.setattr(reports.Reporter, "_heard", lambda *args: None)
    monkeypatch.setattr(reports.Reporter, "_look", lambda *args, **kwargs: None)


@pytest.fixture
def two(fleet: Fleet) -> Iterator[tuple[CircuitBreaker, CircuitBreaker]]:
    """As two processes have it, on the machine's clock."""
    one, other = fleet(2, clock=SYSTEM, open_s=0.5, minimum_calls=5)
    one.call(works)
    other.call(works)
    one.flush()
    other.flush()
    yield one, other


def known(breaker: CircuitBreaker) -> Any:
    """As this process has it, without asking."""
    view = breaker._core.view  # type: ignore[union-attr]
    return view.force or {"C": "closed", "O": "open", "H": "half_open"}.get(view.state)


def test_every_transition_is_heard_without_being_asked_for(two: tuple[CircuitBreaker, CircuitBreaker], no_poll: None) -> None:
    one, other = two
    fail(one, 4)
    until(lambda: known(other) == "open")
    until(lambda: one.state == "half_open")
    probe = one.acquire()
    until(lambda: known(other) == "half_open")
    probe.success()
    until(lambda: known(other) == "closed")
    one.force_open("a drill")
    until(lambda: known(other) == "open")
    one.auto()
    until(lambda: known(other) == "closed")


def test_who_only_looks_hears_as_well(fleet: Fleet, no_poll: None) -> None:
    caller, watcher = fleet(2, clock=SYSTEM)
    caller.call(works)
    assert watcher.state == "closed"
    caller.force_open("a drill")
    until(lambda: watcher.state == "forced_open")


def test_gathered_calls_are_told_without_being_asked_for(two: tuple[CircuitBreaker, CircuitBreaker]) -> None:
    one, other = two
    for _ in range(100):
        one.call(works)
    until(lambda: other.snapshot().calls == 102)


def test_who_hears_nothing_asks_every_two_seconds(two: tuple[CircuitBreaker, CircuitBreaker], deaf: None) -> None:
    one, other = two
    one.force_open("a drill")
    until(lambda: known(other) == "open")


def test_two_seconds_are_the_clocks(fleet: Fleet, clock: FakeClock, deaf: None) -> None:
    one, other = fleet(2)
    one.call(works)
    other.call(works)
    other.flush()
    one.force_open("a drill")
    clock.advance(1.9)
    assert known(other) == "closed"
    clock.advance(0.1)
    assert known(other) == "open"


def test_a_breaker_that_nobody_uses_asks_no_more(fleet: Fleet, clock: FakeClock, deaf: None) -> None:
    [breaker] = fleet(1)
    breaker.call(works)
    clock.advance(120)
    assert known(breaker) is None
    asked = breaker._core.next_sent()  # type: ignore[union-attr]
    clock.advance(3600)
    assert breaker._core.next_sent() == asked + 1  # type: ignore[union-attr]
    assert breaker.call(works) == 7
    assert known(breaker) == "closed"


def test_messages_of_others_on_the_channel_are_theirs(two: tuple[CircuitBreaker, CircuitBreaker]) -> None:
    one, other = two
    bus = one.store.bus
    for message in (
        b"",
        b"{",
        b"[1]",
        b'"circuit_breaker"',
        b'{"type":"circuit_breaker"}',
        b"\xff\xfe",
        b'{"type":7,"name":"billing"}',
    ):
        bus.publish(one.store.channel("resilience:events"), message)
    one.force_open("a drill")
    until(lambda: known(other) == "open")


def test_a_fault_of_one_breaker_silences_no_other(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    faulty, sound = fleet(1, "faulty", clock=SYSTEM)[0], fleet(1, "sound", clock=SYSTEM)[0]
    for breaker in (faulty, sound):
        breaker.call(works)
        breaker.flush()
    told = faulty._core.told  # type: ignore[union-attr]
    monkeypatch.setattr(faulty._core, "told", lambda *args: 1 / 0)
    faults = lambda: telemetry.collect()["resilience_internal_errors_total"]  # noqa: E731
    for number in range(3):
        for breaker in (faulty, sound):
            breaker.call(works)
        until(lambda number=number: sum(faults().values()) > number)  # type: ignore[misc]
    until(lambda: sound.snapshot().calls == 4)
    monkeypatch.setattr(faulty._core, "told", told)
    faulty.call(works)
    until(lambda: faulty.snapshot().calls == 5)
    telemetry.reset()


def test_its_thread_ends_with_the_need(valkey_url: str, key_prefix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reports, "REST_S", 0.05)
    reporter = reports.Reporter()
    store = RedisStore(valkey_url, prefix=key_prefix)
    breaker = CircuitBreaker("billing", store=store)
    breaker.call(works)
    reporter.poll(breaker._core)  # type: ignore[arg-type]
    reporter.wake(breaker._core, 0.0)  # type: ignore[arg-type]
    assert reporter._thread is not None
    with reporter._changed:
        reporter._polled.clear()
    until(lambda: reporter._thread is None)
    store.close()
