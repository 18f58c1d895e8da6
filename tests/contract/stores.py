"""Every adapter of the storage port, driven alike: a call, the deletion of keys, forgetting scripts, times to live."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

import redis

from resilience.laws.keyspace import Reply
from resilience.operations import OPERATIONS
from resilience.redis_client import redis_client
from resilience.storage import MemoryStore
from resilience.storage.failover import FailoverStore
from resilience.storage.redis import RedisStore

# Much longer than a decision waits: here a slow machine must not look like a broken store.
TIMEOUT_S = 10.0


class MemoryAdapter:
    """The laws under the store's lock."""

    def __init__(self) -> None:
        self.memory = MemoryStore(max_keys=1_000_000)
        self.store: Any = self.memory

    def run(self, op: str, tag: str, args: Sequence[int | str], now: int) -> Reply:
        reply: Reply = self.store.run(op, tag, args, now)
        return reply

    def run_many(self, calls: Sequence[tuple[str, str, Sequence[int | str]]], now: int) -> list[Any]:
        replies: list[Any] = self.store.run_many(calls, now)
        return replies

    def key(self, key: str) -> str:
        """A key as this store has it, from one without prefix."""
        return key

    def delete(self, keys: Sequence[str]) -> None:
        for key in keys:
            self.memory._keyspace.delete(key)

    def forget_scripts(self) -> None:
        """Nothing to forget."""

    def ttls_ms(self, written_at: Mapping[str, int]) -> dict[str, int | None]:
        """Milliseconds each key has from when it was written; None for one that is absent, -1 for one without end."""
        values = self.memory._keyspace.values
        return {key: (values[key][1] - at) // 1000 if key in values else None for key, at in written_at.items()}

    def close(self) -> None:
        self.store.close()


class RedisAdapter(MemoryAdapter):
    """One server or a cluster, from a thread."""

    def __init__(self, url: str, prefix: str) -> None:
        self.prefix = prefix
        self.store = RedisStore(url, prefix=prefix, timeout_s=TIMEOUT_S)
        self.raw: Any = redis_client(url)

    def key(self, key: str) -> str:
        return self.prefix + key

    def delete(self, keys: Sequence[str]) -> None:
        for key in keys:
            self.raw.delete(key)

    def forget_scripts(self) -> None:
        native: Any = self.raw.native()
        if isinstance(native, redis.RedisCluster):
            native.execute_command("SCRIPT FLUSH", target_nodes=redis.RedisCluster.PRIMARIES)
        else:
            native.script_flush()

    def ttls_ms(self, written_at: Mapping[str, int]) -> dict[str, int | None]:
        left = {key: int(self.raw.pttl(key)) for key in written_at}
        return {key: None if ms == -2 else ms for key, ms in left.items()}

    def close(self) -> None:
        self.store.close()
        self.raw.close()


class AsyncAdapter(RedisAdapter):
    """The asynchronous twins, on one event loop."""

    def __init__(self, url: str, prefix: str) -> None:
        super().__init__(url, prefix)
        self.runner = asyncio.Runner()

    def run(self, op: str, tag: str, args: Sequence[int | str], now: int) -> Reply:
        return self.runner.run(self.store.arun(op, tag, args, now))

    def run_many(self, calls: Sequence[tuple[str, str, Sequence[int | str]]], now: int) -> list[Any]:
        return self.runner.run(self.store.arun_many(calls, now))

    def close(self) -> None:
        self.runner.run(self.store.aclose())
        self.runner.close()
        self.raw.close()


class FailoverAdapter(RedisAdapter):
    """Redis in front of memory, and well."""

    def __init__(self, url: str, prefix: str) -> None:
        super().__init__(url, prefix)
        self.store = FailoverStore(self.store, MemoryStore())


class DeadPrimaryAdapter(MemoryAdapter):
    """Redis in front of memory, and gone: the first call finds out."""

    def __init__(self, socket: str) -> None:
        super().__init__()
        self.store = FailoverStore(RedisStore(f"unix://{socket}"), self.memory, probe_s=3600)


def keys_of(op: str, tag: str, args: Sequence[int | str]) -> list[str]:
    """The keys of a call, without prefix."""
    return OPERATIONS[op].keys("", tag, args)
