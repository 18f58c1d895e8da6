"""The stores that limits are counted in, under a clock that a test moves."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from resilience.clock import FakeClock
from resilience.storage.memory import MemoryStore
from resilience.storage.redis import RedisStore

TIMEOUT_S = 10.0  # a loaded machine must not look like a broken store


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture(params=["memory", "redis", pytest.param("cluster", marks=pytest.mark.cluster)])
def store(request: pytest.FixtureRequest) -> Iterator[Any]:
    made: Any
    if request.param == "memory":
        made = MemoryStore()
    else:
        url = request.getfixturevalue("valkey_url" if request.param == "redis" else "cluster_url")
        made = RedisStore(url, prefix=request.getfixturevalue("key_prefix"), timeout_s=TIMEOUT_S)
    yield made
    made.close()
