"""Of 1,600 calls from 16 threads in each of 4 processes exactly 100 are admitted: whatever the algorithm, the store, and what
befalls the servers meanwhile."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from permsite.launcher import Launcher
from resilience import MemoryStore, RateLimiter
from resilience.laws.keyspace import Reply
from resilience.operations import LIMITERS, OPERATIONS
from tests.resilience.rate_limiter.disturbing import Slot, node, ports_of
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


class Hammers:
    """The four processes, put to one job."""

    def __init__(self, processes: list[subprocess.Popen[str]], prefix: str, end: Path) -> None:
        self.processes, self.prefix, self.end = processes, prefix, end

    def start(self, url: str, algorithm: str, *, endless: bool = False) -> None:
        job: dict[str, Any] = {"url": url, "prefix": self.prefix, "algorithm": algorithm, "limit": LIMIT}
        job |= {"threads": THREADS, "calls": CALLS, "until": str(self.end) if endless else ""}
        for process in self.processes:
            assert process.stdin is not None
            process.stdin.write(json.dumps(job) + "\n")
            process.stdin.flush()

    def answers(self) -> Counter[str]:
        """Ends an endless job."""
        self.end.touch()
        total: Counter[str] = Counter()
        for process in self.processes:
            assert process.stdout is not None
            total.update(json.loads(process.stdout.readline()))
        return total


@pytest.fixture
def hammers(processes: list[subprocess.Popen[str]], key_prefix: str, tmp_path: Path) -> Hammers:
    return Hammers(processes, key_prefix, tmp_path / "end")


def assert_exact(answers: Counter[str]) -> None:
    """After at least as many calls; an error would be a third kind of answer."""
    assert set(answers) == {"allowed", "refused"}
    assert answers["allowed"] == LIMIT
    assert answers["refused"] >= EXACTLY["refused"]


@each_algorithm
def test_in_memory(algorithm):
    limiter = RateLimiter("count", algorithm, LIMIT, 86_400, store=MemoryStore())
    assert hammer(limiter, threads=16, calls=100) == EXACTLY


@each_algorithm
def test_on_one_server(algorithm, valkey_url, hammers):
    hammers.start(valkey_url, algorithm)
    assert hammers.answers() == EXACTLY


@pytest.mark.cluster
@each_algorithm
def test_on_a_cluster(algorithm, cluster_url, hammers):
    hammers.start(cluster_url, algorithm)
    assert hammers.answers() == EXACTLY


@each_algorithm
def test_while_a_server_forgets_its_scripts(algorithm, valkey_url, hammers):
    with redis.Redis.from_url(valkey_url) as server:
        hammers.start(valkey_url, algorithm, endless=True)
        for _ in range(200):
            server.script_flush()
        assert_exact(hammers.answers())


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
def test_while_a_cluster_forgets_its_scripts(algorithm, own_cluster, hammers):
    nodes = [node(port) for port in ports_of(own_cluster)]
    hammers.start(own_cluster, algorithm, endless=True)
    for _ in range(100):
        for each in nodes:
            each.script_flush()
    assert_exact(hammers.answers())
    for each in nodes:
        each.close()


@pytest.mark.chaos
@pytest.mark.cluster
@pytest.mark.timeout(180)
@each_algorithm
def test_while_the_slot_moves_from_master_to_master(algorithm, own_cluster, hammers):
    """Twice, and never back: a redirection that a stalled client still holds would be obeyed by a node that receives the slot
    again, as the protocol has it, and the key would be on two."""
    slot = Slot(own_cluster, "count:alice")
    hammers.start(own_cluster, algorithm, endless=True)
    slot.wait_for_a_key()
    slot.move()
    slot.move()
    assert_exact(hammers.answers())
    slot.close()


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
