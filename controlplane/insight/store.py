"""What Redis or Valkey says of itself: INFO of one server, or of every master of a cluster added up."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from django.conf import settings
from redis.exceptions import RedisError

from resilience.redis_client import Client, is_cluster, redis_client
from resilience.telemetry import Sample

# Of one command. A store that needs longer is told as down: a decision would not wait for it either.
TIMEOUT_S: Final = 0.2
NO_EVICTION: Final = "noeviction"


@dataclass(frozen=True, slots=True)
class Store:
    """Sums over the masters. `max_bytes`: 0 where a server sets no limit. `policies`: what each does when it is full."""

    server: str
    version: str
    nodes: int
    latency_s: float
    used_bytes: int
    max_bytes: int
    policies: tuple[str, ...]
    clients: int
    replicas: int
    uptime_s: int
    commands: int
    evicted: int
    expired: int
    hits: int
    misses: int

    @property
    def evicts(self) -> bool:
        """Whether one of them drops keys that have not run out. Caches bear it, breakers, limits and locks do not."""
        return self.max_bytes > 0 and any(policy not in (NO_EVICTION, "") for policy in self.policies)


class Looker:
    """Keeps its client between two looks. For several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._client: Client | None = None
        self._url = ""

    def look(self) -> Store | None:
        """None where no store is configured. Raises RedisError, and ValueError for an address that is none."""
        url = settings.REDIS_URL
        if not url:
            return None
        with self._lock:
            if self._client is None or self._url != url:
                self._client, self._url = redis_client(url, timeout_s=TIMEOUT_S), url
            client = self._client
        began_s = time.perf_counter()
        client.ping()
        latency_s = time.perf_counter() - began_s
        return _summed(_infos(client, url), latency_s)


def _infos(client: Client, url: str) -> list[Mapping[str, Any]]:
    if not is_cluster(url, timeout_s=TIMEOUT_S):
        return [client.info()]
    told = client.info(target_nodes="primaries")
    # redis-py gives one node's fields bare, those of several by the node's name.
    return [told] if "redis_version" in told else list(told.values())


def _summed(infos: list[Mapping[str, Any]], latency_s: float) -> Store:
    if not infos:
        raise RedisError("no master of the cluster answers")
    first = infos[0]

    def total(name: str) -> int:
        return sum(int(info.get(name, 0)) for info in infos)

    # A node without a limit makes the sum mean nothing.
    limits = [int(info.get("maxmemory", 0)) for info in infos]
    return Store(
        server="valkey" if "valkey_version" in first else "redis",
        version=str(first.get("valkey_version") or first.get("redis_version") or ""),
        nodes=len(infos),
        latency_s=latency_s,
        used_bytes=total("used_memory"),
        max_bytes=sum(limits) if all(limits) else 0,
        policies=tuple(sorted({str(info.get("maxmemory_policy", "")) for info in infos})),
        clients=total("connected_clients"),
        replicas=total("connected_slaves"),
        uptime_s=min(int(info.get("uptime_in_seconds", 0)) for info in infos),
        commands=total("total_commands_processed"),
        evicted=total("evicted_keys"),
        expired=total("expired_keys"),
        hits=total("keyspace_hits"),
        misses=total("keyspace_misses"),
    )


def samples(store: Store) -> Iterator[Sample]:
    yield "permsite_redis_up", (), 1
    yield "permsite_redis_latency_seconds", (), store.latency_s
    yield "permsite_redis_nodes", (), store.nodes
    yield "permsite_redis_memory_bytes", ("used",), store.used_bytes
    yield "permsite_redis_memory_bytes", ("max",), store.max_bytes
    yield "permsite_redis_clients", (), store.clients
    yield "permsite_redis_replicas", (), store.replicas
    yield "permsite_redis_uptime_seconds", (), store.uptime_s
    yield "permsite_redis_commands_total", (), store.commands
    yield "permsite_redis_evicted_keys_total", (), store.evicted
    yield "permsite_redis_expired_keys_total", (), store.expired
    yield "permsite_redis_keyspace_total", ("hit",), store.hits
    yield "permsite_redis_keyspace_total", ("miss",), store.misses
