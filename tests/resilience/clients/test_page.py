"""The examples of the page run as they stand there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

PAGE = Path(__file__).resolve().parents[3] / "docs" / "subsystems" / "redis.md"
EXAMPLES = re.findall(r"```python\n(.+?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)


@pytest.mark.parametrize("number", range(len(EXAMPLES)))
def test_an_example_runs(number, valkey_url, settings, capsys):
    settings.REDIS_URL = valkey_url
    exec(compile(EXAMPLES[number], f"{PAGE.name}, example {number + 1}", "exec"), {"__name__": "example"})
    assert "Error" not in capsys.readouterr().err


def test_there_is_one_for_each_use():
    assert len(EXAMPLES) == 3
