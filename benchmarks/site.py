"""The servers of one run and the database of ours on them: a PostgreSQL and a Valkey of this run alone, ended with it."""

from __future__ import annotations

import os
import secrets
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import psycopg

from permsite.launcher import Launcher, Server


@dataclass
class Site:
    """`environment(redis)` is what a child of ours needs; peers get databases of their own from `database`."""

    launcher: Launcher
    postgres: str
    folder: Path
    versions: dict[str, str] = field(default_factory=dict)
    secret: str = field(default_factory=lambda: secrets.token_hex(32))
    _databases: list[str] = field(default_factory=list)
    _redis: Server | None = None

    def database(self, name: str) -> str:
        """URL of a fresh database on the run's server."""
        name = f"{name}_{os.getpid()}"
        with psycopg.connect(self.postgres, autocommit=True) as admin:
            admin.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
            admin.execute(f"CREATE DATABASE {name}")
        self._databases.append(name)
        return urlunsplit(urlsplit(self.postgres)._replace(path=f"/{name}"))

    @property
    def redis(self) -> str:
        """A server of ours, so that a row may end it; a row that did gets a fresh one."""
        if self._redis is None or self._redis.processes[0].poll() is not None:
            self._redis = self.launcher.redis()
            self.versions["redis"] = self._redis.title
        return self._redis.url

    def end_redis(self) -> None:
        """As a crash ends it."""
        if self._redis is not None:
            self._redis.processes[0].kill()
            self._redis.processes[0].wait()

    def environment(self, database: str, redis: str = "", **more: str) -> dict[str, str]:
        return {
            "DATABASE_URL": database,
            "REDIS_URL": redis,
            "SECRET_KEY": self.secret,
            "PERMSITE_VAR": str(self.folder),
            "DJANGO_SETTINGS_MODULE": "permsite.settings",
            "LOG_LEVEL": "ERROR",
            "PYTHONHASHSEED": "0",
            **more,
        }

    def clean(self) -> None:
        with psycopg.connect(self.postgres, autocommit=True) as admin:
            for name in self._databases:
                admin.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")


@contextmanager
def opened(notes: list[str]) -> Iterator[Site]:
    """Named servers (TEST_DATABASE_URL) are used where the environment names them."""
    with Launcher(notes.append) as launcher, tempfile.TemporaryDirectory(prefix="permsite-bench-") as folder:
        server = launcher.named("TEST_DATABASE_URL") or launcher.postgres()
        site = Site(launcher, server.url, Path(folder))
        with psycopg.connect(server.url) as connection:
            site.versions["postgresql"] = _one(connection, "SHOW server_version")
        try:
            yield site
        finally:
            site.clean()


def _one(connection: psycopg.Connection[Any], query: Any) -> str:
    row = connection.execute(query).fetchone()
    return str(row[0]) if row else ""
