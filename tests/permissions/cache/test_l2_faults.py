"""Real servers that die, freeze, fill up, fail over or were never there: always a miss, never an error, used again by itself."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from permissions.cache.codec_seal import key_of
from permissions.cache.l2 import RedisLayer
from permissions.cache.l2_link import breaker
from permsite.launcher import Launcher, Server
from resilience.redis_client import node_client, redis_client
from tests.permissions.cache.l2_cast import counted, events, head, layer_on, subject
from tests.resilience.clients.conftest import own_cluster  # noqa: F401 - a fixture
from tests.resilience.clients.test_sentinel import watched  # noqa: F401 - a fixture

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(120)]
REFS = [f"user:{number}" for number in range(60)]


@pytest.fixture
def launcher() -> Iterator[Launcher]:
    with Launcher() as launched:
        yield launched


@pytest.fixture
def server(launcher) -> Server:
    return launcher.redis()


def until(ready: Callable[[], object]) -> None:
    """The test's own time limit ends what never becomes so."""
    while not ready():
        threading.Event().wait(0.01)


def pid_of(server: Server) -> int:
    with node_client(server.url, timeout_s=5) as node:
        found: int = node.info("server")["process_id"]
    return found


def again(launcher: Launcher, server: Server) -> None:
    """Another server at the place of one that was killed, with what that had saved."""
    server.processes[0].wait(20)
    assert launcher.redis(folder=server.folder).url == server.url


def stores(layer: RedisLayer, at: Any, ref: str = REFS[0]) -> bool:
    """Writes one and reads it back."""
    layer.put_many(at, "s", [subject(ref)], 99, 5)
    assert layer.writer.settle(30)
    return ref in layer.get_many(at, "s", [ref])


def test_a_server_killed_in_the_middle_is_a_miss_and_used_again_once_it_is_back(settings, launcher, server):
    at = head()
    with layer_on(settings, server.url, quick=True) as layer, events() as told:
        assert stores(layer, at)
        os.kill(pid_of(server), signal.SIGKILL)
        for number in range(200):
            layer.put_many(at, "s", [subject(ref) for ref in REFS], 99, 5)
            assert layer.get_many(at, "s", REFS) == {} and layer.get_model(at) is None
            assert number < 10 or not layer.is_up
        again(launcher, server)
        until(lambda: layer.is_up)
        until(lambda: stores(layer, at))
        assert (told("cache.l2_down"), told("cache.l2_up")) == (1, 1)


def test_a_frozen_server_costs_a_few_time_outs_and_then_nothing(settings, server):
    at = head()
    with layer_on(settings, server.url, timeout_s=0.1, quick=True) as layer:
        until(lambda: stores(layer, at))
        pid = pid_of(server)
        os.kill(pid, signal.SIGSTOP)
        try:
            asked = 0
            while layer.is_up:
                assert layer.get_many(at, "s", REFS) == {}
                asked += 1
            assert asked <= 3
            for _ in range(1_000):
                assert layer.get_many(at, "s", REFS) == {}
        finally:
            os.kill(pid, signal.SIGCONT)
        # Nothing of an unread reply is taken for the answer to another question.
        until(lambda: stores(layer, at, REFS[1]))
        until(lambda: set(layer.get_many(at, "s", REFS)) == set(REFS[:2]))


def test_a_server_absent_from_the_start_is_used_once_it_comes(settings, launcher, server):
    at = head()
    os.kill(pid_of(server), signal.SIGKILL)
    server.processes[0].wait(20)
    with layer_on(settings, server.url, quick=True) as layer:
        before = counted("permission_cache_l2_writes_total", "dropped")
        while layer.is_up:
            assert layer.get_many(at, "s", REFS) == {}
        layer.put_many(at, "s", [subject()], 99, 5)
        assert counted("permission_cache_l2_writes_total", "dropped") == before + 1
        again(launcher, server)
        until(lambda: stores(layer, at))


def test_writes_alone_find_out_that_the_server_is_gone_too(settings, server):
    at = head()
    with layer_on(settings, server.url, quick=True) as layer:
        assert stores(layer, at)
        os.kill(pid_of(server), signal.SIGKILL)
        server.processes[0].wait(20)
        while layer.is_up:
            layer.put_many(at, "s", [subject()], 99, 5)
            assert layer.writer.settle(30)


def test_a_full_server_is_read_on(settings, server):
    at = head()
    with layer_on(settings, server.url) as layer, redis_client(server.url, timeout_s=5) as client:
        assert stores(layer, at)
        client.config_set("maxmemory-policy", "noeviction")
        client.config_set("maxmemory", "1mb")
        while True:
            try:
                client.rpush("ballast", "x" * 100_000)
            except Exception:  # noqa: BLE001 - it is full
                break
        before = counted("permission_cache_l2_writes_total", "failed")
        for _ in range(20):
            assert not stores(layer, at, REFS[1])
        assert counted("permission_cache_l2_writes_total", "failed") == before + 20
        assert layer.is_up and REFS[0] in layer.get_many(at, "s", REFS)


def test_a_server_that_loads_an_old_dump_gives_what_the_dump_held(settings, launcher, server):
    """Killed, and started from the state of long ago: each value says at which revision it was read."""
    at = head()
    with layer_on(settings, server.url, quick=True) as layer:
        layer.put_many(at, "s", [subject(REFS[0], built_rev=3)], 30, 5)
        assert layer.writer.settle(30)
        with redis_client(server.url, timeout_s=5) as client:
            client.save()
        layer.put_many(at, "s", [subject(REFS[0], built_rev=9), subject(REFS[1], built_rev=9)], 90, 5)
        assert layer.writer.settle(30)
        assert {c.built_rev for c in layer.get_many(at, "s", REFS).values()} == {9}
        os.kill(pid_of(server), signal.SIGKILL)
        again(launcher, server)
        until(lambda: layer.get_many(at, "s", REFS))
        found = layer.get_many(at, "s", REFS)
        assert {ref: (c.built_rev, c.stamp) for ref, c in found.items()} == {REFS[0]: (3, 30)}


@pytest.mark.cluster
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP])
def test_a_cluster_that_loses_a_master_is_used_whole_again_after_its_failover(settings, own_cluster, how):  # noqa: F811
    at = head()
    with layer_on(settings, own_cluster.url, timeout_s=1.0, quick=True) as layer:
        until(lambda: _whole(layer, at))
        with redis_client(own_cluster.url, timeout_s=5) as client:
            node = client.get_node_from_key(key_of(at, "s", REFS[0]))
        with node_client(f"redis://127.0.0.1:{node.port}", timeout_s=5) as asked:
            pid = asked.info("server")["process_id"]
        os.kill(pid, how)
        try:
            before = counted("permission_cache_l2_errors_total")
            for _ in range(300):
                assert set(layer.get_many(at, "s", REFS)) <= set(REFS)
                if not layer.is_up:
                    break
            # A few time-outs, until its replica takes over or the breaker opens, whichever is first.
            assert counted("permission_cache_l2_errors_total") - before <= 5
            until(lambda: _whole(layer, at))
            assert breaker().state == "closed"
        finally:
            if how == signal.SIGSTOP:
                os.kill(pid, signal.SIGCONT)


def _whole(layer: RedisLayer, at: Any) -> bool:
    layer.put_many(at, "s", [subject(ref) for ref in REFS], 99, 5)
    assert layer.writer.settle(30)
    return len(layer.get_many(at, "s", REFS)) == len(REFS)


def test_behind_sentinels_the_new_master_is_used_after_the_death_of_the_old(settings, watched):  # noqa: F811
    url, servers, master, _replica = watched
    at = head()
    with layer_on(settings, url, timeout_s=1.0, quick=True) as layer:
        until(lambda: stores(layer, at))
        os.kill(servers.pid(master), signal.SIGKILL)
        for _ in range(100):
            layer.get_many(at, "s", REFS)
        until(lambda: stores(layer, at, REFS[1]))
        assert layer.is_up
