"""Every Redis client and connection is made in one place: read off the syntax trees of our own code.

A second maker would come with the driver's defaults, which wait five seconds and repeat calls that may have run.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

import pytest

from tests.test_architecture import APPS, dotted, modules

MAKERS = ("resilience/connections.py", "resilience/redis_cluster.py")
CLASSES = {
    *("Redis", "StrictRedis", "RedisCluster", "Sentinel", "from_url", "ConnectionPool", "BlockingConnectionPool"),
    *("SentinelConnectionPool", "Connection", "SSLConnection", "UnixDomainSocketConnection", "Valkey", "ValkeyCluster"),
}
DRIVERS = {"redis", "valkey", "aioredis", "channels_redis"}


def makes_a_client(name: str, tree: ast.AST) -> Iterator[int]:
    if name in MAKERS:
        return
    bound: set[str] = set()  # names of this module that are a driver or a part of it
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            bound |= {(alias.asname or alias.name).partition(".")[0] for alias in node.names if _is_driver(alias.name)}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and _is_driver(node.module or ""):
            bound |= {alias.asname or alias.name for alias in node.names}
            if any(alias.name in CLASSES for alias in node.names):
                yield node.lineno
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and node.attr in CLASSES and dotted(node).partition(".")[0] in bound:
            yield node.lineno


def _is_driver(module: str) -> bool:
    return module.partition(".")[0] in DRIVERS


def test_every_client_is_made_in_one_place():
    assert [f"{name}:{line}" for name, tree in modules(*APPS) for line in makes_a_client(name, tree)] == []


@pytest.mark.parametrize(
    "planted",
    [
        "import redis\nredis.Redis()",
        "import redis as r\nr.Redis(host='h')",
        "import redis.asyncio\nredis.asyncio.Redis()",
        "from redis import asyncio as aioredis\naioredis.from_url('redis://h')",
        "from redis.cluster import RedisCluster\nRedisCluster()",
        "from redis.asyncio.connection import ConnectionPool as Pool\nPool()",
        "import redis.sentinel\nkind = redis.sentinel.Sentinel",
        "def late():\n    import redis\n    return redis.from_url('redis://h')",
    ],
)
def test_another_maker_would_be_found(planted):
    assert list(makes_a_client("permissions/x.py", ast.parse(planted)))


@pytest.mark.parametrize(
    "innocent", ["import redis\nredis.RedisError", "from redis.exceptions import TimeoutError", "Redis = 1\nRedis"]
)
def test_what_makes_no_client_is_left_alone(innocent):
    assert not list(makes_a_client("permissions/x.py", ast.parse(innocent)))
