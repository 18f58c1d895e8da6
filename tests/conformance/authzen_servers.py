"""Servers of our own with the AuthZEN worlds in them, for `make certify` and the wire fuzzer."""

from __future__ import annotations

import os
import re
import secrets
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from permsite.launcher import Launcher
from tests.conformance.authzen_player import WORLDS

ROOT: Final = Path(__file__).resolve().parents[2]
# What a child may know of this shell: nothing of its settings, so that no server of anybody else is hit.
KEPT: Final = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "PERMSITE_SERVERS")
LOG: Final = "server.log"


class NotStartedError(RuntimeError):
    """A command of ours failed; the text is what it said."""


@dataclass(frozen=True, slots=True)
class Target:
    """`keys`: of each world, by its name. `pid`: the server's first process; `log`: what it writes; `env`: for commands beside
    it; these are None for one that runs already."""

    title: str
    address: str
    keys: Mapping[str, str]
    pid: int | None = None
    log: Path | None = None
    env: Mapping[str, str] | None = None


def manage(env: Mapping[str, str], *args: str) -> str:
    done = subprocess.run([sys.executable, "manage.py", *args], cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    if done.returncode:
        raise NotStartedError(f"manage.py {' '.join(args)} failed:\n{done.stdout}{done.stderr}")
    return done.stdout.strip()


def environment(folder: Path, **settings: str) -> dict[str, str]:
    kept = {name: os.environ[name] for name in KEPT if name in os.environ}
    return {**kept, "PERMSITE_VAR": str(folder), **settings}


def load(env: Mapping[str, str], worlds: Mapping[str, str]) -> dict[str, str]:
    """Each world into a realm of its own name, as a person does it; its key, by its name."""
    keys = {}
    for world, asserted in worlds.items():
        manage(env, "apply", f"tests/conformance/{world}.yaml", "--realm", world)
        keys[world] = manage(env, "api_key", "create", "certify", "--realm", world, "--asserted", asserted)
    return keys


@contextmanager
def running(env: Mapping[str, str], folder: Path, *command: str, ready: str) -> Iterator[tuple[str, int]]:
    """Address and process of a server of ours; `ready` finds the address in what it prints. It ends with the block."""
    with (folder / LOG).open("w+") as log:
        process = subprocess.Popen(
            [sys.executable, "manage.py", *command], cwd=ROOT, env=env, stdout=subprocess.PIPE, stderr=log, text=True
        )
        try:
            for line in process.stdout or ():
                if found := re.search(ready, line):
                    yield found[1], process.pid
                    break
            else:
                log.seek(0)
                raise NotStartedError(f"manage.py {' '.join(command)} did not start:\n{log.read()}")
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.communicate(timeout=30)
            except subprocess.TimeoutExpired:
                process.kill()
                raise


@contextmanager
def demo(worlds: Mapping[str, str] = WORLDS) -> Iterator[Target]:
    """What `make run` starts. The worlds come while it runs, by commands in processes of their own."""
    with tempfile.TemporaryDirectory(prefix="permsite-authzen-") as name:
        folder = Path(name)
        env = environment(folder)
        with running(env, folder, "demo", "--port", "0", ready=r"site\s+(http://[^/]+)/") as (address, pid):
            yield Target("what `make run` starts", address, load(env, worlds), pid, folder / LOG, env)


@contextmanager
def production(worlds: Mapping[str, str] = WORLDS, *, workers: int = 2) -> Iterator[Target]:
    with Launcher() as launcher, tempfile.TemporaryDirectory(prefix="permsite-authzen-") as name:
        database, store = launcher.postgres(), launcher.redis()
        secret = secrets.token_urlsafe(50)
        env = environment(Path(name), SECRET_KEY=secret, DATABASE_URL=database.url, REDIS_URL=store.url)
        manage(env, "migrate", "--verbosity", "0")
        keys = load(env, worlds)
        command = ("serve", "--port", "0", "--workers", str(workers))
        with running(env, Path(name), *command, ready=r"^Serving (http://\S+) ") as (address, pid):
            title = f"`serve --workers {workers}` on {database.title} and {store.title}"
            yield Target(title, address, keys, pid, Path(name) / LOG, env)
