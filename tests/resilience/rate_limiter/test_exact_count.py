"""Of 1,600 calls from 16 threads in each of 4 processes exactly 100 are admitted: whatever the algorithm, the store, and what
befalls the servers meanwhile."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from permsite.launcher import Launcher
from resilience import MemoryStore, RateLimiter
from resilience.laws.keyspace import Reply
from resilience.operations import LIMITERS, OPERATIONS
from tests.resilience.rate_limiter.disturbing import Slot, again_and_again, node, ports_of
from tests.resilience.rate_limiter.hammer import hammer

LIMIT, PROCESSES, THREADS, CALLS = 100, 4, 16, 25  # calls of a thread
EXACTLY = Counter(allowed=LIMIT, refused=PROCESSES * THREADS * CALLS - LIMIT)

each_algorithm = pytest.mark.parametrize("algorithm", sorted(LIMITERS))


@pytest.fixture(scope="module")
def processes() -> Iterator[list[subprocess.Popen[str]]]:
    """Started once: importing takes longer than the calls."""
    root = Path(__file__).resolve().parents[3]
    command = [sys.executable, "-m", "tests.resilience.rate_limiter.hammer"]
    started = [
        subprocess.Popen(command, cwd=root, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(PROCESSES)
    ]
    yield started
    for process in started:
        process.communicate(timeout=30)


@pytest.fixture
def answers(processes: list[subprocess.Popen[str]], key_prefix: str) -> Callable[[str, str], Counter[str]]:
    def ask(url: str, algorithm: str) -> Counter[str]:
        job = {"url": url, "prefix": key_prefix, "algorithm": algorithm, "limit": LIMIT, "threads": THREADS, "calls": CALLS}
        for process in processes:
            assert process.stdin is not None
            process.stdin.write(json.dumps(job) + "\n")
            process.stdin.flush()
        total: Counter[str] = Counter()
        for process in processes:
            assert process.stdout is not None
            total.update(json.loads(process.stdout.readline()))
        return total

    return ask


@each_algorithm
def test_in_memory(algorithm):
    limiter = RateLimiter("count", algorithm, LIMIT, 86_400, store=MemoryStore())
    assert hammer(limiter, threads=16, calls=100) == EXACTLY


@each_algorithm
def test_on_one_server(algorithm, valkey_url, answers):
    assert answers(valkey_url, algorithm) == EXACTLY


@pytest.mark.cluster
@each_algorithm
def test_on_a_cluster(algorithm, cluster_url, answers):
    assert answers(cluster_url, algorithm) == EXACTLY


@each_algorithm
def test_while_a_server_forgets_its_scripts(algorithm, valkey_url, answers):
    with redis.Redis.from_url(valkey_url) as server:
        with again_and_again(server.script_flush) as wrong:
            told = answers(valkey_url, algorithm)
        assert wrong == []
    assert told == EXACTLY


@pytest.fixture(scope="module")
def own_cluster() -> Iterator[str]:
    """Nobody else's: its slots move."""
    launcher = Launcher()
    yield launcher.cluster().url
    launcher.close()


@pytest.mark.chaos
@pytest.mark.cluster
@pytest.mark.timeout(180)
@each_algorithm
def test_while_a_cluster_forgets_its_scripts(algorithm, own_cluster, answers):
    nodes = [node(port) for port in ports_of(own_cluster)]
    with again_and_again(lambda: [each.script_flush() for each in nodes]) as wrong:
        told = answers(own_cluster, algorithm)
    for each in nodes:
        each.close()
    assert wrong == []
    assert told == EXACTLY


@pytest.mark.chaos
@pytest.mark.cluster
@pytest.mark.timeout(180)
@each_algorithm
def test_while_the_slot_moves_from_master_to_master(algorithm, own_cluster, answers):
    slot = Slot(own_cluster, "count:alice")
    with again_and_again(slot.move) as wrong:
        told = answers(own_cluster, algorithm)
    slot.close()
    assert wrong == []
    assert slot.moves > 0
    assert told == EXACTLY


class NonAtomic:
    """Reads, decides and writes in three steps, as a limiter of GET and SET does."""

    name = "redis"
    prefix = ""

    def __init__(self, threads: int) -> None:
        self.values: dict[str, Any] = {}
        self.local = MemoryStore()
        self.together = threading.Barrier(threads)

    def attempt(self, op: str, tag: str, args: Any = (), now: int = 0) -> Reply:
        mine = dict(self.values)

        class Space:
            def get(self, key: str) -> Any:
                return mine.get(key)

            def set(self, key: str, value: Any, ttl_us: int) -> None:
                mine[key] = value

            def delete(self, key: str) -> None:
                mine.pop(key, None)

            def publish(self, channel: str, message: str) -> None:
                raise AssertionError

        reply = OPERATIONS[op].law(Space(), OPERATIONS[op].keys("", tag, args), args, 1_700_000_000_000_000)
        self.together.wait()
        self.values.update(mine)
        return reply


@each_algorithm
def test_a_limiter_of_get_and_set_is_caught_by_the_count(algorithm):
    limiter = RateLimiter("count", algorithm, 10, 86_400, store=NonAtomic(4), deny_cache=False)  # type: ignore[arg-type]
    assert hammer(limiter, threads=4, calls=10)["allowed"] > 10
