"""Sentinels: the master is whom they name, at each connect anew; after a failover every client and the bus go to the new one."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import redis

from permsite import child
from permsite.launcher import Launcher, Server, _node
from resilience.errors import StorageError
from resilience.redis_bus import RedisBus
from resilience.redis_client import check_connection, connection_info, is_cluster, new_connection, node_client, redis_client
from tests.resilience.clients.test_bus import Listening

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(120)]


@dataclass
class Watched:
    """A master, its replica, and one sentinel whose word is enough."""

    launcher: Launcher
    folder: Path
    server: Server

    def start(self, name: str, *arguments: str) -> int:
        """A server of this program on a free port; taken again should another process have been quicker."""
        for _ in range(20):
            with socket.create_server(("127.0.0.1", 0)) as taken:
                port: int = taken.getsockname()[1]
            home = self.folder / f"{name}-{port}"
            home.mkdir()
            argv = [str(self.launcher.find_redis().path)]
            if name == "sentinel":
                # It writes what it learns into its file.
                (home / "sentinel.conf").write_text(f"port {port}\nbind 127.0.0.1\ndir {home}\n" + "\n".join(arguments) + "\n")
                argv += [str(home / "sentinel.conf"), "--sentinel"]
            else:
                argv += ["--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(home), *arguments]
            process = child.start(argv, cwd=home, log=home / "server.log", death=signal.SIGKILL)
            self.server.processes.append(process)
            with node_client(_node(port), timeout_s=5) as node:
                self.launcher._until(node.ping, process, home / "server.log", name)
                if node.info("server")["process_id"] == self.pid(port):
                    return port
        raise AssertionError("no free port")

    def pid(self, port: int) -> int:
        with node_client(_node(port), timeout_s=5, as_text=True) as node:
            found: int = node.info("server")["process_id"]
        return found


@pytest.fixture
def watched(tmp_path) -> Iterator[tuple[str, Watched, int, int]]:
    with Launcher() as launcher:
        made = Watched(launcher, tmp_path, launcher._keep(Server("", "sentinel", tmp_path)))
        diskless = ("--repl-diskless-sync", "yes", "--repl-diskless-sync-delay", "0")
        master = made.start("master", *diskless)
        replica = made.start("replica", "--replicaof", "127.0.0.1", str(master), *diskless)
        rules = (
            f"sentinel monitor main 127.0.0.1 {master} 1",
            "sentinel down-after-milliseconds main 500",
            "sentinel failover-timeout main 5000",
        )
        sentinel = made.start("sentinel", *rules)
        with node_client(_node(sentinel), timeout_s=5, as_text=True) as asked, node_client(_node(replica), timeout_s=5) as behind:
            log = tmp_path / "none.log"
            process = made.server.processes[-1]
            launcher._until(lambda: behind.info("replication")["master_link_status"] == "up", process, log, "replica")
            launcher._until(lambda: len(asked.execute_command("SENTINEL", "REPLICAS", "main")) == 1, process, log, "sentinel")
        yield f"redis+sentinel://127.0.0.1:1,127.0.0.1:{sentinel}/main/0", made, master, replica


def port_of(client: Any) -> int:
    """Where a client's command arrives."""
    found: int = client.info("server")["tcp_port"]
    return found


def connected(connection: Any) -> bool:
    """A decision's time-out is short for a machine under load, so whoever calls this asks again."""
    connection.connect()
    return True


def said(bus: RedisBus) -> bool:
    bus.publish("news", "after")
    return True


def until(ready: Any) -> Any:
    """Asks again until it is so; the test's own time limit ends what never becomes so."""
    while True:
        try:
            found = ready()
        except (redis.RedisError, StorageError):
            found = None
        if found:
            return found
        threading.Event().wait(0.02)


def test_everyone_finds_the_master_and_after_its_death_the_new_one(watched):
    url, servers, master, replica = watched
    assert is_cluster(url) is False
    report = check_connection(url)
    assert report.ok and report.mode == "sentinel"
    assert connection_info(url)["role"] == "master" and connection_info(url)["url"] == url
    client = redis_client(url)
    assert port_of(client) == master and client.set("a", "before")
    connection = new_connection(url)
    until(lambda: connected(connection))
    assert connection.port == master
    bus, other = RedisBus(url), RedisBus(url)
    heard = Listening(bus, "news")
    other.publish("news", "before")
    assert heard.next() == b"before"

    async def use() -> int:
        async with redis_client(url, asynchronous=True) as asynchronous:
            return int((await asynchronous.info("server"))["tcp_port"])

    assert asyncio.run(use()) == master
    with node_client(_node(master), timeout_s=30) as written:
        written.set("a", "before")
        assert written.wait(1, 20_000) == 1

    os.kill(servers.pid(master), signal.SIGKILL)
    assert until(lambda: port_of(client) == replica)
    assert client.get("a") == b"before" and until(lambda: client.set("a", "after"))
    connection.disconnect()
    until(lambda: connected(connection))
    assert connection.port == replica
    connection.disconnect()
    heard.wait()
    until(lambda: said(other))
    assert heard.next() == b"after"
    assert asyncio.run(use()) == replica and until(lambda: check_connection(url).ok)
    client.close()
    bus.close()
    other.close()


def test_a_master_that_was_deposed_is_left_by_its_clients(watched):
    url, _servers, master, replica = watched
    client = redis_client(url)
    assert port_of(client) == master
    bus, speaker = RedisBus(url), RedisBus(url)
    heard = Listening(bus, "news")
    sentinel = int(url.partition(",127.0.0.1:")[2].partition("/")[0])
    with node_client(_node(sentinel), timeout_s=5, as_text=True) as asked, node_client(_node(master), timeout_s=5) as deposed:
        until(lambda: asked.execute_command("SENTINEL", "FAILOVER", "main"))
        until(lambda: asked.execute_command("SENTINEL", "GET-MASTER-ADDR-BY-NAME", "main")[1] == str(replica))
        deposed.replicaof("127.0.0.1", replica)  # as the sentinel does, after eight seconds of waiting
    with pytest.raises(redis.ConnectionError, match="now a slave"):
        client.set("a", 1)
    # A sentinel names the new one in its list of masters once the replicas follow it, a moment after GET-MASTER-ADDR.
    assert until(lambda: client.set("a", 1)) and port_of(client) == replica
    until(lambda: said(speaker))
    assert heard.next() == b"after"  # also where it listens at the deposed one, which hears its master
    for each in (client, bus, speaker):
        each.close()


def test_a_service_that_no_sentinel_knows_is_an_error(watched):
    url = watched[0].replace("/main/", "/other/")
    report = check_connection(url)
    assert not report.ok and "No master found for 'other'" in report.error
    with redis_client(url) as client, pytest.raises(redis.ConnectionError):
        client.ping()


def test_a_server_that_is_no_sentinel_is_told(valkey_url, proxy):
    report = check_connection(f"redis+sentinel://127.0.0.1:{proxy.port}/main/0")
    assert not report.ok and report.error
