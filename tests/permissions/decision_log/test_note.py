"""note(): one append; bounded in number and in bytes, drawn by its share, and no fault of it reaches a check."""

from __future__ import annotations

import json
from typing import Any

import pytest

from permissions.decision_log import buffer, note
from permissions.decision_log.buffer import BUFFER, ON
from permissions.engine.types import Decision, Request

YES = Decision(True, "granted", 7, "l1")
NO = Decision(False, "no_grant", 7, "l1")
EPOCH = "e" * 32


def plain(decision: Decision = YES) -> None:
    note("default", EPOCH, "user:a", "post:read", None, decision)


def test_a_full_buffer_drops_and_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(buffer, "MOST", 3)
    for _ in range(5):
        plain()
    assert len(BUFFER.entries) == 3
    assert BUFFER.take_dropped() == 2 and BUFFER.take_dropped() == 0


def test_denials_are_kept_whatever_the_share() -> None:
    ON.ratio = 0.0
    for _ in range(50):
        plain(YES)
        plain(NO)
    assert [entry.decision.allowed for entry in BUFFER.entries] == [False] * 50


def test_denials_are_drawn_too_where_wished() -> None:
    ON.ratio, ON.are_denials_sure = 0.0, False
    plain(NO)
    assert not BUFFER.entries


def test_the_share_is_about_what_was_asked_for() -> None:
    ON.ratio = 0.25
    for _ in range(4_000):
        plain()
    assert 800 < len(BUFFER.entries) < 1_200  # ten standard deviations


def test_what_the_caller_changes_later_is_not_in_the_log() -> None:
    context = {"mfa": True}
    note("default", EPOCH, "user:a", "post:read", None, YES, 0, 0, Request("user:a", "post:read", context=context))
    context["mfa"] = False
    assert json.loads(BUFFER.entries[0].given)[0] == {"mfa": True}


def test_attributes_that_wait_are_bounded_in_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(buffer, "MOST_BYTES", 1_000)
    request = Request("user:a", "post:read", context={"text": "x" * 400})
    for _ in range(4):
        note("default", EPOCH, "user:a", "post:read", None, YES, 0, 0, request)
    assert len(BUFFER.entries) == 2 and BUFFER.take_dropped() == 2
    BUFFER.take(10)
    assert BUFFER.bytes == 0


@pytest.mark.parametrize(
    "value", [2**70, "\ud800", float("inf"), object(), b"bytes", {1: 2}], ids=lambda value: type(value).__name__
)
def test_context_of_any_kind_raises_nothing(value: Any) -> None:
    note("default", EPOCH, "user:a", "post:read", None, YES, 0, 0, Request("user:a", "post:read", context={"value": value}))
    assert len(BUFFER.entries) == 1


def test_a_fault_of_the_log_is_counted_and_not_raised() -> None:
    note("default", EPOCH, "user:a", "post:read", None, None)  # type: ignore[arg-type]
    ON.ratio = 0.5
    note("default", EPOCH, "user:a", "post:read", None, None)  # type: ignore[arg-type]
    assert BUFFER.take_dropped() == 1
