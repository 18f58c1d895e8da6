"""A buffer that is empty and a log that is off, before and after each test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from permissions import decision_log
from permissions.decision_log.buffer import BUFFER, ON


@pytest.fixture(autouse=True)
def _empty() -> Iterator[None]:
    decision_log.stop()
    BUFFER.begin_anew()
    ratio, sure, attributes = ON.ratio, ON.are_denials_sure, ON.has_attributes
    ON.ratio, ON.are_denials_sure, ON.has_attributes = 1.0, True, True
    yield
    decision_log.stop()
    BUFFER.begin_anew()
    ON.ratio, ON.are_denials_sure, ON.has_attributes = ratio, sure, attributes


@pytest.fixture(autouse=True)
def _logged(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, _empty: None) -> None:
    """Where notes are put by the test itself, as while the log is on: else they reach a tap alone."""
    if request.path.name in ("test_note.py", "test_writer.py"):
        monkeypatch.setattr(ON, "is_logged", True)
