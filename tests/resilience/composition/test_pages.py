"""The examples of the pages run."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from resilience import registry

PAGES = Path(__file__).resolve().parents[3] / "docs/subsystems"


@pytest.mark.parametrize("page", ["retry", "timeout", "fallback", "pipeline", "registry"])
def test_the_examples_of_the_page_run(page: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # In this project the audit is rows in a database, which an example must do without.
    monkeypatch.setattr(registry.control, "_audit", None)
    blocks = re.findall(r"^```python\n(.*?)^```$", (PAGES / f"{page}.md").read_text(), re.MULTILINE | re.DOTALL)
    assert blocks
    for block in blocks:
        names: dict[str, Any] = {"__name__": page}
        exec(compile(block, f"{page}.md", "exec"), names)
