"""When an open breaker may be probed, a herd arrives: fifty threads in each of four processes, and at most the permits start."""

from __future__ import annotations

import multiprocessing
import threading
from typing import Any

import pytest

from resilience import CircuitBreaker, CircuitOpen, RedisStore
from resilience.redis_client import redis_client
from tests.resilience.circuit_breaker.calling import fail, until

PROCESSES = 4
THREADS = 50
SPAWN = multiprocessing.get_context("spawn")


def stampede(url: str, prefix: str, permits: int, *, started: Any, ready: Any, go: Any, over: Any) -> None:
    """One process: its threads call at once, and no call ends before all have been refused or started."""
    store = RedisStore(url, prefix=prefix, timeout_s=20.0)
    breaker = CircuitBreaker("billing", store=store, half_open_permits=permits, open_s=0.05, flush_s=0.1)
    breaker.refresh()
    gate = threading.Barrier(THREADS + 1)

    def call() -> None:
        gate.wait()
        try:
            permit = breaker.acquire()
        except CircuitOpen:
            refused.release()
            return
        with started.get_lock():
            started.value += 1
        refused.release()
        over.wait(60)
        permit.ignore()

    refused = threading.Semaphore(0)
    threads = [threading.Thread(target=call) for _ in range(THREADS)]
    for thread in threads:
        thread.start()
    ready.release()
    go.wait(60)
    gate.wait()
    for _ in threads:
        refused.acquire(timeout=60)
    ready.release()
    over.wait(60)
    for thread in threads:
        thread.join(60)
    store.close()


def herd(url: str, prefix: str, permits: int) -> int:
    """How many calls started."""
    store = RedisStore(url, prefix=prefix, timeout_s=20.0)
    breaker = CircuitBreaker("billing", store=store, half_open_permits=permits, open_s=0.05, minimum_calls=4)
    fail(breaker, 4)
    breaker.flush()
    assert breaker.measured_state in ("open", "half_open")
    started, ready, go, over = SPAWN.Value("i", 0), SPAWN.Semaphore(0), SPAWN.Event(), SPAWN.Event()
    processes = [
        SPAWN.Process(
            target=stampede,
            args=(url, prefix, permits),
            kwargs={"started": started, "ready": ready, "go": go, "over": over},
            daemon=True,
        )
        for _ in range(PROCESSES)
    ]
    for process in processes:
        process.start()
    try:
        for _ in processes:
            assert ready.acquire(timeout=90)
        go.set()
        for _ in processes:
            assert ready.acquire(timeout=90)
        seen = int(started.value)
        running = breaker.snapshot().probes_running
        over.set()
        for process in processes:
            process.join(60)
            assert process.exitcode == 0
    finally:
        for process in processes:
            process.kill()
        store.close()
    assert running == seen
    return seen


@pytest.mark.timeout(180)
@pytest.mark.parametrize("permits", [1, 3])
def test_at_most_the_permits_start(valkey_url: str, key_prefix: str, permits: int) -> None:
    assert herd(valkey_url, key_prefix, permits) == permits


@pytest.mark.cluster
@pytest.mark.timeout(180)
def test_at_most_the_permits_start_on_a_cluster(cluster_url: str, key_prefix: str) -> None:
    assert herd(cluster_url, key_prefix, 2) == 2


def test_keys_of_a_breaker_share_one_slot_and_have_an_end(valkey_url: str, key_prefix: str) -> None:
    store = RedisStore(valkey_url, prefix=key_prefix, timeout_s=20.0)
    breaker = CircuitBreaker("billing", store=store, minimum_calls=4, open_s=0.001)
    fail(breaker, 4)
    breaker.flush()
    breaker.force_open("a drill")
    breaker.auto()
    until(lambda: breaker.state == "half_open")
    breaker.acquire()
    breaker.force_closed("another")
    with redis_client(valkey_url) as raw:
        keys = {f"{key_prefix}circuit_breaker:{{billing}}:{part}" for part in ("state", "probes", "seen", "force")}
        assert {key for key in keys if raw.pttl(key) > 0} == keys
    store.close()
