"""docs/reference/parameters.md is what the tables say."""

from __future__ import annotations

import importlib.machinery
import importlib.util
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[3]


def script() -> Any:
    loader = importlib.machinery.SourceFileLoader("parameters_page", str(ROOT / "scripts" / "parameters"))
    spec = importlib.util.spec_from_loader("parameters_page", loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    return module


def test_the_published_page_is_the_table() -> None:
    found = script()
    assert found.PAGE.read_text(encoding="utf-8") == found.page(), "write it anew: scripts/parameters"
