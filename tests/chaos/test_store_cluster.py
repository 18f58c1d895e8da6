"""A cluster that loses a master, moves slots and forgets scripts under load: served again, and counted exactly."""

from __future__ import annotations

import asyncio
import itertools
import signal
import subprocess
import threading
import time
from collections.abc import Iterator

import pytest
import redis

from permsite.launcher import Launcher, Server
from resilience.errors import StorageError, StorageUnavailable
from resilience.storage import MemoryStore
from resilience.storage.failover import FailoverStore
from resilience.storage.redis import RedisStore
from resilience.storage.wire import slot_of
from tests.chaos.store_tools import Load, at, peek, ports_of, take

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(180)]

LIMIT = 100
TIMEOUT_S = 10.0  # what is proved here is the count, not the time


@pytest.fixture(scope="module")
def launcher() -> Iterator[Launcher]:
    with Launcher() as made:
        yield made


@pytest.fixture(scope="module")
def cluster(launcher: Launcher) -> Server:
    """Of our own: it is moved about and flushed."""
    return launcher.cluster()


class Masters:
    """The three masters of a healthy cluster, and what can be done to a slot."""

    def __init__(self, url: str) -> None:
        self.clients = [at(port) for port in ports_of(url)[:3]]
        self.ids = [str(client.execute_command("CLUSTER MYID")) for client in self.clients]

    def owner(self, slot: int) -> int:
        for first, last, (_, port, *_), *_ in self.clients[0].execute_command("CLUSTER SLOTS"):
            if first <= slot <= last:
                return [client.connection_pool.connection_kwargs["port"] for client in self.clients].index(port)
        raise AssertionError(f"nobody serves slot {slot}")

    def begin(self, slot: int, target: int) -> int:
        source = self.owner(slot)
        self.clients[target].execute_command("CLUSTER", "SETSLOT", slot, "IMPORTING", self.ids[source])
        self.clients[source].execute_command("CLUSTER", "SETSLOT", slot, "MIGRATING", self.ids[target])
        return source

    def move_keys(self, slot: int, source: int, target: int) -> None:
        port = self.clients[target].connection_pool.connection_kwargs["port"]
        while keys := self.clients[source].execute_command("CLUSTER", "GETKEYSINSLOT", slot, 100):
            self.clients[source].execute_command("MIGRATE", "127.0.0.1", port, "", 0, 5000, "KEYS", *keys)

    def end(self, slot: int, target: int) -> None:
        for client in (self.clients[target], *self.clients):
            client.execute_command("CLUSTER", "SETSLOT", slot, "NODE", self.ids[target])

    def close(self) -> None:
        for client in self.clients:
            client.close()


@pytest.fixture
def masters(cluster: Server) -> Iterator[Masters]:
    made = Masters(cluster.url)
    yield made
    made.close()


def test_the_mode_is_detected_behind_any_url(cluster: Server) -> None:
    store = RedisStore(f"redis://127.0.0.1:{ports_of(cluster.url)[4]}", timeout_s=TIMEOUT_S)
    assert store.health().mode == "cluster"
    assert [store.run("gcra", f"detected{n}", take(9))[1] for n in range(20)] == [8] * 20
    store.close()


def test_the_count_is_exact_while_the_slot_wanders_under_load(cluster: Server, masters: Masters) -> None:
    """Two stores with maps of their own, threads and a loop; each redirection is followed, and nothing is counted twice."""
    stores = [RedisStore(cluster.url, timeout_s=TIMEOUT_S) for _ in range(2)]
    tag = "wanders"
    slot = slot_of(tag)
    admitted = itertools.count()
    async_admitted: list[int] = []
    stop = threading.Event()

    async def on_a_loop() -> None:
        store = RedisStore(cluster.url, timeout_s=TIMEOUT_S)
        while not stop.is_set():
            replies = await asyncio.gather(*(store.arun("gcra", tag, take(LIMIT * 20)) for _ in range(5)))
            async_admitted.extend(int(reply[0]) for reply in replies)
            await asyncio.sleep(0.002)
        await store.aclose()

    def call(number: int) -> list[int | str]:
        time.sleep(0.002)
        reply = stores[number % 2].run("gcra", tag, take(LIMIT * 20))
        if reply[0]:
            next(admitted)
        return reply

    looping = threading.Thread(target=lambda: asyncio.run(on_a_loop()))
    looping.start()
    with Load(call) as load:
        for target in (1, 2, 0, 1, 0, 2):
            if masters.owner(slot) == target:
                continue
            source = masters.begin(slot, target)
            time.sleep(0.05)
            masters.move_keys(slot, source, target)
            time.sleep(0.05)
            masters.end(slot, target)
            time.sleep(0.05)
    stop.set()
    looping.join(30)
    assert set(load.outcomes) <= {"admitted", "refused"}, load.outcomes
    total = next(admitted) + sum(async_admitted)
    left = int(stores[0].run("gcra", tag, peek(LIMIT * 20))[1])
    assert total == LIMIT * 20 - left, "each admission was counted once, each count admitted somebody"
    assert total > 50, "there was a load"
    for store in stores:
        store.close()


def test_n_of_m_exact_while_the_slot_moves_and_scripts_are_forgotten(cluster: Server, masters: Masters) -> None:
    store = RedisStore(cluster.url, timeout_s=TIMEOUT_S)
    tag = "exact"
    slot = slot_of(tag)
    target = (masters.owner(slot) + 1) % 3

    def call(number: int) -> list[int | str]:
        if number % 2:
            (reply,) = store.run_many([("gcra", tag, take(LIMIT))])
            assert isinstance(reply, list), reply
            return reply
        return store.run("gcra", tag, take(LIMIT))

    with Load(call, threads=8) as load:
        for client in masters.clients:
            client.script_flush()
        source = masters.begin(slot, target)
        masters.move_keys(slot, source, target)
        for client in masters.clients:
            client.script_flush()
        time.sleep(0.02)
        masters.end(slot, target)
        time.sleep(0.05)
    assert load.outcomes["admitted"] == LIMIT
    assert set(load.outcomes) == {"admitted", "refused"}, load.outcomes
    store.close()


def test_several_keys_on_their_way_are_tried_again_and_then_unavailable(cluster: Server, masters: Masters) -> None:
    """An operation on several keys of which some do not exist: between the nodes nobody can run it."""
    store = FailoverStore(RedisStore(cluster.url, timeout_s=TIMEOUT_S), MemoryStore(), probe_s=3600)
    tag = "several"
    slot = slot_of(tag)
    store.run("limiter_reset", tag, ())
    store.run("gcra", tag, take(9))
    target = (masters.owner(slot) + 1) % 3
    masters.begin(slot, target)
    with pytest.raises(StorageUnavailable, match="TRYAGAIN"):
        store.attempt("limiter_reset", tag, ())
    assert not store.is_down, "the other slots are served"
    # On its way for a shorter time than the pauses, it is waited for.
    told: list[object] = []
    calling = threading.Thread(target=lambda: told.append(store.primary.run("limiter_reset", tag, ())))
    calling.start()
    source = masters.owner(slot)
    masters.move_keys(slot, source, target)
    masters.end(slot, target)
    calling.join(20)
    assert told, "it was asked again until the move was over"
    assert store.attempt("gcra", tag, take(9))[1] == 8
    store.close()


def test_a_frozen_node_does_not_stop_the_others(cluster: Server, masters: Masters) -> None:
    store = RedisStore(cluster.url, timeout_s=0.6)  # below the second after which the cluster would replace it
    tags = {masters.owner(slot_of(f"t{n}")): f"t{n}" for n in range(50)}
    for tag in tags.values():
        store.run("gcra", tag, take(9))
    cluster.processes[0].send_signal(signal.SIGSTOP)
    try:
        replies = store.run_many([("gcra", tags[number], take(9)) for number in (0, 1, 2)])
    finally:
        cluster.processes[0].send_signal(signal.SIGCONT)
    assert isinstance(replies[0], StorageError)
    assert [reply[1] for reply in replies[1:]] == [7, 7]  # type: ignore[index]
    store.close()
    _settled(masters)


def _settled(masters: Masters) -> None:
    """The cluster has noticed nothing, or has got over it."""
    for _ in range(500):
        try:
            roles = [client.execute_command("ROLE")[0] for client in masters.clients]
            states = [client.execute_command("CLUSTER INFO")["cluster_state"] for client in masters.clients]
            if set(roles) == {"master"} and set(states) == {"ok"}:
                return
        except redis.RedisError:
            pass
        time.sleep(0.02)


def test_a_killed_master_is_replaced_and_the_store_finds_the_replica(launcher: Launcher) -> None:
    """On a cluster of its own: what is dead stays dead. Threads, a loop and a store with memory behind it."""
    cluster = launcher.cluster()
    masters = Masters(cluster.url)
    tag = next(f"k{n}" for n in range(100) if masters.owner(slot_of(f"k{n}")) == 0)
    store = RedisStore(cluster.url, timeout_s=1)
    over = FailoverStore(RedisStore(cluster.url, timeout_s=1), MemoryStore(), probe_s=0.2)
    assert store.run("gcra", tag, take(1000))[1] == 999
    assert over.run("gcra", tag, take(1000))[1] == 998
    masters.clients[0].execute_command("WAIT", 1, 5000)
    victim: subprocess.Popen[bytes] = cluster.processes[0]
    victim.kill()
    victim.wait(10)
    assert over.run("gcra", tag, take(1000))[0] == 1
    errors = 0
    deadline = time.monotonic() + 60
    while True:
        try:
            left = int(store.run("gcra", tag, take(1000))[1])
            break
        except StorageError:
            errors += 1
            assert time.monotonic() < deadline, "the replica was never found"
            time.sleep(0.05)
    assert errors > 0
    assert 990 <= left <= 998, "the state came with the replica"

    async def on_a_loop() -> int:
        other = RedisStore(cluster.url, timeout_s=1)
        reply = await other.arun("gcra", tag, take(1000))
        await other.aclose()
        return int(reply[1])

    assert asyncio.run(on_a_loop()) == left - 1
    while over.is_down:
        assert time.monotonic() < deadline, "the store behind memory never came back"
        time.sleep(0.05)
    assert int(over.attempt("gcra", tag, take(1000))[1]) < 999
    assert store.health().ok
    masters.close()
    store.close()
    over.close()
