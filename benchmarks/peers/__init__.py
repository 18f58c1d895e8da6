"""Other people's libraries, installed for one run and measured beside ours. One that cannot be had is left out, and named."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.metadata import Distribution, distributions, version
from pathlib import Path

REQUIREMENTS = Path(__file__).with_name("requirements.txt")
FOLDER = Path(__file__).resolve().parent.parent.parent / "var" / "peers"


def install(folder: Path) -> list[str]:
    """Installs what can be had into `folder` and puts it on the path; names what could not be had."""
    folder.mkdir(parents=True, exist_ok=True)
    missing = []
    there = {found.name.lower().replace("_", "-"): found.version for found in _distributions(folder)}
    for line in REQUIREMENTS.read_text(encoding="utf-8").splitlines():
        if line.startswith("#") or not line.strip():
            continue
        wanted = line.split()
        if any(there.get(name) != number for name, _, number in (one.partition("==") for one in wanted)):
            told = subprocess.run(
                [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--upgrade", "--target", str(folder), *wanted],
                capture_output=True,
                check=False,
            )
            if told.returncode != 0:
                missing.append(wanted[0])
    on_path(folder)
    return missing


def _distributions(folder: Path) -> list[Distribution]:
    return list(distributions(path=[str(folder)]))


def on_path(folder: Path = FOLDER) -> None:
    """Last: a peer's dependency must not replace one of ours."""
    if str(folder) not in sys.path:
        sys.path.append(str(folder))


def named(package: str) -> str:
    """`django-guardian 3.5.2`: no figure of a peer stands without its version."""
    return f"{package} {version(package)}"


def folder_of_environment() -> Path:
    return Path(os.environ.get("BENCH_PEERS", FOLDER))
