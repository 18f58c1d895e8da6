"""The last net: the database refuses the write of a holder whose lock has gone to another."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from django.db import connection
from django.test.utils import isolate_apps

from permsite.launcher import Launcher
from resilience.clock import FakeClock
from resilience.errors import LockLost
from resilience.lock import LockFactory, afenced_update, fenced_update
from resilience.storage.memory import MemoryStore
from resilience.storage.redis import RedisStore
from tests.resilience.lock import rows as table
from tests.resilience.lock.puppet import puppet


@contextlib.contextmanager
def made() -> Iterator[Any]:
    with connection.cursor() as cursor:
        cursor.execute(table.CREATE)
    try:
        with isolate_apps("permissions"):
            model = table.row_model("permissions")
        model.objects.create(id=1, value="as it was")
        yield model.objects
    finally:
        with connection.cursor() as cursor:
            cursor.execute(table.DROP)


@pytest.fixture
def rows(db: None) -> Iterator[Any]:
    with made() as manager:
        yield manager


@pytest.fixture
def shared_rows(transactional_db: None) -> Iterator[Any]:
    """Other processes see them."""
    with made() as manager:
        yield manager


def state(rows: Any) -> tuple[str, int]:
    row = rows.get(id=1)
    return row.value, row.fence


def test_a_holder_writes_as_often_as_he_likes(rows: Any, clock: FakeClock) -> None:
    with LockFactory(MemoryStore(), clock).create("job") as lock:
        assert fenced_update(rows.filter(id=1), lock, value="first") == 1
        assert fenced_update(rows.filter(id=1), lock, value="second") == 1
        assert state(rows) == ("second", lock.fence)


def test_the_next_holder_writes_over_the_last(rows: Any, clock: FakeClock) -> None:
    factory = LockFactory(MemoryStore(), clock)
    for value in ("first", "second"):
        with factory.create("job") as lock:
            fenced_update(rows.filter(id=1), lock, value=value)
    assert state(rows)[0] == "second"


def test_two_who_both_believe_are_told_apart_by_the_database(rows: Any, clock: FakeClock) -> None:
    """As after a fail-over that lost the first one's lock: two stores, and neither holder can know."""
    first = LockFactory(MemoryStore(), clock).create("job")
    assert first.acquire()
    clock.advance(1)
    second = LockFactory(MemoryStore(), clock).create("job")
    assert second.acquire()
    fenced_update(rows.filter(id=1), second, value="second")
    assert first.held
    with pytest.raises(LockLost, match="later holder"):
        fenced_update(rows.filter(id=1), first, value="first")
    assert state(rows) == ("second", second.fence)
    fenced_update(rows.filter(id=1), second, value="second again")


def test_a_lock_known_to_be_lost_asks_the_database_nothing(rows: Any, clock: FakeClock, django_assert_num_queries: Any) -> None:
    lock = LockFactory(MemoryStore(), clock).create("job", renew=False)
    with django_assert_num_queries(0), pytest.raises(LockLost):
        fenced_update(rows.filter(id=1), lock, value="never held")
    assert lock.acquire()
    clock.advance(20)
    with django_assert_num_queries(0), pytest.raises(LockLost):
        fenced_update(rows.filter(id=1), lock, value="lost")
    assert state(rows) == ("as it was", 0)


def test_no_row_is_a_loss_and_a_fence_is_no_value(rows: Any, clock: FakeClock) -> None:
    with LockFactory(MemoryStore(), clock).create("job") as lock:
        with pytest.raises(LockLost, match="no such row"):
            fenced_update(rows.filter(id=2), lock, value="x")
        with pytest.raises(ValueError, match="fence"):
            fenced_update(rows.filter(id=1), lock, fence=10**15)
    assert state(rows) == ("as it was", 0)


def test_the_async_twin_does_the_same(shared_rows: Any) -> None:
    async def main() -> None:
        async with LockFactory(MemoryStore()).create_async("job") as lock:
            assert await afenced_update(shared_rows.filter(id=1), lock, value="async") == 1
            with pytest.raises(LockLost, match="no such row"):
                await afenced_update(shared_rows.filter(id=2), lock, value="async")

    asyncio.run(main())
    assert state(shared_rows)[0] == "async"


def database() -> dict[str, Any]:
    names = ("ENGINE", "NAME", "HOST", "PORT", "USER", "PASSWORD")
    return {name: str(connection.settings_dict[name]) for name in names}


@pytest.mark.chaos
@pytest.mark.timeout(60)
def test_a_holder_frozen_between_check_and_statement_is_refused_by_the_database(
    shared_rows: Any, valkey_url: str, key_prefix: str
) -> None:
    factory = LockFactory(RedisStore(valkey_url, prefix=key_prefix, timeout_s=5))
    with puppet(valkey_url, key_prefix, database=database()) as frozen:
        held, low = frozen.ask("lock", 0.5)
        assert held
        assert frozen.ask("update", "frozen one's") == "writing"  # checked, and about to send
        frozen.process.send_signal(signal.SIGSTOP)
        lock = factory.create("job", wait_s=20)
        with lock:
            assert lock.fence is not None
            assert lock.fence > low
            fenced_update(shared_rows.filter(id=1), lock, value="next one's")
        frozen.process.send_signal(signal.SIGCONT)
        answer, why = frozen.ask("go on")
        assert (answer, "later holder" in why) == ("refused", True)
        assert frozen.ask("state") == {"held": False, "lost": True}
        assert frozen.ask("release") is False
    assert state(shared_rows) == ("next one's", lock.fence)


@pytest.mark.chaos
@pytest.mark.timeout(60)
def test_after_a_failover_with_lost_writes_the_database_refuses_the_lower_fence(rows: Any, tmp_path: Path) -> None:
    """A replica, cut off before the lock was taken, is promoted when the primary dies: it knows nothing of the holder."""
    with Launcher() as launcher:
        primary, replica = launcher.redis(), launcher.redis()
        with redis.Redis.from_url(primary.url) as one, redis.Redis.from_url(replica.url) as other:
            link_up(one, other)
            before = LockFactory(RedisStore(primary.url, timeout_s=5)).create("earlier", ttl_s=60)
            assert before.acquire()
            assert one.wait(1, 20_000) == 1  # what was written before the cut is there
            other.replicaof("NO", "ONE")
            first = LockFactory(RedisStore(primary.url, timeout_s=5)).create("job", ttl_s=60)
            assert first.acquire()
            primary.processes[0].kill()
            primary.processes[0].wait()
            promoted = LockFactory(RedisStore(replica.url, timeout_s=5))
            assert promoted.inspect("earlier").held
            second = promoted.create("job")
            assert second.acquire()
            assert first.held
            assert second.held
            fenced_update(rows.filter(id=1), second, value="second")
            with pytest.raises(LockLost, match="later holder"):
                fenced_update(rows.filter(id=1), first, value="first")
            assert state(rows) == ("second", second.fence)


def link_up(primary: Any, replica: Any) -> None:
    """Until the replica is in step. Servers of the launcher have no port: the primary is given one."""
    for _ in range(50):
        port = free_port()
        with contextlib.suppress(redis.ResponseError):
            primary.config_set("port", port)
            break
    primary.config_set("repl-diskless-sync-delay", 0)
    replica.replicaof("127.0.0.1", port)
    for _ in range(4000):
        if replica.info("replication").get("master_link_status") == "up":
            return
        threading.Event().wait(0.005)
    raise AssertionError("the replica was not in step")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
