"""The examples of the two pages run as they stand, in a process that knows no Django."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
PAGES = ("live_configuration", "maintenance")


@pytest.mark.parametrize("name", PAGES)
def test_the_examples_run(name: str) -> None:
    page = (ROOT / "docs" / "subsystems" / f"{name}.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    assert blocks
    environment = {key: value for key, value in os.environ.items() if key not in ("REDIS_URL", "DJANGO_SETTINGS_MODULE")}
    for block in blocks:
        done = subprocess.run(
            [sys.executable, "-c", block], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
