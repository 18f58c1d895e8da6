"""Which decisions the live page sees, and that a check pays for no more of them than were agreed."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import pytest

from controlplane.live.decisions import DENIED, FAILED, LONGEST_S, LOOKED_AT, MOST_WATCHED, WATCHED, Tap, Watch, checked_watch
from permissions import decision_log, pdp
from permissions.engine.reasons import Unavailable
from permissions.engine.types import Decision
from resilience import telemetry
from tests.worlds import apply

YES = Decision(True, "granted", 3)
NO = Decision(False, "no_grant", 3)
BROKEN = Decision(False, "condition_error", 3)


@pytest.fixture
def told() -> list[dict[str, Any]]:
    return []


@pytest.fixture
def tap(told: list[dict[str, Any]]) -> Iterator[Tap]:
    made = Tap(now=lambda: 1_000.0)
    made._draw = lambda: 0.5
    made.start(told.append)
    yield made
    made.stop()
    assert decision_log.ON.tap is None and decision_log.ON.mask == 63


def ask(number: int, decision: Decision, subject: str = "user:bob") -> None:
    """As a check does: while the flag says so."""
    for _ in range(number):
        if decision_log.ON.is_on:
            decision_log.note("default", "e", subject, "post:read", "post:1", decision)


def test_denials_are_told_up_to_fifty_a_second(tap: Tap, told: list[dict[str, Any]]) -> None:
    for _ in range(5):
        ask(150, NO)
        tap.refill()
    assert len(told) == 5 * DENIED == 50
    assert (told[0]["name"], told[0]["decision"], told[0]["severity"]) == ("decision.deny", "deny", "info")
    assert told[0]["data"] == {"reason": "no_grant", "revision": 3, "layer": NO.source, "resource": "post:1"}


def test_every_failed_one_is_told(tap: Tap, told: list[dict[str, Any]]) -> None:
    ask(FAILED, BROKEN)
    assert len(told) == FAILED and {event["severity"] for event in told} == {"warning"}


def test_of_allowed_ones_one_in_a_hundred(tap: Tap, told: list[dict[str, Any]]) -> None:
    ask(100, YES)
    assert told == []
    tap._draw = lambda: 0.009
    ask(3, YES)
    assert [event["name"] for event in told] == ["decision.allow"] * 3


def test_after_so_many_it_closes_itself_until_the_next_fifth_of_a_second(tap: Tap) -> None:
    masks = [decision_log.ON.mask]
    ask(LOOKED_AT + 1, YES)
    masks.append(decision_log.ON.mask)
    assert decision_log.ON.tap is None
    tap.refill()
    assert [*masks, decision_log.ON.mask] == [0, 63, 0]


def test_closing_leaves_the_decision_log_on(tap: Tap) -> None:
    decision_log.ON.is_logged = True
    decision_log.ON.set()
    try:
        ask(LOOKED_AT + 1, YES)
        assert decision_log.ON.is_on and decision_log.ON.mask == 0 and decision_log.ON.tap is None
    finally:
        decision_log.ON.is_logged = False
        decision_log.ON.set()


def test_all_decisions_of_a_watched_subject_are_told_past_every_other_bound(tap: Tap, told: list[dict[str, Any]]) -> None:
    tap.watch(Watch("user:eve", "default", 1_100.0))
    ask(LOOKED_AT + 50, NO)
    ask(WATCHED + 7, YES, subject="user:eve")
    mine = [event for event in told if event["subject"] == "user:eve"]
    assert len(mine) == WATCHED and all(event["data"]["watched"] for event in mine)
    assert decision_log.ON.is_on


def test_a_watch_ends_by_itself(tap: Tap, told: list[dict[str, Any]]) -> None:
    tap.watch(Watch("user:eve", "default", 999.0))
    tap.refill()
    assert tap.watches() == []
    ask(1, YES, subject="user:eve")
    assert told == []


def test_no_watch_is_longer_than_agreed_and_there_are_only_so_many(tap: Tap) -> None:
    for number in range(MOST_WATCHED + 5):
        tap.watch(Watch(f"user:{number}", "default", 1e9))
    assert len(tap.watches()) == MOST_WATCHED
    assert {watch.until for watch in tap.watches()} == {1_000.0 + LONGEST_S}


WRONG: list[tuple[Any, Any, Any]] = [
    (7, "default", 1_100.0),
    ("bob", "default", 1_100.0),
    ("", "default", 1_100.0),
    ("user:" + "x" * 5_000, "default", 1_100.0),
    ("user:bob", "", 1_100.0),
    ("user:bob", None, 1_100.0),
    ("user:bob", "r" * 500, 1_100.0),
    ("user:bob", "default", True),
    ("user:bob", "default", "soon"),
    ("user:bob", "default", math.nan),
    ("user:bob", "default", math.inf),
    ("user:bob", "default", -1),
    ("user:bob", "default", 999.0),
    ("user:bob", "default", 1_000.0 + LONGEST_S + 60),
]


@pytest.mark.parametrize(("subject", "realm", "until"), WRONG)
def test_what_cannot_be_watched_is_refused(subject: Any, realm: Any, until: Any) -> None:
    with pytest.raises(ValueError, match=r"subject|realm|until|must|is "):
        checked_watch(subject, realm, until, 1_000.0)


def test_a_fault_of_the_tap_reaches_no_check(tap: Tap) -> None:
    def failing(*_given: object) -> None:
        raise RuntimeError("the page's fault")

    decision_log.tap(failing)
    ask(1, YES)


WORLD = """
version: 1
realm: default
permissions: [{code: "post:read"}, {code: "post:edit"}]
roles: [{name: reader, permissions: ["post:read"]}]
bindings: [{subject: "user:bob", role: reader}]
"""


@pytest.mark.django_db
def test_real_checks_by_every_way_are_seen(tap: Tap, told: list[dict[str, Any]]) -> None:
    apply(WORLD)
    tap._draw = lambda: 0.0
    told.clear()
    tap.refill()
    assert pdp.check("user:bob", "post:read")
    assert not pdp.check("user:bob", "post:edit")
    assert not pdp.check("user:bob", "post:edit", context={"x": 1})
    pdp.check_many([("user:bob", "post:read"), ("user:bob", "post:edit")])
    pdp.explain("user:bob", "post:edit")
    assert [event["decision"] for event in told] == ["allow", "deny", "deny", "allow", "deny", "deny"]


@pytest.mark.django_db
def test_a_question_that_gets_no_decision_is_told_and_counted(
    tap: Tap, told: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    from permissions.cache import reader

    def away(*_given: object, **_named: object) -> None:
        raise Unavailable("the database does not answer")

    before = telemetry.collect()["permission_check_errors_total"].get(("unavailable",), 0)
    monkeypatch.setattr(reader, "pin", away)
    with pytest.raises(Unavailable):
        pdp.check("user:bob", "post:read", context={"x": 1})
    assert telemetry.collect()["permission_check_errors_total"]["unavailable",] == before + 1
    assert [(event["name"], event["data"]["reason"]) for event in told] == [("decision.error", "unavailable")]
