"""The adapters of the storage port, one for a module each."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.contract.stores import AsyncAdapter, DeadPrimaryAdapter, FailoverAdapter, MemoryAdapter, RedisAdapter

CLUSTER = pytest.mark.cluster
ADAPTERS = [
    "memory",
    "redis",
    "redis-async",
    pytest.param("cluster", marks=CLUSTER),
    pytest.param("cluster-async", marks=CLUSTER),
    "failover",
    "failover-dead",
]
MADE = {"redis": RedisAdapter, "cluster": RedisAdapter, "redis-async": AsyncAdapter, "cluster-async": AsyncAdapter}


@pytest.fixture(scope="module", params=ADAPTERS)
def adapter(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[MemoryAdapter]:
    name: str = request.param
    made: MemoryAdapter
    if name == "memory":
        made = MemoryAdapter()
    elif name == "failover-dead":
        made = DeadPrimaryAdapter(str(Path(tmp_path_factory.mktemp("dead")) / "nobody.sock"))
    else:
        url = request.getfixturevalue("cluster_url" if "cluster" in name else "valkey_url")
        made = MADE.get(name, FailoverAdapter)(url, f"contract:{uuid.uuid4().hex}:")
    yield made
    made.close()
