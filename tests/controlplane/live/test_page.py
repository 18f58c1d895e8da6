"""The page of the live figures: its example runs."""

from __future__ import annotations

import re

import pytest


def test_the_example_of_the_page_runs(pytestconfig: pytest.Config) -> None:
    page = (pytestconfig.rootpath / "docs/subsystems/live.md").read_text()
    (example,) = re.findall(r"```python\n(.*?)```", page, re.S)
    exec(compile(example, "live.md", "exec"), {})
