"""The examples of the pages run."""

from __future__ import annotations

import re
from typing import Any

import pytest

from tests.resilience.lock.puppet import ROOT


@pytest.mark.parametrize("page", ["bulkhead", "lock"])
def test_the_examples_of_the_page_run(page: str) -> None:
    text = (ROOT / f"docs/subsystems/{page}.md").read_text()
    blocks = re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    assert blocks
    for block in blocks:
        names: dict[str, Any] = {}
        exec(compile(block, f"{page}.md", "exec"), names)
