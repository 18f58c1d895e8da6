"""The version of this clone; `pyproject.toml` repeats it, and a test holds them equal."""

from __future__ import annotations

from typing import Final

VERSION: Final = "0.1.0"
