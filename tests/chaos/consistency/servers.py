"""Servers of the harness's own, to kill, freeze, restart and put back: PostgreSQL with a copy of its data, Valkey with a dump."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, unquote

import psycopg
import redis

from permsite import child
from permsite.launcher import Launcher, Server

GUARD_ARGUMENTS: Final = 10  # what `child.start` puts in front of a server's own command line
START_S: Final = 60.0


class Postgres:
    """One server. `copy_base` and `put_back` are a backup and its restore: the whole data directory, taken while it is down."""

    def __init__(self, launcher: Launcher) -> None:
        self.server: Server = launcher.postgres()
        assert self.server.folder is not None
        self.folder: Path = self.server.folder
        self.argv = [str(part) for part in self.server.processes[0].args[GUARD_ARGUMENTS:]]  # type: ignore[index]
        self.private = self.folder / "private"
        self.private.mkdir(mode=0o700)
        self.user = "nobody" if os.geteuid() == 0 else None
        if self.user:
            shutil.chown(self.private, self.user)

    def url(self, database: str, *, private: bool = False) -> str:
        return f"postgresql://postgres@{quote(str(self.private if private else self.folder), safe='')}/{database}"

    def admin(self, database: str = "postgres", *, private: bool = False) -> psycopg.Connection[Any]:
        return psycopg.connect(
            host=str(self.private if private else self.folder),
            user="postgres",
            dbname=database,
            autocommit=True,
            connect_timeout=5,
        )

    def stop(self, how: signal.Signals) -> None:
        """SIGINT is "fast" (a checkpoint, then the end), SIGQUIT "immediate" (as a crash)."""
        process = self.server.processes[0]
        process.send_signal(how)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def start(self, *, private: bool = False) -> None:
        argv = list(self.argv)
        if private:
            argv += ["-c", f"unix_socket_directories={self.private}"]
        environment = {"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"}
        log = self.folder / "server.log"
        self.server.processes[0] = child.start(
            argv, cwd=self.folder, log=log, death=signal.SIGQUIT, user=self.user, env=environment
        )
        until(lambda: self._answers(private=private), START_S)

    def _answers(self, *, private: bool) -> bool:
        with contextlib.suppress(psycopg.OperationalError), self.admin(private=private):
            return True
        return False

    def copy_base(self) -> None:
        """While it is down."""
        _copied(self.folder / "data", self.folder / "base")

    def put_back(self) -> None:
        """While it is down. The copy stays and may be put back again."""
        _copied(self.folder / "base", self.folder / "data")


def _copied(source: Path, target: Path) -> None:
    shutil.rmtree(target, ignore_errors=True)
    subprocess.run(["cp", "-a", str(source), str(target)], check=True)


class Valkey:
    """One server on a socket that stays the same, or a cluster. `dump` is what was in it once; `restore` sets that again."""

    def __init__(self, launcher: Launcher, folder: Path, *, kind: str) -> None:
        self.launcher = launcher
        self.folder = folder
        self.kind = kind
        self.server: Server | None = None
        self.old: dict[bytes, tuple[bytes, int]] = {}
        self.url = ""
        if kind == "alone":
            self.start()
        elif kind == "cluster":
            self.server = launcher.cluster()
            self.url = self.server.url
        elif kind == "late":  # named from the start, there later
            self.url = f"unix://{quote(str(folder / 'valkey.sock'))}"

    def start(self) -> None:
        self.server = self.launcher.redis(folder=self.folder)
        self.url = self.server.url

    def kill(self) -> None:
        assert self.server is not None
        process = self.server.processes[0]
        process.kill()
        process.wait()

    @contextlib.contextmanager
    def client(self) -> Iterator[redis.Redis]:
        with redis.Redis(unix_socket_path=unquote(self.url.removeprefix("unix://")), socket_timeout=5) as client:
            yield client

    def dump(self) -> None:
        """Keeps all that is in it now as the old state."""
        with self.client() as client:
            for key in client.scan_iter(count=1000):
                value = client.dump(key)
                if value is not None:
                    self.old[bytes(key)] = (value, max(0, client.pttl(key)))

    def restore(self, share: float = 1.0, choose: Callable[[], float] = lambda: 0.0) -> int:
        """Sets old values over whatever is there: late sets, replays, a dump of last night."""
        number = 0
        with self.client() as client, client.pipeline(transaction=False) as pipe:
            for key, (value, ttl_ms) in list(self.old.items()):
                if choose() <= share:
                    pipe.restore(key, ttl_ms or 3_600_000, value, replace=True)
                    number += 1
            pipe.execute()
        return number


@contextlib.contextmanager
def frozen(pid: int) -> Iterator[None]:
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)


def until(ready: Callable[[], object], timeout_s: float) -> None:
    deadline = time.monotonic() + timeout_s
    while not ready():
        if time.monotonic() > deadline:
            raise TimeoutError(f"not ready after {timeout_s:.0f} s")
        time.sleep(0.01)
