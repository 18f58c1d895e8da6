from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack
from types import SimpleNamespace
from typing import Any

import pytest

from permissions.cache import l2
from permissions.cache import rebuild_lock as subject
from permissions.cache.rebuild_lock import rebuild_lock
from permsite.launcher import Launcher
from resilience.errors import StorageUnavailable
from resilience.lock import DistributedLock, LockFactory
from resilience.redis_client import node_client
from resilience.storage.base import local_store
from resilience.storage.failover import FailoverStore
from resilience.storage.memory import MemoryStore
from resilience.storage.redis import RedisStore

PATIENCE_S = 30.0


@pytest.fixture(autouse=True)
def layer(monkeypatch: pytest.MonkeyPatch) -> Iterator[SimpleNamespace]:
    """A second layer that is up, whatever the settings of the tests say; and a breaker that has seen nothing yet."""
    fake = SimpleNamespace(is_up=True)
    monkeypatch.setattr(l2, "second_layer", lambda: fake)
    subject.breaker().reset()
    yield fake
    subject.breaker().reset()


@pytest.fixture
def store(valkey_url: str) -> Iterator[RedisStore]:
    made = RedisStore(valkey_url, prefix=f"test:{uuid.uuid4().hex}:")
    yield made
    made.close()


def another(store: RedisStore, valkey_url: str) -> RedisStore:
    """As another process has it: connections of its own, the same keys."""
    return RedisStore(valkey_url, prefix=store.prefix)


def is_leased(store: Any, work: str = "table", realm_id: int = 7) -> bool:
    return LockFactory(store).inspect(f"permission_cache.{work}.{realm_id}").held


def test_it_is_held_in_redis_while_the_work_is_done_and_given_back(store: RedisStore) -> None:
    with rebuild_lock(7, store=store) as got:
        assert got is True
        state = LockFactory(store).inspect("permission_cache.table.7")
        assert state.held
        assert 0 < state.expires_in_s <= 5
    assert not is_leased(store)


def test_it_is_given_back_after_an_error_of_the_work_which_leaves_as_it_is(store: RedisStore) -> None:
    with pytest.raises(ArithmeticError, match="the table"), rebuild_lock(7, store=store):
        raise ArithmeticError("the table")
    assert not is_leased(store)
    with rebuild_lock(7, store=store) as got:
        assert got


def test_another_process_waits_a_tenth_of_a_second_and_goes_on_without(store: RedisStore, valkey_url: str) -> None:
    other = LockFactory(another(store, valkey_url)).create("permission_cache.table.7", ttl_s=60, renew=False)
    assert other.acquire()
    began_s = time.monotonic()
    with rebuild_lock(7, store=store) as got:
        assert got is False
        assert time.monotonic() - began_s >= subject.WAIT_S * 0.99
    assert other.held
    assert other.release()


def test_what_is_left_of_the_tenth_after_waiting_for_a_thread_is_all_that_redis_gets(
    store: RedisStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[float] = []
    clock = SimpleNamespace(now_s=100.0)
    monkeypatch.setattr(subject, "time", SimpleNamespace(monotonic=lambda: clock.now_s))

    class Slow:
        def acquire(self, timeout: float) -> bool:
            asked.append(timeout)
            clock.now_s += 0.06
            return True

        def release(self) -> None:
            pass

    monkeypatch.setattr(subject, "_lock_of", lambda name: Slow())
    acquire = DistributedLock.acquire

    def asking(self: DistributedLock, wait_s: float | None = None) -> bool:
        assert wait_s is not None
        asked.append(round(wait_s, 6))
        return acquire(self, wait_s)

    monkeypatch.setattr(DistributedLock, "acquire", asking)
    with rebuild_lock(7, store=store) as got:
        assert got
    assert asked == [0.1, 0.04]


def test_one_that_waited_gets_it_when_the_other_is_done(store: RedisStore, valkey_url: str) -> None:
    other = LockFactory(another(store, valkey_url)).create("permission_cache.table.7", ttl_s=60, renew=False)
    assert other.acquire()
    asked = threading.Event()

    class Watched(RedisStore):
        def attempt(self, op: str, *given: Any, **named: Any) -> Any:
            reply = super().attempt(op, *given, **named)
            if op == "lock_acquire" and not asked.is_set():
                asked.set()
                assert other.release()
            return reply

    watched = Watched(valkey_url, prefix=store.prefix)
    with rebuild_lock(7, store=watched) as got:
        assert asked.is_set()
        assert got is True


def test_two_threads_of_a_process_do_it_one_after_the_other_and_only_one_asks_redis(store: RedisStore) -> None:
    inside, leave, seen = threading.Event(), threading.Event(), []

    def first() -> None:
        with rebuild_lock(7, store=store) as got:
            seen.append(got)
            inside.set()
            assert leave.wait(PATIENCE_S)

    thread = threading.Thread(target=first, daemon=True)
    thread.start()
    assert inside.wait(PATIENCE_S)
    calls: list[str] = []

    class Counted(MemoryStore):
        name = "redis"  # type: ignore[assignment,misc]

        def attempt(self, op: str, *given: Any, **named: Any) -> Any:
            calls.append(op)
            return super().run(op, *given, **named)

    with rebuild_lock(7, store=Counted()) as got:
        assert got is False
    assert calls == []
    leave.set()
    thread.join(PATIENCE_S)
    assert seen == [True]


def test_realms_and_kinds_of_work_do_not_hinder_each_other(store: RedisStore) -> None:
    with (
        rebuild_lock(7, store=store) as one,
        rebuild_lock(8, store=store) as two,
        rebuild_lock(7, "warmup", store=store) as three,
    ):
        assert (one, two, three) == (True, True, True)


def test_a_thread_that_asks_for_what_it_holds_goes_on_without(store: RedisStore) -> None:
    with rebuild_lock(7, store=store), rebuild_lock(7, store=store) as again:
        assert again is False
    assert not is_leased(store)


def test_without_a_second_layer_redis_is_not_asked(store: RedisStore, layer: SimpleNamespace) -> None:
    layer.is_up = False
    with rebuild_lock(7, store=store) as got:
        assert got is False
        assert not is_leased(store)


def test_a_store_that_is_this_process_alone_is_not_asked() -> None:
    memory = MemoryStore()
    with rebuild_lock(7, store=memory) as got:
        assert got is False
        assert not is_leased(memory)


def test_a_lost_store_is_asked_once_and_then_left_alone(store: RedisStore) -> None:
    calls: list[str] = []

    class Lost(MemoryStore):
        name = "redis"  # type: ignore[assignment,misc]

        def attempt(self, op: str, *given: Any, **named: Any) -> Any:
            calls.append(op)
            raise StorageUnavailable(op, "gone")

    lost = Lost()
    for _ in range(50):
        with rebuild_lock(7, store=lost) as got:
            assert got is False
    assert calls == ["lock_acquire"]
    subject.breaker().reset()
    with rebuild_lock(7, store=store) as got:
        assert got is True


def test_a_lease_that_was_lost_during_the_work_is_no_error(store: RedisStore) -> None:
    with rebuild_lock(7, store=store) as got:
        assert got
        LockFactory(store).break_lock("permission_cache.table.7")


@pytest.mark.parametrize("realm_id", [0, -1, True, 1.0, "7", None, float("nan")])
def test_it_refuses_what_is_no_number_of_a_realm(realm_id: Any) -> None:
    with pytest.raises(ValueError, match=r"realm_id is .* it takes the number of a realm"), rebuild_lock(realm_id):
        pass


@pytest.mark.parametrize("work", ["", "tabel", None, "table:x"])
def test_it_refuses_work_it_does_not_know(work: Any) -> None:
    with pytest.raises(ValueError, match="it takes table or warmup"), rebuild_lock(7, work):
        pass


def test_a_forked_child_is_held_up_by_no_thread_of_its_parent(store: RedisStore) -> None:
    local = subject._lock_of("permission_cache.table.7")
    with local, subject._guard:
        child = os.fork()
        if child == 0:
            signal.alarm(int(PATIENCE_S))
            with rebuild_lock(7, store=store) as got:
                os._exit(0 if got else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


@pytest.mark.chaos
@pytest.mark.timeout(120)
@pytest.mark.parametrize("fate", ["killed", "frozen"])
def test_a_server_that_is_lost_costs_one_wait_and_then_nothing(fate: str) -> None:
    with Launcher() as launcher:
        server = launcher.redis()
        with node_client(server.url, timeout_s=5) as node:
            pid = node.info("server")["process_id"]
        store = FailoverStore(RedisStore(server.url), local_store(), probe_s=60)
        with ExitStack() as stack:
            with rebuild_lock(7, store=store) as got:
                assert got is True
            os.kill(pid, signal.SIGKILL if fate == "killed" else signal.SIGSTOP)
            if fate == "frozen":
                stack.callback(os.kill, pid, signal.SIGCONT)
            asked: list[str] = []
            attempt = store.primary.attempt

            def counted(op: str, *given: Any, **named: Any) -> Any:
                asked.append(op)
                return attempt(op, *given, **named)

            store.primary.attempt = counted  # type: ignore[method-assign]
            for _ in range(20):
                with rebuild_lock(7, store=store) as got:
                    assert got is False
            assert asked == ["lock_acquire"]
        store.close()


@pytest.mark.chaos
@pytest.mark.timeout(120)
def test_a_holder_that_is_killed_holds_nobody_up_for_longer_than_the_wait(store: RedisStore, valkey_url: str) -> None:
    script = (
        "import sys, signal\n"
        "from resilience.lock import DistributedLock, LockFactory\n"
        "from resilience.storage.redis import RedisStore\n"
        "locks = LockFactory(RedisStore(sys.argv[1], prefix=sys.argv[2]))\n"
        "lock = locks.create('permission_cache.table.7', ttl_s=5, renew=False)\n"
        "print(lock.acquire(), flush=True)\n"
        "signal.pause()\n"
    )
    with subprocess.Popen([sys.executable, "-c", script, valkey_url, store.prefix], stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "True\n"
        holder.kill()
    with rebuild_lock(7, store=store) as got:
        assert got is False  # the lease lasts, and is not waited for
