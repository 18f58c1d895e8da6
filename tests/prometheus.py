"""promtool and prometheus for the tests of metrics: found where scripts/need-prometheus puts them, and demanded."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


def program(name: str) -> str:
    """Fails the test where there is none: rules that nobody checked must not pass for checked ones."""
    found = shutil.which(name) or shutil.which(name, path=str(ROOT / ".venv/prometheus/usr/bin"))
    if found is None:
        pytest.fail(f"no {name}: run scripts/need-prometheus, or install Debian's package prometheus")
    return found
