"""A round of alerts without the loop: a lead of the test's own, a clock that moves, and a book of what was told."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from controlplane.alerts import counting, handlers
from tests.controlplane.alerts.world import World


@pytest.fixture
def world(transactional_db: None, settings: object, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """Rules of the test alone, told to a handler `book`."""
    settings.ALERT_HANDLERS = ["tests.controlplane.alerts.world.BookHandler"]  # type: ignore[attr-defined]
    handlers.reset()
    counting.reset()
    made = World(monkeypatch)
    yield made
    made.close()
    handlers.reset()
    counting.reset()
