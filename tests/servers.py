"""The servers of one test session: started once, in the process that controls it, and given to every worker.

PostgreSQL first; each worker of xdist clones its own database from one migrated template. A worker has its own standalone Valkey
(Pub/Sub ignores database numbers) and a key prefix on the shared cluster. Nothing here ever looks at DATABASE_URL or REDIS_URL.
"""

from __future__ import annotations

import os
import tempfile
import threading
from concurrent.futures import Future
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import psycopg
import pytest
from django.db import connection, connections
from pytest_django.plugin import blocking_manager_key

from permsite.launcher import Launcher, Server
from tests.settings import TEST_DATABASE

TEMPLATE = "permsite_template"
INPUT = "permsite_servers"  # what the controller tells its workers


class Servers:
    """What this process started, and what its controller told it."""

    def __init__(self, config: pytest.Config) -> None:
        self.notes: list[str] = []
        self.launcher = Launcher(self.notes.append)
        self.told: dict[str, str] = getattr(config, "workerinput", {}).get(INPUT, {})
        self.is_worker = hasattr(config, "workerinput")
        self.worker_id = str(getattr(config, "workerinput", {}).get("workerid", "solo"))
        self.own_database = False
        self._blocker = config.stash[blocking_manager_key]
        self._cluster: Future[Server] | None = None
        self._valkey: Server | None = None
        self._folder = tempfile.TemporaryDirectory(prefix="permsite-tests-")

    def start_database(self, *, with_template: bool) -> None:
        if TEST_DATABASE == "sqlite":
            # A file, since a live server's threads could not share one in memory.
            use_database(NAME="", TEST={"NAME": str(Path(self._folder.name) / "test.sqlite3")})
            return
        if not self.is_worker:
            server = self.launcher.named("TEST_DATABASE_URL")
            self.own_database = server is None
            self.told["database"] = (server or self.launcher.postgres()).url
            self.told["own_database"] = "1" if self.own_database else ""
        self.own_database = bool(self.told["own_database"])
        use_postgres(self.told["database"], template=TEMPLATE if self.told.get("template") else None)
        if with_template:
            # Django's setup is blocked outside of tests by pytest-django; building the template is its own setup.
            with self._blocker.unblock():
                self._build_template()

    def _build_template(self) -> None:
        """Migrates once; a clone of the result takes a tenth of a second."""
        from django.core.management import call_command

        with psycopg.connect(self.told["database"], autocommit=True) as admin:
            admin.execute(f"DROP DATABASE IF EXISTS {TEMPLATE}")
            admin.execute(f"CREATE DATABASE {TEMPLATE}")
        name = connection.settings_dict["NAME"]
        connection.settings_dict["NAME"] = TEMPLATE
        try:
            call_command("migrate", verbosity=0)
        finally:
            # A template with a connection open cannot be cloned.
            connections.close_all()
            connection.settings_dict["NAME"] = name
        self.told["template"] = "1"

    def start_cluster(self) -> None:
        """In a thread, beside the migrations: two seconds of waiting for nodes to agree cost nothing that way."""
        self._cluster = Future()
        future = self._cluster

        def start() -> None:
            try:
                future.set_result(self.launcher.named("TEST_REDIS_CLUSTER_URL") or self.launcher.cluster())
            except Exception as error:  # noqa: BLE001 - it is raised where the cluster is asked for
                future.set_exception(error)

        threading.Thread(target=start, name="start-cluster").start()

    def for_worker(self) -> dict[str, str]:
        self.told["cluster"] = self.cluster_url()
        return self.told

    def cluster_url(self) -> str:
        if "cluster" in self.told:
            return self.told["cluster"]
        if self._cluster is None:
            self.start_cluster()
        assert self._cluster is not None
        return self._cluster.result(timeout=60).url

    def valkey_url(self) -> str:
        if self._valkey is None:
            self._valkey = self.launcher.named("TEST_REDIS_URL") or self.launcher.redis()
        return self._valkey.url

    def close(self) -> None:
        if self._cluster is not None:
            self._cluster.exception(timeout=60)  # a cluster half started would escape
        self.launcher.close()
        self._folder.cleanup()


def use_postgres(url: str, *, template: str | None) -> None:
    parts = urlsplit(url)
    test: dict[str, Any] = {"NAME": "test_permsite", "TEMPLATE": template}
    use_database(
        NAME=unquote(parts.path.lstrip("/")) or "postgres",
        HOST=unquote(parts.hostname or "") if "%2F" not in parts.netloc else unquote(parts.netloc.rpartition("@")[2]),
        PORT=str(parts.port or "") if "%2F" not in parts.netloc else "",
        USER=unquote(parts.username or "postgres"),
        PASSWORD=unquote(parts.password or ""),
        TEST=test,
    )


def use_database(**parameters: Any) -> None:
    """Points Django's one connection elsewhere, in place: its object may exist already."""
    test = parameters.pop("TEST")
    connections.close_all()
    wanted = connections.settings["default"]
    wanted.update(parameters)
    wanted["TEST"].update(test)
    assert os.environ.get("DATABASE_URL") is None
