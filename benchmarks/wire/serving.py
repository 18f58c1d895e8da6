"""The servers under load: ours as `manage.py serve` starts it, and an empty application on the same configuration of uvicorn.

Each is a child that ends with this process, however this one ends.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from subprocess import Popen

from benchmarks.bench import Bench
from benchmarks.child import ROOT
from benchmarks.wire.cores import pinned
from permsite import child

START_S = 60.0
_ADDRESS = re.compile(r"http://127\.0\.0\.1:\d+")


class ServerError(RuntimeError):
    """A server did not come up; the text is the end of what it said."""


@dataclass(frozen=True, slots=True)
class Served:
    """A server that answers. `key`: what its callers must show, where it wants one."""

    name: str
    address: str
    process: Popen[bytes]
    key: str = ""


@contextmanager
def running(
    name: str,
    argv: Sequence[str],
    folder: Path,
    *,
    core: int | None,
    env: Mapping[str, str] | None = None,
    address: str = "",
    probe: str = "",
    key: str = "",
) -> Iterator[Served]:
    """`address` empty: the server prints it. It is ready once `probe` is answered with 200."""
    log = folder / f"{name}-{os.getpid()}.log"
    log.unlink(missing_ok=True)
    began = time.monotonic()
    # The guard in front of the server takes an absolute path.
    command = pinned(core, argv)
    command[0] = shutil.which(command[0]) or command[0]
    process = child.start(command, cwd=ROOT, log=log, env={**os.environ, **(env or {})})
    try:

        def until(what: Callable[[], str]) -> str:
            while not (found := what()):
                if process.poll() is not None or time.monotonic() - began > START_S:
                    raise ServerError(f"{name} did not come up: {log.read_text(errors='replace')[-1500:]}")
                time.sleep(0.05)
            return found

        at = address or until(lambda: _printed(log))
        if probe:
            until(lambda: _answers(at + probe))
        yield Served(name, at, process, key)
    except Exception as error:
        if said := log.read_text(errors="replace").strip():
            error.add_note(f"{name} said at last: {said[-1500:]}")
        raise
    finally:
        child.stop(process, timeout_s=10.0)


def _printed(log: Path) -> str:
    found = _ADDRESS.search(log.read_text(errors="replace"))
    return found[0] if found else ""


def _answers(url: str) -> str:
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:
            return "yes" if answer.status == 200 else ""
    except (urllib.error.URLError, OSError):
        return ""


@contextmanager
def ours(bench: Bench, realm: str, *, core: int | None, workers: int = 1) -> Iterator[Served]:
    """The site as it is deployed: PostgreSQL and Valkey behind it, a key made by the command."""
    environment = bench.site.environment(bench.database, bench.site.redis)
    argv = [sys.executable, str(ROOT / "manage.py"), "serve", "--port", "0", "--workers", str(workers)]
    key = bench.key(realm)
    with running("permsite", argv, bench.site.folder, core=core, env=environment, probe="/readyz", key=key) as served:
        yield served


@contextmanager
def empty(bench: Bench, *, core: int | None) -> Iterator[Served]:
    argv = [sys.executable, "-m", "benchmarks.sides.empty"]
    environment = bench.site.environment(f"sqlite:///{bench.site.folder}/empty.sqlite3")
    with running("empty", argv, bench.site.folder, core=core, env=environment, probe="/") as served:
        yield served
