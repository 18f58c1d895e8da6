"""The database is away: known answers until they are older than the bound, then none; never a guess."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from django.db import connection

from permissions import pdp
from permissions.cache import database
from permissions.cache.reading import boot_ns
from permissions.cache.realm import STATES
from resilience import registry, telemetry
from tests.aging import Gone
from tests.worlds import OFFICE, apply

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.both_databases]


@pytest.fixture
def token() -> str:
    pdp.reset()
    token = apply(OFFICE).token
    assert pdp.check("user:alice", "post:edit")
    return token


@pytest.fixture
def away(token: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Gone]:
    gone = Gone(monkeypatch)
    yield gone
    gone.come_back()


def be(seconds: float) -> None:
    """The head was last known so long ago."""
    STATES["default"].known_head_ns = boot_ns() - int(seconds * 1e9)


@pytest.mark.usefixtures("away")
def test_what_is_known_answers_while_it_is_younger_than_the_bound() -> None:
    be(0.4)
    assert pdp.check("user:alice", "post:edit")


@pytest.mark.usefixtures("away")
def test_past_the_bound_there_is_no_decision() -> None:
    be(0.6)
    with pytest.raises(pdp.Unavailable) as refusal:
        pdp.check("user:alice", "post:edit")
    assert refusal.value.retry_after_s > 0


@pytest.mark.usefixtures("away")
def test_a_subject_never_asked_for_has_no_decision() -> None:
    with pytest.raises(pdp.Unavailable):
        pdp.check("user:bob", "post:read", "blog:1")


@pytest.mark.usefixtures("away")
def test_the_newest_state_cannot_be_promised() -> None:
    with pytest.raises(pdp.Unavailable):
        pdp.check("user:alice", "post:edit", full=True)


@pytest.mark.usefixtures("away")
def test_a_known_token_is_still_answered_and_searches_are_not(token: str) -> None:
    assert pdp.check("user:alice", "post:edit", token=token)
    with pytest.raises(pdp.Unavailable):
        pdp.who_can("post:edit")


def test_a_database_that_keeps_failing_is_no_longer_asked_and_comes_back_by_itself(away: Gone) -> None:
    for _ in range(20):
        be(0.6)
        with pytest.raises(pdp.Unavailable) as refusal:
            pdp.check("user:alice", "post:edit")
    # On the thread's own connection, as SQLite has it, each read that fails is tried once more on a new one.
    tries = 1 if connection.vendor == "postgresql" else 2
    assert 1 < away.asked <= 6 * tries
    assert 0 < refusal.value.retry_after_s <= 1.0
    away.come_back()
    breaker = registry.find("breaker", "database")
    assert breaker.state == "open"
    breaker.force_closed("the test moves no clock")
    assert pdp.check("user:alice", "post:edit")
    breaker.auto()


@pytest.mark.usefixtures("away")
def test_static_grace_lets_older_answers_out_marked_and_counted() -> None:
    told = telemetry.Queue(prefix="cache.stale")
    STATES["default"].grace_ns = 5_000_000_000
    be(3.0)
    before = pdp.stats()["stale"]
    decision = pdp.check("user:alice", "post:edit")
    assert decision.allowed
    assert decision.stale
    assert pdp.stats()["stale"] == before + 1
    pdp.check("user:alice", "post:edit")
    assert [event.name for event in told.drain()] == ["cache.stale"], "once an outage"
    told.close()
    be(5.6)
    with pytest.raises(pdp.Unavailable):
        pdp.check("user:alice", "post:edit")


@pytest.mark.usefixtures("away")
def test_static_grace_helps_no_token_and_no_critical_permission(token: str) -> None:
    STATES["default"].grace_ns = 5_000_000_000
    be(3.0)
    with pytest.raises(pdp.Unavailable):
        pdp.check("user:alice", "post:edit", token=token)
    with pytest.raises(pdp.Unavailable):
        pdp.check("user:alice", "post:purge")


def test_an_unknown_realm_says_nothing_about_the_database(token) -> None:
    for number in range(20):
        with pytest.raises(pdp.InvalidRequestError):
            pdp.check("user:alice", "post:edit", realm=f"none{number}")
    assert database.breaker().state == "closed"
