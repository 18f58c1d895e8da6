"""Servers, databases and people of the tests."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings

from tests.chromium import browser, page  # noqa: F401 - fixtures of the pages' tests
from tests.servers import INPUT, Servers
from tests.settings import TEST_DATABASE

if TYPE_CHECKING:
    from tests.cast import Cast
    from tests.live import LiveServer

# No test is timed: a loaded machine draws slowly, which says nothing about the code.
hypothesis_settings.register_profile("permsite", deadline=None, suppress_health_check=[HealthCheck.too_slow])
hypothesis_settings.load_profile("permsite")

SERVERS = pytest.StashKey[Servers]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--second-database", action="store_true", help="only what is marked both_databases; with TEST_DATABASE=sqlite"
    )
    parser.addoption("--long", action="store_true", help="also what is marked long: make chaos gives it")
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
    servers.start_database(with_template=controls and TEST_DATABASE == "postgresql")


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: object) -> None:
    servers = node.config.stash.get(SERVERS, None)  # type: ignore[attr-defined]  # xdist's object
    if servers is not None:
        node.workerinput[INPUT] = servers.for_worker()  # type: ignore[attr-defined]


def pytest_report_header(config: pytest.Config) -> list[str]:
    servers = config.stash.get(SERVERS, None)
    return [f"database: {TEST_DATABASE}", *(servers.notes if servers else [])]


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    others = set()
    if config.getoption("--second-database"):
        others |= {item for item in items if item.get_closest_marker("both_databases") is None}
    if not config.getoption("--long"):
        others |= {item for item in items if item.get_closest_marker("long") is not None}
    if others:
        config.hook.pytest_deselected(items=[item for item in items if item in others])
        items[:] = [item for item in items if item not in others]


@pytest.fixture(scope="session")
def servers(pytestconfig: pytest.Config) -> Servers:
    return pytestconfig.stash[SERVERS]


@pytest.fixture(scope="session")
def django_db_keepdb(servers: Servers) -> bool:
    """On a server of our own nothing needs dropping: it goes as a whole, and a straggling connection cannot fail the session."""
    return servers.own_database


@pytest.fixture(scope="session")
def django_db_setup(django_db_setup: None) -> None:
    """Each test that commits is followed by a flush. Django's own names of models and permissions, which no test writes, took
    half of it to be emptied and made again; they stay."""
    from django.contrib.contenttypes.management import create_contenttypes
    from django.core.management.commands import flush
    from django.db.models.signals import post_migrate

    def sql_flush(style: Any, connection: Any, reset_sequences: bool = True, allow_cascade: bool = False) -> Any:
        tables = connection.introspection.django_table_names(only_existing=True, include_views=False)
        emptied = [table for table in tables if table not in {"django_content_type", "auth_permission"}]
        return connection.ops.sql_flush(style, emptied, reset_sequences=reset_sequences, allow_cascade=allow_cascade)

    flush.sql_flush = sql_flush  # type: ignore[attr-defined]  # its module imports it by name
    _flush_again_after_deadlock()
    assert post_migrate.disconnect(dispatch_uid="django.contrib.auth.management.create_permissions")
    assert post_migrate.disconnect(create_contenttypes)


def _flush_again_after_deadlock() -> None:
    """What a test gave up may still read on a thread of ours, and hold what the flush wants while it wants what that holds.

    PostgreSQL then ends one of the two, often the flush. The reader is soon through, so the flush gets another turn.
    """
    from django.db import OperationalError
    from django.db.backends.base.operations import BaseDatabaseOperations

    once = BaseDatabaseOperations.execute_sql_flush

    def execute_sql_flush(self: Any, sql_list: list[str]) -> None:
        for left in reversed(range(5)):
            try:
                once(self, sql_list)
            except OperationalError as error:
                if not left or "deadlock" not in str(error):
                    raise
            else:
                return

    BaseDatabaseOperations.execute_sql_flush = execute_sql_flush  # type: ignore[assignment,method-assign]


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


@pytest.fixture(autouse=True)
def _forgetful() -> None:
    """Each test's data are rolled back under the processes' memory: what a test learnt, the next one must not know."""
    from controlplane.health.monitor import monitor
    from permissions import pdp
    from permissions.identity import keys
    from permsite import protection
    from resilience import config, registry, trace
    from resilience.storage.base import local_store

    pdp.reset()
    keys.reset()
    config.LIVE.reset()
    # Left by a request that a test made in this thread; a server's have a context each.
    trace.clear()
    local_store().close()
    # A limiter keeps the store of its first question, which may have been another test's own.
    for rule in (protection.LOGIN_ADDRESS, protection.LOGIN_USER, protection.ADMIN):
        registry.limiter(rule).core._store = None
    # A server that a test ended said so, for this process.
    monitor.is_draining = False


@pytest.fixture(scope="session")
def static_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The static files, collected once a session: a clone's own folder may be stale or missing."""
    from django.core.management import call_command
    from django.test import override_settings

    folder = tmp_path_factory.mktemp("static")
    with override_settings(STATIC_ROOT=folder):
        call_command("collectstatic", interactive=False, verbosity=0)
    return folder


@pytest.fixture
def live_server_asgi(transactional_db: None, static_root: Path, settings: Any, tmp_path: Path) -> Iterator[LiveServer]:
    """The whole site over HTTP, at `.url`; what the test commits, the server sees."""
    from tests import live

    settings.STATIC_ROOT = static_root
    settings.VAR = tmp_path  # the last-known-good configuration of one test must not be the next one's
    server = live.start(settings)
    yield server
    server.stop()


@pytest.fixture
def cast(db: None) -> Cast:
    """alice, bob and charlie in the realm `default`."""
    from tests import cast as people

    return people.assemble()
