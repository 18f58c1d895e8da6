"""The page of the breaker says what the code does."""

from __future__ import annotations

import re
from pathlib import Path

from resilience.circuit_breaker.options import NAMES

PAGE = Path(__file__).resolve().parents[3] / "docs/subsystems/circuit_breaker.md"


def test_its_example_runs() -> None:
    [example] = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.S)
    exec(compile(example, PAGE.name, "exec"), {})


def test_it_names_every_option() -> None:
    table = PAGE.read_text().split("## Defaults")[1].split("## How it goes")[0]
    rows = [row.split("|")[1] for row in table.splitlines() if row.startswith("| `")]
    assert {name for row in rows for name in re.findall(r"`(\w+)`", row)} == set(NAMES)
