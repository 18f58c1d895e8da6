"""Two processes, one leader at a time: what the one began the other goes on with, and nothing is told twice."""

from __future__ import annotations

import datetime as dt

import pytest

from controlplane.alerts import outbox
from controlplane.alerts.courier import Courier
from controlplane.models import AlertDelivery, AlertHandler, AlertIncident
from tests.controlplane.alerts.world import BookHandler, World


def test_the_time_of_a_pending_alert_is_not_begun_anew(world: World) -> None:
    world.rule(for_s=30)
    world.round(loop_lag_ms=300)
    world.round(10, loop_lag_ms=300)
    second = world.another()
    assert world.round(15, evaluator=second, loop_lag_ms=300) == []
    assert world.round(5, evaluator=second, loop_lag_ms=300) == [("book", "firing", "lag")], "30 s since the first leader saw it"
    assert AlertIncident.objects.count() == 1


def test_what_fires_is_not_told_again_and_its_end_is_told_by_the_other(world: World) -> None:
    world.rule()
    world.round(loop_lag_ms=300)
    second = world.another()
    assert world.round(15, evaluator=second, loop_lag_ms=300) == []
    assert world.round(evaluator=second, loop_lag_ms=1) == [("book", "resolved", "lag")]
    assert world.told == [("firing", "sent"), ("resolved", "sent")]


def test_a_leader_that_lost_its_lease_writes_and_tells_nothing(world: World) -> None:
    world.rule()
    world.round(loop_lag_ms=1)
    world.lead.leads = False
    with pytest.raises(LookupError, match="LostLease"):
        world.round(loop_lag_ms=300)
    assert AlertIncident.objects.count() == 0
    assert BookHandler.book == []


def test_a_notice_that_a_killed_leader_had_written_and_not_sent_is_sent_by_the_next(world: World) -> None:
    world.rule()
    BookHandler.failing.add("book")
    world.round(loop_lag_ms=300)
    BookHandler.failing.clear()
    # As it stands where the process died after its commit: claimed, its outcome never written.
    AlertDelivery.objects.update(
        outcome="sending", claimed_by="dead", claimed_until=world.at + dt.timedelta(seconds=8), ended_at=None
    )
    AlertHandler.objects.update(failing_since=None)
    second = world.another()
    assert world.round(5, evaluator=second, loop_lag_ms=300) == [], "the claim holds: it may be on its way"
    assert world.round(5, evaluator=second, loop_lag_ms=300) == [("book", "firing", "lag")]
    assert AlertDelivery.objects.get().outcome == "sent"


def test_one_notice_is_claimed_once(world: World) -> None:
    row = AlertDelivery.objects.create(incident="x", rule="lag", handler="book", notice="firing", created_at=world.at)
    assert outbox.claim(row.pk, "first", 8)
    assert not outbox.claim(row.pk, "second", 8)
    assert outbox.claim(row.pk, "first", 8), "its next attempt"
    world.clock.advance(9)
    assert outbox.claim(row.pk, "second", 8)
    assert not outbox.claim(row.pk, "first", 8), "it was too slow: the other has it"


def test_two_couriers_at_once_send_each_notice_once(world: World) -> None:
    for n in range(40):
        AlertDelivery.objects.create(
            incident=f"x{n}",
            rule="lag",
            handler="book",
            notice="firing",
            created_at=world.at,
            payload={"notice": "firing", "rule": "lag"},
        )
    from controlplane.alerts.ledger import load

    targets = load().targets
    couriers = [Courier(), Courier()]
    for courier in couriers:
        courier.wake(targets, 5.0, rows=True)
    for courier in couriers:
        assert courier.idle(20)
        courier.close(20)
    assert len(BookHandler.keys) == len(set(BookHandler.keys)) == 40
