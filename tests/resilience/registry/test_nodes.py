"""Who is alive: each process beats, shares of a limit follow the count, a killed one leaves when its lease ends."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from resilience import FakeClock, MemoryStore, RedisStore, StorageUnavailable
from resilience.nodes import TAG, NodeBeat
from resilience.registry import Registry
from resilience.storage import base

LEASE_US = 7_000_000
ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(autouse=True)
def own_count() -> Iterator[None]:
    before = base.live_processes()
    yield
    base.set_live_processes(before)


@pytest.fixture(params=["memory", "redis"])
def store(request: pytest.FixtureRequest) -> Any:
    if request.param == "memory":
        return MemoryStore()
    made = RedisStore(request.getfixturevalue("valkey_url"), prefix=f"nodes{os.getpid()}.{id(request)}:", timeout_s=5.0)
    request.addfinalizer(made.close)
    return made


def beat(store: Any, node: str, now: int, lease_us: int = LEASE_US) -> int:
    return int(store.run("node_beat", TAG, (node, lease_us), now)[0])


def test_each_node_counts_until_its_lease_ends(store: Any) -> None:
    start = 1_700_000_000_000_000
    assert [beat(store, "a", start), beat(store, "b", start + 1), beat(store, "a", start + 2)] == [1, 2, 2]
    assert beat(store, "", start + LEASE_US) == 2
    assert beat(store, "", start + LEASE_US + 1) == 1, "b's lease is over, a's one microsecond is left"
    assert beat(store, "", start + LEASE_US + 2) == 0


def test_whoever_leaves_counts_no_more(store: Any) -> None:
    one, two = NodeBeat(store), NodeBeat(store)
    assert [one.beat(), two.beat()] == [1, 2]
    one.leave()
    assert two.beat() == 1


def test_the_share_of_a_limit_follows_the_count() -> None:
    store = MemoryStore()
    NodeBeat(store).beat()
    NodeBeat(store).beat()
    assert base.live_processes() == 2
    assert base.local_share(9) == 4


class Lost(MemoryStore):
    """A store that is away until it comes back; `asked` is set at each attempt."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = threading.Semaphore(0)
        self.error: Exception | None = StorageUnavailable("node_beat", "refused")

    def attempt(self, op: str, tag: str, args: Any = (), now: int = 0) -> Any:
        try:
            if self.error is not None:
                raise self.error
            return super().run(op, tag, args, now)
        finally:
            self.asked.release()


def test_while_the_store_is_away_the_last_count_holds_and_the_thread_lives() -> None:
    store = Lost()
    base.set_live_processes(5)
    node = NodeBeat(store, beat_s=0.001)
    node.start()
    try:
        for _ in range(3):
            assert store.asked.acquire(timeout=30)
        assert base.live_processes() == 5
        store.error = RuntimeError("a driver's fault")
        for _ in range(3):
            assert store.asked.acquire(timeout=30)
        store.error = None
        for _ in range(3):
            assert store.asked.acquire(timeout=30)
        assert base.live_processes() == 1
    finally:
        node.stop()


def test_a_chore_that_fails_stops_neither_the_beat_nor_the_next_chore() -> None:
    done = threading.Semaphore(0)
    node = NodeBeat(MemoryStore(), beat_s=0.001)

    def fails() -> None:
        raise RuntimeError("a fault of ours")

    node.also(fails)
    node.also(done.release)
    node.start()
    try:
        assert done.acquire(timeout=30)
        assert done.acquire(timeout=30)
    finally:
        node.stop()


CHILD = """
import sys
from resilience import RedisStore
from resilience.nodes import NodeBeat
NodeBeat(RedisStore(sys.argv[1], prefix=sys.argv[2], timeout_s=5.0), lease_s=float(sys.argv[3])).beat()
print("alive", flush=True)
sys.stdin.read()
"""


def test_processes_are_counted_and_a_killed_one_leaves_with_its_lease(valkey_url: str) -> None:
    prefix, long = f"killed{os.getpid()}:", "3600"
    pipes: Any = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "cwd": ROOT}
    children = [
        subprocess.Popen([sys.executable, "-c", CHILD, valkey_url, prefix, lease_s], **pipes) for lease_s in (long, "1800")
    ]
    store = RedisStore(valkey_url, prefix=prefix, timeout_s=5.0)
    try:
        for child in children:
            assert child.stdout is not None
            assert child.stdout.readline() == "alive\n"
        node = NodeBeat(store, lease_s=60.0)
        assert node.beat() == 3
        children[1].kill()
        children[1].wait()
        assert node.beat() == 3, "its lease has not ended"
        # An hour less a minute later, by the clock that is handed in: its lease is over, the other's is not.
        later = time.time_ns() // 1000 + 3_000_000_000
        assert beat(store, "", later) == 1
    finally:
        for child in children:
            child.communicate()
        store.close()


def test_a_forked_child_beats_under_its_own_name() -> None:
    node = NodeBeat(MemoryStore(), beat_s=60.0)
    node.start()
    try:
        before = node.node
        reader, writer = os.pipe()
        with warnings.catch_warnings():
            # Python 3.12 warns of forks beside threads, which is what this is about.
            warnings.simplefilter("ignore", DeprecationWarning)
            pid = os.fork()
        if pid == 0:  # pragma: no cover - in the child
            alive = node._thread is not None and node._thread.is_alive()
            os.write(writer, f"{int(node.node != before)}{int(alive)}".encode())
            os._exit(0)
        os.waitpid(pid, 0)
        assert os.read(reader, 9) == b"11"
        os.close(reader)
        os.close(writer)
    finally:
        node.stop()
    assert before != node.node, "once stopped, a later start is another node"


class Follower:
    def __init__(self) -> None:
        self.calls: list[str] = []

    def start(self) -> None:
        self.calls.append("start")

    def stop(self) -> None:
        self.calls.append("stop")


def test_start_and_stop_happen_once_and_leave_no_thread() -> None:
    follower, store = Follower(), MemoryStore()
    registry = Registry(store=store, clock=FakeClock())
    try:
        registry.start(follower, beat_s=60.0)
        registry.start(follower, beat_s=60.0)
        registry.stop()
        registry.stop()
        assert follower.calls == ["start", "stop"]
        assert "resilience-nodes" not in {thread.name for thread in threading.enumerate()}
        assert NodeBeat(store).beat() == 1, "who stops leaves at once, not when its lease ends"
    finally:
        registry.close()
