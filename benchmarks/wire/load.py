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
# Seconds that wrk may take beyond the load itself: it opens a thousand connections first, and formats every request.
STARTING_S = 60.0


class LoadError(RuntimeError):
    """wrk ended without telling anything, or an answer was none; the text is what it said."""


@dataclass(frozen=True, slots=True)
class Load:
    """What wrk told of one round. `errors`: answers that were no 2xx or 3xx, and connections that broke or waited for 2 s."""

    requests: int
    took_s: float
    errors: int
    p50_ms: float
    p95_ms: float
    p99_ms: float
    max_ms: float

    @property
    def a_second(self) -> float:
        return self.requests / self.took_s

    @property
    def request_ns(self) -> float:
        return self.took_s * 1e9 / max(1, self.requests)


def program() -> str | None:
    return shutil.which("wrk")


def version() -> str:
    """`wrk 4.1.0`; it tells its version beside its usage, and exits with 1."""
    told = subprocess.run([program() or "wrk", "-v"], capture_output=True, text=True, check=False).stdout
    found = re.search(r"(\d+(?:\.\d+)+)", told)
    return f"wrk {found[1]}" if found else "wrk"


def written(path: Path, lines: Iterable[tuple[str, bytes]]) -> Path:
    """A file for `run`: (path of the URL, JSON body) each. A body must hold no line break, and none of ours does."""
    with path.open("wb") as out:
        for where, body in lines:
            out.write(where.encode() + b"\t" + body + b"\n")
    return path


def command(address: str, *, seconds: float, clients: int, core: int | None) -> list[str]:
    # wrk takes whole seconds. One thread: it is held to one core anyway.
    told = ["-t1", f"-c{clients}", f"-d{max(1, round(seconds))}s", "-s", str(SCRIPT)]
    return pinned(core, [program() or "wrk", *told, address])


def environment(file: Path, key: str = "", seed: int = 1) -> dict[str, str]:
    more = {"LOAD_FILE": str(file), "LOAD_SEED": str(seed)}
    return {**os.environ, **more, **({"LOAD_KEY": key} if key else {})}


def started(
    address: str, file: Path, *, seconds: float, clients: int, core: int | None, key: str = "", seed: int = 1
) -> subprocess.Popen[str]:
    """For who does something meanwhile; `finished` waits for it, and whoever starts it ends it."""
    return subprocess.Popen(
        command(address, seconds=seconds, clients=clients, core=core),
        env=environment(file, key, seed),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finished(running: subprocess.Popen[str], seconds: float) -> Load:
    out, err = running.communicate(timeout=seconds + STARTING_S)
    return read(out, err)


def run(address: str, file: Path, *, seconds: float, clients: int, core: int | None, key: str = "", seed: int = 1) -> Load:
    running = started(address, file, seconds=seconds, clients=clients, core=core, key=key, seed=seed)
    try:
        return finished(running, seconds)
    finally:
        running.kill()
        running.wait()


def read(out: str, err: str = "") -> Load:
    line = next((line for line in out.splitlines() if line.startswith("LOAD ")), None)
    if line is None:
        raise LoadError(f"wrk told nothing: {out[-500:]} {err[-500:]}")
    told: dict[str, Any] = json.loads(line[5:])
    errors = sum(told[name] for name in ("status", "connect", "read", "write", "timeout"))
    ms = {name: told[f"{name}_us"] / 1e3 for name in ("p50", "p95", "p99", "max")}
    return Load(told["requests"], told["took_us"] / 1e6, errors, ms["p50"], ms["p95"], ms["p99"], ms["max"])


def flawless(load: Load, who: str) -> Load:
    """Raises unless every request was answered: errors are quick, so they would look like speed."""
    if load.errors or not load.requests:
        raise LoadError(f"{who}: {load.errors} of {load.requests} requests failed")
    return load
