"""No hurry: what PostgreSQL is told about an act holds for the rest of a test's transaction."""

from __future__ import annotations

import pytest

from controlplane.loop import lease


@pytest.fixture(autouse=True)
def _unhurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """A test is one transaction: the limits set in it would hold for all that follows, on a machine that may be busy."""
    monkeypatch.setattr(lease, "STALLED_S", 600.0)
