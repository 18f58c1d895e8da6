"""Limits of time are tested where they are meant; elsewhere a busy machine must not make one of them the answer."""

from __future__ import annotations

import pytest

from permissions.cache import database, reader
from permissions.lookup import browsing


@pytest.fixture(autouse=True)
def _patient(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ROWS_LIMIT_S", "MODEL_LIMIT_S", "SEARCH_LIMIT_S"):
        monkeypatch.setattr(database, name, 60.0)
    monkeypatch.setattr(reader, "FILL_WAIT_S", 30.0)
    monkeypatch.setattr(browsing, "PAGE_S", 60.0)
    monkeypatch.setattr(browsing, "LIST_S", 60.0)
