"""A breaker on memory under a clock that tests move, and listeners for what it says."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from resilience import CircuitBreaker, FakeClock, MemoryStore, RedisStore, telemetry
from resilience.telemetry import Event


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
def make(clock: FakeClock, store: MemoryStore) -> Callable[..., CircuitBreaker]:
    def made(name: str = "billing", **options: Any) -> CircuitBreaker:
        given: dict[str, Any] = {"store": store, "clock": clock, "minimum_calls": 4, **options}
        return CircuitBreaker(name, **given)

    return made


@pytest.fixture
def fleet(valkey_url: str, key_prefix: str, clock: FakeClock) -> Iterator[Callable[..., list[CircuitBreaker]]]:
    """Breakers of one name, each with a store of its own on one server, as so many processes have them."""
    stores: list[RedisStore] = []

    def made(number: int, name: str = "billing", **options: Any) -> list[CircuitBreaker]:
        fresh = [RedisStore(valkey_url, prefix=key_prefix, timeout_s=5.0) for _ in range(number)]
        stores.extend(fresh)
        given: dict[str, Any] = {"clock": clock, "minimum_calls": 4, **options}
        return [CircuitBreaker(name, store=store, **given) for store in fresh]

    yield made
    for store in stores:
        store.close()


@pytest.fixture
def events() -> Iterator[list[Event]]:
    heard: list[Event] = []
    stop = telemetry.subscribe(heard.append, "circuit_breaker.")
    yield heard
    stop()


@pytest.fixture(autouse=True)
def _no_faults() -> Iterator[None]:
    """A fault of our own is kept from callers, and so must be looked for; tests that plant one forget it themselves."""
    telemetry.reset()
    yield
    faults = telemetry.collect()["resilience_internal_errors_total"]
    telemetry.reset()
    assert not faults
