"""The database goes while alerts are open: the last leader goes on, delivers, and stores later what it found."""

from __future__ import annotations

from controlplane.alerts import ledger, outbox
from controlplane.models import AlertDelivery, AlertIncident
from tests.controlplane.alerts.world import BookHandler, World

FIRING = [("book", "firing", "lag")]
RESOLVED = [("book", "resolved", "lag")]


def away(world: World, monkeypatch) -> None:
    """Nothing of the database answers."""
    from django.db import OperationalError

    def gone(*_: object, **__: object) -> None:
        raise OperationalError("connection refused")

    world.lead.database_away = True
    for name in ("load", "merge", "save"):
        monkeypatch.setattr(ledger, name, gone)
    for name in ("due", "claim", "write"):
        monkeypatch.setattr(outbox, name, gone)


def test_it_goes_on_with_the_last_rules_delivers_and_stores_later(world: World, monkeypatch) -> None:
    world.rule(for_s=10)
    world.round(loop_lag_ms=1)
    with monkeypatch.context() as patch:
        away(world, patch)
        assert world.round(loop_lag_ms=300) == []
        assert world.round(10, loop_lag_ms=300) == FIRING
        assert world.round(loop_lag_ms=300) == []
    assert AlertIncident.objects.count() == 0
    world.lead.database_away = False
    assert world.round(loop_lag_ms=300) == [], "told once"
    assert world.evaluator.courier.idle(20)
    row = AlertIncident.objects.get()
    assert (row.state, row.notices) == ("firing", 1)
    assert world.round(loop_lag_ms=1) == RESOLVED
    assert sorted(world.told) == [("firing", "sent"), ("resolved", "sent")]


def test_what_began_in_rows_ends_in_memory_and_the_row_follows(world: World, monkeypatch) -> None:
    world.rule()
    assert world.round(loop_lag_ms=300) == FIRING
    with monkeypatch.context() as patch:
        away(world, patch)
        assert world.round(loop_lag_ms=1) == RESOLVED
    world.lead.database_away = False
    world.round(loop_lag_ms=1)
    assert AlertIncident.objects.get().state == "resolved"
    assert len(BookHandler.keys) == 2


def test_a_database_that_goes_in_the_middle_of_a_round_tells_it_once(world: World) -> None:
    world.rule()
    world.lead.breaks = True
    assert world.round(loop_lag_ms=300) == FIRING
    world.lead.breaks = False
    assert world.round(loop_lag_ms=300) == []
    assert AlertIncident.objects.get().state == "firing"
    assert world.evaluator.courier.idle(20)
    assert [row.outcome for row in AlertDelivery.objects.all()] == ["sent"]


def test_what_another_leader_began_meanwhile_stays_the_only_open_one(world: World, monkeypatch) -> None:
    """The database is back, the lease is another's: the first still holds what it told in memory."""
    world.rule()
    world.round(loop_lag_ms=1)
    with monkeypatch.context() as patch:
        away(world, patch)
        assert world.round(loop_lag_ms=300) == FIRING
    world.lead.database_away = False
    second = world.another()
    assert world.round(evaluator=second, loop_lag_ms=300) == FIRING, "under a key of its own: it could not know"
    world.clock.advance(60)
    assert world.evaluator._keep_house() is False
    states = sorted(AlertIncident.objects.values_list("state", "detail"))
    assert states == [("firing", ""), ("resolved", "goes on as another incident")]
    assert world.round(evaluator=second, loop_lag_ms=1) == RESOLVED
    assert AlertIncident.objects.exclude(state="resolved").count() == 0


def test_a_former_leader_hands_what_it_told_to_the_next(world: World, monkeypatch) -> None:
    world.rule()
    world.round(loop_lag_ms=1)
    with monkeypatch.context() as patch:
        away(world, patch)
        assert world.round(loop_lag_ms=300) == FIRING
    world.clock.advance(60)
    assert world.evaluator._keep_house() is False
    second = world.another()
    world.lead.database_away = False
    assert world.round(evaluator=second, loop_lag_ms=1) == RESOLVED, "the end of what the first told"
    assert {key.split(":")[0] for key in BookHandler.keys} == {AlertIncident.objects.get().key}
