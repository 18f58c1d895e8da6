"""Bulkheads between processes: exact under races, and regained from processes that were killed, frozen or forked."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from resilience.bulkhead import Bulkhead
from resilience.errors import BulkheadFull
from resilience.redis_client import redis_client
from resilience.storage.base import Storage
from resilience.storage.memory import MemoryStore
from resilience.storage.redis import RedisStore
from tests.resilience.bulkhead.crowd import counters
from tests.resilience.lock.puppet import ROOT, puppet

PROCESSES, THREADS = 4, 16


@pytest.fixture(params=["standalone", pytest.param("cluster", marks=pytest.mark.cluster)])
def url(request: pytest.FixtureRequest) -> str:
    return str(request.getfixturevalue("valkey_url" if request.param == "standalone" else "cluster_url"))


@contextmanager
def crowd(url: str, prefix: str, mode: str, *numbers: int) -> Iterator[list[list[int]]]:
    """What each process printed; on leaving they end."""
    argv = [sys.executable, "-m", "tests.resilience.bulkhead.crowd", url, prefix, mode, *map(str, numbers)]
    processes = [
        subprocess.Popen(argv, cwd=ROOT, env={**os.environ}, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(PROCESSES)
    ]
    try:
        for process in processes:
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()
        answers = []
        for process in processes:
            assert process.stdout is not None
            answers.append([int(word) for word in process.stdout.readline().split()])
        yield answers
    finally:
        for process in processes:
            process.kill()
            process.communicate()


@pytest.mark.chaos
@pytest.mark.timeout(120)
def test_of_sixteen_hundred_calls_exactly_the_limit_is_admitted(url: str, key_prefix: str) -> None:
    with crowd(url, key_prefix, "keep", 100, THREADS, 25) as answers:
        assert sum(admitted for admitted, _ in answers) == 100
        assert sum(by_redis for _, by_redis in answers) == 100
        bulkhead = Bulkhead("crowd", 100, store=RedisStore(url, prefix=key_prefix, timeout_s=5))
        assert bulkhead.in_flight == 100
        with pytest.raises(BulkheadFull):
            bulkhead.acquire()


@pytest.mark.chaos
@pytest.mark.timeout(120)
def test_never_more_than_the_limit_are_inside_and_everybody_gets_in(url: str, key_prefix: str) -> None:
    with crowd(url, key_prefix, "pass", 5, THREADS, 5) as answers:
        assert sum(done for done, _ in answers) == PROCESSES * THREADS * 5
        inside, worst = counters(key_prefix)
        with redis_client(url) as client:
            assert int(client.get(inside)) == 0
            assert 1 <= int(client.get(worst)) <= 5
        assert Bulkhead("crowd", 5, store=RedisStore(url, prefix=key_prefix, timeout_s=5)).in_flight == 0


@pytest.mark.chaos
@pytest.mark.timeout(60)
def test_the_permit_of_a_killed_process_comes_back_after_one_lease(valkey_url: str, key_prefix: str) -> None:
    bulkhead = Bulkhead("b", 1, store=RedisStore(valkey_url, prefix=key_prefix, timeout_s=5))
    with puppet(valkey_url, key_prefix) as holder:
        holder.ask("permit", 1, 2.5)
        time.sleep(3)  # longer than its lease: it lives, so it is renewed
        with pytest.raises(BulkheadFull):
            bulkhead.acquire()
        holder.process.kill()
        holder.process.wait()
        ((_, left),) = bulkhead.snapshot().holders
        assert 0 < left <= 2.5
        began = time.monotonic()
        assert bulkhead.acquire(wait_s=30).release()
        assert time.monotonic() - began >= left - 0.1


@pytest.mark.chaos
@pytest.mark.timeout(60)
def test_a_process_frozen_past_its_lease_finds_its_permit_lost(valkey_url: str, key_prefix: str) -> None:
    bulkhead = Bulkhead("b", 1, store=RedisStore(valkey_url, prefix=key_prefix, timeout_s=5))
    with puppet(valkey_url, key_prefix) as holder:
        holder.ask("permit", 1, 0.5)
        holder.process.send_signal(signal.SIGSTOP)
        with bulkhead.acquire(wait_s=30):
            holder.send("permit_state")
            holder.process.send_signal(signal.SIGCONT)
            assert holder.hear() == {"lost": True}
            assert holder.ask("release_permit") is False
            assert bulkhead.in_flight == 1


def in_child(check: Callable[[], None]) -> None:
    child = os.fork()
    if child == 0:
        status = 1
        try:
            check()
            status = 0
        except BaseException:  # noqa: BLE001 - told by the exit status; nothing of the parent's may run on here
            traceback.print_exc()
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


@pytest.fixture(params=["memory", "redis"])
def forked_store(request: pytest.FixtureRequest) -> Storage:
    if request.param == "memory":
        return MemoryStore()
    return RedisStore(request.getfixturevalue("valkey_url"), prefix=request.getfixturevalue("key_prefix"), timeout_s=5)


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")  # from 3.12; what is tested here
def test_a_parents_permit_is_not_the_childs(forked_store: Storage) -> None:
    bulkhead = Bulkhead("b", 1, store=forked_store)
    with bulkhead as permit:

        def check() -> None:
            assert permit.lost
            assert not permit.release()
            # The child may not free its parent's place; its own copy of a memory is its own.
            if forked_store.name == "redis":
                with pytest.raises(BulkheadFull):
                    bulkhead.acquire()
            else:
                assert bulkhead.acquire().release()

        in_child(check)
        assert not permit.lost
        assert bulkhead.in_flight == 1
    assert bulkhead.in_flight == 0
