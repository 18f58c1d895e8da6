"""The database is away: known answers until they are older than the bound, then none; never a guess."""

from __future__ import annotations

import pytest
from django.db import OperationalError

from permissions import pdp, revisions
from permissions.cache import reader
from resilience import registry
from tests.worlds import OFFICE, apply

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.both_databases]


@pytest.fixture
def token() -> str:
    pdp.reset()
    token = apply(OFFICE).token
    assert pdp.check("user:alice", "post:edit")
    return token


@pytest.fixture
def _away(token: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(*_: object, **__: object) -> None:
        raise OperationalError("the server closed the connection")

    monkeypatch.setattr(revisions, "head", gone)


def later(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    # Counted from when the head was last known, so that a slow machine makes no difference.
    now = reader._states["default"].known_head_ns + int(seconds * 1e9)
    monkeypatch.setattr(reader, "boot_ns", lambda: now)
    monkeypatch.setattr("time.clock_gettime_ns", lambda _: now)


@pytest.mark.usefixtures("_away")
def test_what_is_known_answers_while_it_is_younger_than_the_bound(monkeypatch) -> None:
    later(monkeypatch, 0.4)
    assert pdp.check("user:alice", "post:edit")


@pytest.mark.usefixtures("_away")
def test_past_the_bound_there_is_no_decision(monkeypatch) -> None:
    later(monkeypatch, 0.6)
    with pytest.raises(pdp.Unavailable) as refusal:
        pdp.check("user:alice", "post:edit")
    assert refusal.value.retry_after_s > 0


@pytest.mark.usefixtures("_away")
def test_a_subject_never_asked_for_has_no_decision() -> None:
    with pytest.raises(pdp.Unavailable):
        pdp.check("user:bob", "post:read", "blog:1")


@pytest.mark.usefixtures("_away")
def test_the_newest_state_cannot_be_promised() -> None:
    with pytest.raises(pdp.Unavailable):
        pdp.check("user:alice", "post:edit", full=True)


@pytest.mark.usefixtures("_away")
def test_a_known_token_is_still_answered_and_searches_are_not(token: str) -> None:
    assert pdp.check("user:alice", "post:edit", token=token)
    with pytest.raises(pdp.Unavailable):
        pdp.who_can("post:edit")


def test_a_database_that_keeps_failing_is_no_longer_asked_and_comes_back_by_itself(token, monkeypatch) -> None:
    asked = 0
    answer = revisions.head

    def gone(*_: object, **__: object) -> None:
        nonlocal asked
        asked += 1
        raise OperationalError("the server closed the connection")

    monkeypatch.setattr(revisions, "head", gone)
    later(monkeypatch, 0.6)
    for _ in range(20):
        with pytest.raises(pdp.Unavailable) as refusal:
            pdp.check("user:alice", "post:edit")
    assert 1 < asked <= 5
    assert 0 < refusal.value.retry_after_s <= 1.0
    monkeypatch.setattr(revisions, "head", answer)
    breaker = registry.find("breaker", "database")
    assert breaker.state == "open"
    breaker.force_closed("the test moves no clock")
    assert pdp.check("user:alice", "post:edit")
    breaker.auto()


def test_an_unknown_realm_says_nothing_about_the_database(token) -> None:
    for number in range(20):
        with pytest.raises(pdp.InvalidRequestError):
            pdp.check("user:alice", "post:edit", realm=f"none{number}")
    assert registry.find("breaker", "database").state == "closed"
