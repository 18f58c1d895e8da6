"""Servers, databases and people of the tests."""

from __future__ import annotations

import uuid

import pytest

from tests.servers import INPUT, Servers

SERVERS = pytest.StashKey[Servers]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--no-servers", action="store_true", help="start no database: for tests that touch none (the engine's, the launcher's)"
    )


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("--no-servers") or config.option.collectonly or config.option.help or config.option.version:
        return
    servers = Servers(config)
    config.stash[SERVERS] = servers
    config.add_cleanup(servers.close)
    controls = not servers.is_worker and bool(config.getoption("numprocesses", None))
    if controls:
        servers.start_cluster()
    from django.conf import settings

    servers.start_database(with_template=controls and settings.TEST_DATABASE == "postgresql")


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: object) -> None:
    node.workerinput[INPUT] = node.config.stash[SERVERS].for_worker()  # type: ignore[attr-defined]  # xdist's object


def pytest_report_header(config: pytest.Config) -> list[str]:
    from django.conf import settings

    servers = config.stash.get(SERVERS, None)
    return [f"database: {settings.TEST_DATABASE}", *(servers.notes if servers else [])]


@pytest.fixture(scope="session")
def servers(pytestconfig: pytest.Config) -> Servers:
    return pytestconfig.stash[SERVERS]


@pytest.fixture(scope="session")
def django_db_keepdb(servers: Servers) -> bool:
    """On a server of our own nothing needs dropping: it goes as a whole, and a straggling connection cannot fail the session."""
    return servers.own_database


@pytest.fixture(scope="session")
def valkey_url(servers: Servers) -> str:
    """A standalone Valkey of this worker alone."""
    return servers.valkey_url()


@pytest.fixture(scope="session")
def cluster_url(servers: Servers) -> str:
    """The real cluster, shared by all workers: use `key_prefix`, and flush nothing."""
    return servers.cluster_url()


@pytest.fixture
def key_prefix(servers: Servers) -> str:
    """For every key and channel of one test on a server that others use too."""
    return f"test:{servers.worker_id}:{uuid.uuid4().hex}:"
