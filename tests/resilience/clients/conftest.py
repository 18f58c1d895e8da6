"""Servers of these tests' own, to kill and to freeze, and proxies in front of the shared ones."""

from __future__ import annotations

import multiprocessing
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from permsite.launcher import Launcher, Server, _node
from resilience import telemetry
from resilience.redis_client import check_connection, node_client
from tests.resilience.clients.proxies import Proxy


@pytest.fixture(scope="module")
def launcher() -> Iterator[Launcher]:
    with Launcher() as launched:
        yield launched


@pytest.fixture
def own_cluster() -> Iterator[Server]:
    """For one test: it kills nodes of it."""
    with Launcher() as launched:
        yield launched.cluster()


@pytest.fixture
def proxy(valkey_url: str) -> Iterator[Proxy]:
    with Proxy(valkey_url) as made:
        yield made


@pytest.fixture
def tls_proxy(valkey_url: str) -> Iterator[Proxy]:
    with Proxy(valkey_url, tls=True) as made:
        yield made


@pytest.fixture(scope="module")
def lone_node(launcher: Launcher, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The URL of a cluster of one node. Two seconds, most of it the node's own wait before it says `ok`."""
    folder = tmp_path_factory.mktemp("node")
    server = launcher._keep(Server("", "a cluster of one node", folder))
    port, process = launcher._cluster_node(launcher.find_redis(), folder / "0", server)
    with node_client(_node(port), timeout_s=5) as node:
        node.execute_command("CLUSTER ADDSLOTS", *range(16384))
        launcher._until(lambda: check_connection(_node(port)).ok, process, folder / "0" / "server.log", "node")
    return _node(port)


@pytest.fixture
def cluster_proxy(lone_node: str) -> Iterator[Proxy]:
    """In front of a node that tells its clients the proxy's address as its own."""
    with node_client(lone_node) as node, Proxy(lone_node) as made:
        node.config_set("cluster-announce-port", made.port)
        node.config_set("cluster-announce-ip", "127.0.0.1")
        yield made


def forked(child: Callable[..., None]) -> list[Any]:
    """What a forked child put into the queue that it is called with."""
    context = multiprocessing.get_context("fork")
    answers = context.Queue()
    process = context.Process(target=child, args=(answers,))
    with warnings.catch_warnings():
        # From 3.12 on a fork beside threads warns. That it is survived is what we test.
        warnings.simplefilter("ignore", DeprecationWarning)
        process.start()
    process.join(20)
    assert process.exitcode == 0
    found = [answers.get(timeout=20) for _ in range(answers.qsize())]
    answers.close()
    return found


def counted(name: str, *labels: str) -> float:
    return telemetry.collect()[name].get(labels, 0)
