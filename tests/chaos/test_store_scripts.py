"""Scripts forgotten and data lost under load: no error, and nobody counted twice."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest
import redis

from permsite.launcher import Launcher, Server
from resilience.storage.redis import RedisStore
from tests.chaos.store_tools import Load, take

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(120)]

LIMIT = 200
ROUNDS = 200


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with Launcher() as launcher:
        yield launcher.redis()


@pytest.fixture
def admin(server: Server) -> Iterator[redis.Redis]:
    with redis.Redis(unix_socket_path=server.url.removeprefix("unix://")) as client:
        yield client


def test_script_flush_under_load_is_noticed_by_nobody(server: Server, admin: redis.Redis) -> None:
    store = RedisStore(server.url, timeout_s=10)

    def call(number: int) -> list[int | str]:
        if number % 2 == 0:
            return store.run("gcra", "flushed", take(LIMIT))
        replies = store.run_many([("gcra", "flushed", take(LIMIT)), ("lock_inspect", "x", ())])
        assert all(isinstance(reply, list) for reply in replies), replies
        return replies[0]  # type: ignore[return-value]  # the assertion above says so

    with Load(call, threads=6) as load:
        for _ in range(ROUNDS):
            admin.script_flush()
    assert load.outcomes["admitted"] == LIMIT
    assert set(load.outcomes) == {"admitted", "refused"}, load.outcomes
    store.close()


def test_script_flush_under_tasks_is_noticed_by_nobody(server: Server, admin: redis.Redis) -> None:
    async def main() -> int:
        store = RedisStore(server.url, timeout_s=10)
        admitted = 0
        for _ in range(ROUNDS // 10):
            singles = [store.arun("gcra", "tasks", take(LIMIT)) for _ in range(8)]
            pipeline = store.arun_many([("gcra", "tasks", take(LIMIT))] * 8)
            flush = asyncio.to_thread(admin.script_flush)
            *replies, many, _ = await asyncio.gather(*singles, pipeline, flush)
            admitted += sum(int(reply[0]) for reply in (*replies, *many))  # type: ignore[misc]
        await store.aclose()
        return admitted

    assert asyncio.run(main()) == LIMIT


def test_lost_data_are_as_if_unused(server: Server, admin: redis.Redis) -> None:
    store = RedisStore(server.url, timeout_s=10)
    for left in (9, 8, 7):
        assert store.run("gcra", "lost", take(10))[1] == left
    fence = store.run("lock_acquire", "lost", ("t", 1_000_000))
    admin.flushall()
    assert store.run("gcra", "lost", take(10))[1] == 9
    assert store.run("lock_acquire", "lost", ("u", 1_000_000))[1] > fence[1], "a fence rises even then"  # type: ignore[operator]
    store.close()
