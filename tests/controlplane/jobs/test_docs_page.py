"""The examples of the pages of jobs and of logs run as they stand."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from permissions.models import Realm

PAGES = Path(__file__).resolve().parents[3] / "docs/subsystems"


@pytest.mark.parametrize("name", ["jobs.md", "logs.md"])
def test_the_example_runs(realm: Realm, name: str) -> None:
    examples = re.findall(r"```python\n(.*?)```", (PAGES / name).read_text(), re.DOTALL)
    assert examples
    for example in examples:
        exec(compile(example, name, "exec"), {})
