"""The load: Debian's wrk, held to one core, sending lines of a file in random order over connections that stay open."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.wire.cores import pinned

SCRIPT = Path(__file__).with_name("draw.lua")
MISSING = "there is no wrk (Debian: apt-get install wrk)"
# Seconds. A slow side is no broken one.
PATIENCE_S = 30
# Seconds that wrk may take beyond the load itself: it opens a thousand connections first, and formats every request.
STARTING_S = 60.0


class LoadError(RuntimeError):
    """wrk ended without telling anything, or an answer was none; the text is what it said."""


@dataclass(frozen=True, slots=True)
class Load:
    """What wrk told of one round. `errors`: kind → how many: answers that were no 2xx or 3xx (status), connections that broke
    (connect, read, write), requests that waited longer than they might (timeout)."""

    requests: int
    took_s: float
    errors: dict[str, int]
    p50_ms: float
    p95_ms: float
    p99_ms: float
    max_ms: float

    @property
    def failed(self) -> int:
        return sum(self.errors.values())

    @property
    def a_second(self) -> float:
        return self.requests / self.took_s

    @property
    def request_ns(self) -> float:
        return self.took_s * 1e9 / max(1, self.requests)


def program() -> str | None:
    return shutil.which("wrk")


def version() -> str:
    """`wrk 4.1.0`. It tells its version beside its usage, and exits with 1."""
    told = subprocess.run([program() or "wrk", "-v"], capture_output=True, text=True, check=False).stdout
    found = re.search(r"(\d+(?:\.\d+)+)", told)
    return f"wrk {found[1]}" if found else "wrk"


def written(path: Path, lines: Iterable[tuple[str, bytes]]) -> Path:
    """A file for `run`: (path of the URL, JSON body) each. A body must hold no line break, and none of ours does."""
    with path.open("wb") as out:
        for where, body in lines:
            out.write(where.encode() + b"\t" + body + b"\n")
    return path


@dataclass(frozen=True, slots=True)
class Order:
    """One round of load. `patience_s`: a request that waits longer is an error. `core` None: held to none."""

    address: str
    file: Path
    seconds: float
    clients: int
    core: int | None = None
    key: str = ""
    seed: int = 1
    patience_s: int = PATIENCE_S

    def argv(self) -> list[str]:
        # wrk takes whole seconds. One thread: it is held to one core anyway.
        told = [
            "-t1",
            f"-c{self.clients}",
            f"-d{max(1, round(self.seconds))}s",
            f"--timeout={self.patience_s}s",
            "-s",
            str(SCRIPT),
        ]
        return pinned(self.core, [program() or "wrk", *told, self.address])

    def environment(self) -> dict[str, str]:
        more = {"LOAD_FILE": str(self.file), "LOAD_SEED": str(self.seed)}
        return {**os.environ, **more, **({"LOAD_KEY": self.key} if self.key else {})}

    def started(self) -> subprocess.Popen[str]:
        """For who does something meanwhile; `finished` waits for it, and whoever starts it ends it."""
        pipe = subprocess.PIPE
        return subprocess.Popen(self.argv(), env=self.environment(), stdout=pipe, stderr=pipe, text=True)

    def finished(self, running: subprocess.Popen[str]) -> Load:
        out, err = running.communicate(timeout=self.seconds + self.patience_s + STARTING_S)
        return read(out, err)

    def run(self) -> Load:
        running = self.started()
        try:
            return self.finished(running)
        finally:
            running.kill()
            running.wait()


def read(out: str, err: str = "") -> Load:
    line = next((line for line in out.splitlines() if line.startswith("LOAD ")), None)
    if line is None:
        raise LoadError(f"wrk told nothing: {out[-500:]} {err[-500:]}")
    told: dict[str, Any] = json.loads(line[5:])
    errors = {name: told[name] for name in ("status", "connect", "read", "write", "timeout") if told[name]}
    ms = {name: told[f"{name}_us"] / 1e3 for name in ("p50", "p95", "p99", "max")}
    return Load(told["requests"], told["took_us"] / 1e6, errors, ms["p50"], ms["p95"], ms["p99"], ms["max"])


def flawless(load: Load, who: str) -> Load:
    """Raises unless every request was answered: errors are quick, so they would look like speed."""
    if load.errors or not load.requests:
        raise LoadError(f"{who}: of {load.requests} requests failed {load.errors or 'all'}")
    return load
