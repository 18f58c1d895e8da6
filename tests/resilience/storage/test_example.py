"""The page's example runs, on a server and without one."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[3] / "docs" / "subsystems" / "storage.md"


@pytest.mark.parametrize("server", ["there", "gone"])
def test_the_example_of_the_page_runs(server: str, valkey_url: str, tmp_path: Path) -> None:
    (example,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    url = valkey_url if server == "there" else f"unix://{tmp_path}/nobody.sock"
    assert "redis://127.0.0.1:6379/0" in example, "the server of the page is replaced by the test's own"
    exec(compile(example.replace("redis://127.0.0.1:6379/0", url), str(PAGE), "exec"), {"__name__": "example"})
