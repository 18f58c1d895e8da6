"""Clocks, stores and what was told, for the tests of bulkheads."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from resilience import telemetry
from resilience.clock import FakeClock
from resilience.storage import base
from resilience.storage.base import Storage
from resilience.storage.memory import MemoryStore
from resilience.storage.redis import RedisStore
from tests.resilience.lock.faults import FaultyStore


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture(params=["memory", "redis"])
def store(request: pytest.FixtureRequest) -> Iterator[Storage]:
    if request.param == "memory":
        yield MemoryStore()
        return
    # Five seconds: a test may meet a busy machine, and none here is about time-outs.
    redis = RedisStore(request.getfixturevalue("valkey_url"), prefix=request.getfixturevalue("key_prefix"), timeout_s=5)
    yield redis
    redis.close()


@pytest.fixture
def faulty() -> FaultyStore:
    return FaultyStore()


@pytest.fixture
def told() -> Iterator[list[telemetry.Event]]:
    events: list[telemetry.Event] = []
    unsubscribe = telemetry.subscribe(events.append)
    yield events
    unsubscribe()


@pytest.fixture
def four_processes() -> Iterator[None]:
    before = base.live_processes()
    base.set_live_processes(4)
    yield
    base.set_live_processes(before)
