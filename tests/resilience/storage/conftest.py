"""A store on the worker's own Valkey, and a way to run its asynchronous side."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
import redis

from resilience.storage.redis import RedisStore

# Far above what a call takes on a loaded machine; what is about time-outs names its own.
TIMEOUT_S = 10.0


@pytest.fixture
def store(valkey_url: str, key_prefix: str) -> Iterator[RedisStore]:
    made = RedisStore(valkey_url, prefix=key_prefix, timeout_s=TIMEOUT_S)
    yield made
    made.close()


@pytest.fixture
def raw(valkey_url: str) -> Iterator[redis.Redis]:
    with redis.Redis(unix_socket_path=valkey_url.removeprefix("unix://"), decode_responses=True) as client:
        yield client


@pytest.fixture
def loop() -> Iterator[Any]:
    with asyncio.Runner() as runner:
        yield runner.run
