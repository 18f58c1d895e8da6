"""Clients: connected on first use, of the kind the server needs, without the driver's retries, each process with its own."""

from __future__ import annotations

import asyncio
import copy
import logging
import os
import socket
from typing import Any

import pytest
import redis
import redis.asyncio

from permsite.launcher import Launcher
from resilience import connections, redis_client
from resilience.redis_client import AsyncClient, Client, Role, is_cluster, new_connection, node_client, parse
from tests.resilience.clients.conftest import counted, forked
from tests.resilience.clients.proxies import Proxy

pytestmark = pytest.mark.cluster

LOADED_S = 0.5  # where a reply is lost: a decision's 80 ms would make an honest reply on a loaded machine a lost one


@pytest.fixture(autouse=True)
def _forgetful():
    """What one test learnt about an address, the next one must not know."""
    connections._is_cluster.clear()


@pytest.fixture(params=["standalone", "cluster", "a cluster behind redis://"])
def url(request, valkey_url, cluster_url):
    if request.param == "standalone":
        return valkey_url
    address = parse(cluster_url)
    return cluster_url if request.param == "cluster" else str(address.at(*address.hosts[0]))


def test_nothing_is_connected_before_the_first_use(proxy):
    client = redis_client.redis_client(proxy.url)
    AsyncClient(client._maker)
    node_client(proxy.url)
    new_connection(proxy.url)
    assert str(client.address) in repr(client) and hasattr(client, "get") and not hasattr(client, "__wrapped__")
    copy.copy(client)
    assert client.get is not None and client.pipeline is not None
    assert proxy.accepted == 0
    assert client.ping() and proxy.accepted == 2  # one to ask what it is, one of the pool
    client.close()


def test_the_kind_of_client_is_what_the_server_needs(url, key_prefix):
    with redis_client.redis_client(url) as client:
        keys = [f"{key_prefix}{number}" for number in range(20)]
        for key in keys:
            assert client.set(key, key)
        assert [client.get(key) for key in keys] == [key.encode() for key in keys]
        pipeline = client.pipeline()
        for key in keys:
            pipeline.delete(key)
        assert pipeline.execute() == [1] * 20
        expected = redis.Redis if url.startswith("unix") else redis.RedisCluster
        assert isinstance(client.native(), expected) and client.is_cluster() is (expected is redis.RedisCluster)


def test_the_asynchronous_kind_too(url, key_prefix):
    async def use():
        async with redis_client.redis_client(url, asynchronous=True) as client:
            assert type(client.native()).__module__.startswith("redis.asyncio")
        client = redis_client.redis_client(url, asynchronous=True)
        keys = [f"{key_prefix}{number}" for number in range(10)]
        assert all([await client.set(key, 1) for key in keys])
        assert {key.decode() async for key in client.scan_iter(match=f"{key_prefix}*")} == set(keys)
        async with client.pipeline() as pipeline:
            for key in keys:
                pipeline.delete(key)
            assert await pipeline.execute() == [1] * 10
        await client.aclose()
        await client.aclose()

    before = counted("resilience_blocking_calls_total")
    asyncio.run(use())
    assert counted("resilience_blocking_calls_total") == before


def test_an_asynchronous_client_that_is_used_before_it_knows_asks_at_once(url):
    async def use():
        client = redis_client.redis_client(url, asynchronous=True)
        pipeline = client.pipeline()
        pipeline.set(f"{os.getpid()}", 1, px=1)
        assert await pipeline.execute() == [True]
        await client.aclose()

    before = counted("resilience_blocking_calls_total")
    asyncio.run(use())
    assert counted("resilience_blocking_calls_total") == before + 1


def test_several_nodes_without_cluster_mode_are_refused(valkey_url, proxy):
    host = parse(proxy.url).hosts[0]
    with pytest.raises(redis.ConnectionError, match="its cluster mode off"):
        is_cluster(f"redis+cluster://{host[0]}:{host[1]},127.0.0.1:1/", timeout_s=5)
    with redis_client.redis_client(f"redis+cluster://{host[0]}:{host[1]}/") as client:
        assert type(client.native()) is redis.Redis and client.ping()


def test_a_database_is_no_part_of_a_cluster(cluster_url):
    host, port = parse(cluster_url).hosts[0]
    with pytest.raises(redis.ConnectionError, match="the URL names 3"):
        is_cluster(f"redis://{host}:{port}/3", timeout_s=5)


def test_the_first_seed_that_answers_is_enough(cluster_url):
    address = parse(cluster_url)
    with redis_client.redis_client(f"redis+cluster://127.0.0.1:1,{address.hosts[0][0]}:{address.hosts[0][1]}/") as client:
        assert client.ping()


def test_a_failure_is_not_remembered(launcher: Launcher, proxy):
    proxy.is_mute = True
    with redis_client.redis_client(proxy.url, timeout_s=LOADED_S) as client:
        with pytest.raises(redis.TimeoutError):
            client.ping()
        proxy.is_mute = False
        assert client.ping()


def test_silent_seeds_cost_two_time_outs_and_no_more(valkey_url):
    proxies = [Proxy(valkey_url) for _ in range(4)]
    for proxy in proxies:
        proxy.is_mute = True
    with pytest.raises(redis.TimeoutError):
        is_cluster("redis+cluster://" + ",".join(f"127.0.0.1:{proxy.port}" for proxy in proxies), timeout_s=LOADED_S)
    assert sum(proxy.accepted for proxy in proxies) == 2
    for proxy in proxies:
        proxy.close()


def test_a_login_that_may_ask_nothing_is_believed_its_url(launcher):
    server = launcher.redis()
    with node_client(server.url) as admin:
        admin.execute_command("ACL", "SETUSER", "narrow", "on", ">pw", "+ping", "+get", "~*")
    url = server.url.replace("unix://", "unix://narrow:pw@")
    with redis_client.redis_client(url) as client:
        assert client.ping() and client.is_cluster() is False
        with pytest.raises(redis.exceptions.NoPermissionError):
            client.set("a", 1)
    with (
        redis_client.redis_client(server.url.replace("unix://", "unix://narrow:wrong@")) as client,
        pytest.raises(redis.AuthenticationError),
    ):
        client.ping()


def test_a_server_that_became_a_cluster_is_asked_again(cluster_url):
    address = parse(cluster_url)
    node = address.at(*address.hosts[0])
    connections._is_cluster[node] = False  # as it was when the process first asked
    with redis_client.redis_client(node) as client:
        with pytest.raises(redis.exceptions.MovedError):
            for number in range(100):
                client.get(f"k{number}")
        assert [client.get(f"k{number}") for number in range(100)] == [None] * 100


def test_a_cluster_whose_nodes_are_all_gone_raises_the_drivers_own_error():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    url = f"redis+cluster://127.0.0.1:{port}/"
    with redis_client.redis_client(url) as client, pytest.raises(redis.ConnectionError):
        client.get("a")
    connections._is_cluster[parse(url)] = True  # it has been one, and knows it
    with redis_client.redis_client(url) as client, pytest.raises(redis.ConnectionError):
        client.get("a")

    async def use():
        connections._is_cluster[parse(url)] = True
        client = redis_client.redis_client(url, asynchronous=True)
        with pytest.raises(redis.ConnectionError):
            await client.get("a")
        connections._is_cluster[parse(url)] = True
        with pytest.raises(redis.ConnectionError):
            await client.initialize()
        await client.aclose()

    asyncio.run(use())


# Retries.


def test_a_call_whose_reply_is_lost_ran_once(proxy, valkey_url, key_prefix):
    key = f"{key_prefix}count"
    with redis_client.redis_client(proxy.url, timeout_s=LOADED_S) as client, node_client(valkey_url) as server:
        client.ping()
        proxy.is_mute = True
        with pytest.raises(redis.TimeoutError):
            client.incr(key)
        with pytest.raises(redis.TimeoutError):
            client.pipeline(transaction=False).incr(key).execute()
        assert server.get(key) == b"2"


def test_a_call_to_a_cluster_whose_reply_is_lost_ran_once(cluster_proxy):
    with redis_client.redis_client(cluster_proxy.url, timeout_s=LOADED_S) as client:
        assert isinstance(client.native(), redis.RedisCluster) and client.incr("count") == 1
        cluster_proxy.is_mute = True
        with pytest.raises(redis.RedisError):
            client.incr("count")
        cluster_proxy.is_mute = False
        assert client.get("count") == b"2"
        cluster_proxy.is_mute = True
        with pytest.raises(redis.TimeoutError):
            client.pipeline().incr("count").incr("count").execute()
        cluster_proxy.is_mute = False
        assert client.get("count") == b"4"


def test_a_pipeline_follows_a_slot_that_has_moved(cluster_url, key_prefix):
    with redis_client.redis_client(cluster_url) as client:
        keys = [f"{key_prefix}{number}" for number in range(50)]
        slots = client.native().nodes_manager.slots_cache
        _first, *others = client.get_primaries()
        for slot in slots:
            slots[slot] = [others[0]]  # as the client would believe after a reshuffle that it has not heard of
        assert client.pipeline().set(keys[0], 1, px=60_000).get(keys[0]).execute() == [True, b"1"]
        pipeline = client.pipeline()
        for key in keys:
            pipeline.incr(key)
        assert pipeline.execute() == [2, *[1] * 49]
        client.delete(*keys)


@pytest.mark.parametrize("kind", ["standalone", "cluster"])
def test_an_awaited_call_whose_reply_is_lost_ran_once(proxy, cluster_proxy, kind):
    line = proxy if kind == "standalone" else cluster_proxy

    async def use():
        client = redis_client.redis_client(line.url, asynchronous=True, timeout_s=LOADED_S)
        before = int(await client.get("awaited") or 0)
        line.is_mute = True
        with pytest.raises(redis.RedisError):
            await client.incr("awaited")
        line.is_mute = False
        assert int(await client.get("awaited")) == before + 1
        await client.aclose()

    asyncio.run(use())


def test_a_connection_is_not_repaired_behind_our_back(proxy, valkey_url, key_prefix):
    connection = new_connection(proxy.url)
    connection.connect()
    proxy.is_mute = True
    connection.send_command("INCR", f"{key_prefix}n")
    with pytest.raises(redis.TimeoutError):
        connection.read_response()
    connection.disconnect()
    assert proxy.accepted == 1


# Roles and bounds.


def test_each_role_has_its_time_outs(proxy):
    expected: dict[Role, float | None] = {"decision": 0.08, "general": 1.0, "pubsub": None}
    for role, read_s in expected.items():
        with redis_client.redis_client(proxy.url, role=role) as client:
            options = client.native().connection_pool.connection_kwargs
        assert options["socket_timeout"] == read_s and options["socket_connect_timeout"] in {0.08, 1.0}
        assert options["retry"].get_retries() == 0


@pytest.mark.parametrize("timeout_s", [0.049, 0.11, 0, -1, True, "0.08", float("nan"), float("inf"), 10**400, [0.08]])
def test_a_decision_waits_50_to_100_ms_and_nothing_else(timeout_s):
    with pytest.raises(ValueError, match=r"timeout_s is .* it takes 0\.05 to 0\.1 seconds"):
        redis_client.redis_client("redis://h", role="decision", timeout_s=timeout_s)
    with pytest.raises(ValueError, match="timeout_s is"):
        new_connection("redis://h", timeout_s=timeout_s)


@pytest.mark.parametrize("role", ["", "Decision", None, 1])
def test_an_unknown_role_is_refused(role):
    with pytest.raises(ValueError, match="it takes decision, general, pubsub"):
        redis_client.redis_client("redis://h", role=role)


def test_a_connection_leads_to_one_server():
    with pytest.raises(ValueError, match="name a node of the cluster"):
        new_connection("redis+cluster://a:1,b:2/")
    assert new_connection(("h", 7)).port == 7


# Event loops.


def test_a_blocking_call_on_an_event_loop_is_counted_and_told_once(valkey_url, monkeypatch, caplog):
    monkeypatch.setattr(redis_client, "_has_warned", False)
    client = redis_client.redis_client(valkey_url)
    client.ping()

    async def block():
        client.ping()
        client.ping()
        assert await asyncio.to_thread(client.ping)  # where it belongs: another thread

    before = counted("resilience_blocking_calls_total")
    with caplog.at_level(logging.WARNING, "resilience.redis"):
        asyncio.run(block())
    assert counted("resilience_blocking_calls_total") == before + 2
    assert [record.message for record in caplog.records].count(
        "a blocking call to Redis holds up this event loop: use the asynchronous twin"
    ) == 1
    client.close()


# Forks.


def test_a_forked_child_has_connections_of_its_own(url, key_prefix):
    with redis_client.redis_client(url) as client:
        client.set(f"{key_prefix}a", "parent")
        mine = client.client_id() if not client.is_cluster() else None

        def child(answers: Any) -> None:
            answers.put(client._native is None)
            answers.put(client.get(f"{key_prefix}a"))
            answers.put(client.client_id() if mine is not None else "another")

        was_dropped, value, own = forked(child)
        assert was_dropped and value == b"parent" and own != mine
        assert client.get(f"{key_prefix}a") == b"parent"
        assert isinstance(client, Client)
