"""inactive, pending, firing, resolved: what a rule's verdicts make of an incident, and what is told."""

from __future__ import annotations

import datetime as dt

import pytest
from django.db import IntegrityError, transaction

from controlplane.alerts import counts
from controlplane.models import AlertIncident, AlertRound, AlertRule, AlertSilence
from tests.controlplane.alerts.world import KEY, BookHandler, World

FIRING = [("book", "firing", "lag")]
RESOLVED = [("book", "resolved", "lag")]


def test_it_is_pending_until_its_time_is_over_then_fires_once_and_says_when_it_is_over(world: World) -> None:
    world.rule(for_s=10)
    assert world.round(loop_lag_ms=100) == []
    assert world.open == []
    assert world.round(loop_lag_ms=300) == []
    assert [row.state for row in world.open] == ["pending"]
    assert counts() == {"firing": 0, "pending": 1, "alerts_at": world.at.timestamp()}
    assert world.round(loop_lag_ms=301) == []
    assert world.round(loop_lag_ms=302) == FIRING
    assert counts()["firing"] == 1
    assert world.round(loop_lag_ms=303) == []
    assert world.round(loop_lag_ms=100) == RESOLVED
    row = AlertIncident.objects.get()
    assert (row.state, row.values, row.resolved_at) == ("resolved", {"f.loop_lag_ms": 303.0}, world.at)
    assert [key.split(":")[1] for key in BookHandler.keys] == ["firing", "resolved"]
    assert world.told == [("firing", "sent"), ("resolved", "sent")]


def test_a_rule_without_a_time_fires_at_once(world: World) -> None:
    world.rule()
    assert world.round(loop_lag_ms=300) == FIRING


def test_what_ends_while_it_is_pending_leaves_no_trace(world: World) -> None:
    world.rule(for_s=60)
    world.round(loop_lag_ms=300)
    assert world.round(loop_lag_ms=1) == []
    assert AlertIncident.objects.count() == 0


def test_it_is_repeated_while_it_fires(world: World) -> None:
    world.rule(repeat_s=60)
    assert world.round(loop_lag_ms=300) == FIRING
    assert world.round(55, loop_lag_ms=300) == []
    assert world.round(5, loop_lag_ms=300) == [("book", "repeat", "lag")]
    assert world.round(60, loop_lag_ms=300) == [("book", "repeat", "lag")]
    assert len(set(BookHandler.keys)) == 3


def test_an_acknowledged_one_is_not_repeated_but_its_end_is_told(world: World) -> None:
    world.rule(repeat_s=60)
    world.round(loop_lag_ms=300)
    AlertIncident.objects.update(acknowledged_at=world.at, acknowledged_by="user:bob")
    assert world.round(120, loop_lag_ms=300) == []
    assert [row.acknowledged_by for row in world.open] == ["user:bob"]
    assert world.round(loop_lag_ms=1) == RESOLVED


def test_a_silence_holds_back_and_returns(world: World) -> None:
    world.rule()
    AlertSilence.objects.create(
        rule="lag",
        label_key=KEY,
        author="user:bob",
        reason="known",
        created_at=world.at,
        until=world.at + dt.timedelta(seconds=60),
    )
    assert world.round(loop_lag_ms=300) == []
    assert [row.state for row in world.open] == ["firing"], "it is evaluated all the same"
    assert world.round(50, loop_lag_ms=300) == []
    assert world.round(10, loop_lag_ms=300) == FIRING


def test_what_began_and_ended_in_silence_is_never_told(world: World) -> None:
    world.rule()
    until = world.at + dt.timedelta(seconds=600)
    AlertSilence.objects.create(rule="lag", label_key=KEY, author="b", reason="r", created_at=world.at, until=until)
    world.round(loop_lag_ms=300)
    assert world.round(loop_lag_ms=1) == []
    assert world.told == []


def test_unknown_figures_neither_fire_nor_end_anything_for_a_while(world: World) -> None:
    world.rule(for_s=10)
    assert world.round(loop_lag_ms=None) == []
    assert AlertRound.objects.get().results["lag"]["result"] == "no_data"
    world.round(loop_lag_ms=300)
    world.round(loop_lag_ms=None)
    assert world.round(loop_lag_ms=300) == FIRING, "one blind round does not begin the time anew"
    assert world.round(loop_lag_ms=None) == []
    assert [row.state for row in world.open] == ["firing"]
    assert world.round(400, loop_lag_ms=None) == RESOLVED
    assert AlertIncident.objects.get().detail == "its figures are unknown by now"


def test_a_time_in_which_nobody_looked_does_not_count(world: World) -> None:
    world.rule(for_s=30)
    world.round(loop_lag_ms=300)
    assert world.round(600, loop_lag_ms=300) == [], "it was not seen to hold for 30 s"
    assert world.round(30, loop_lag_ms=300) == FIRING


def test_a_rule_that_cannot_be_evaluated_is_an_incident_of_its_own(world: World) -> None:
    rule = world.rule(expr="f.loop_lag_ms > 200 && f.state > 1.0")
    assert world.round(loop_lag_ms=300, state="ok") == [("book", "firing", "rule_error")]
    assert [(row.rule, row.labels, row.state) for row in world.open] == [("rule_error", {"rule": "lag"}, "firing")]
    assert "No such overload" in world.open[0].detail
    assert world.round(loop_lag_ms=300, state="ok") == [], "an error is no storm"
    AlertRule.objects.filter(pk=rule.pk).update(expr="not CEL at all (")
    world.round(loop_lag_ms=300)
    AlertRule.objects.filter(pk=rule.pk).update(expr="f.loop_lag_ms > 500")
    assert world.round(loop_lag_ms=300) == [("book", "resolved", "rule_error")]


def test_a_rule_that_is_removed_or_switched_off_ends_its_incident(world: World) -> None:
    rule = world.rule()
    world.round(loop_lag_ms=300)
    AlertRule.objects.filter(pk=rule.pk).update(is_enabled=False)
    assert world.round(loop_lag_ms=300) == RESOLVED
    assert AlertIncident.objects.get().detail.startswith("the rule was removed")


def test_only_handlers_that_a_rule_names_are_told(world: World) -> None:
    from controlplane.models import AlertHandler

    AlertHandler.objects.create(name="second", kind="book", is_default=False)
    world.rule()
    world.rule("other", handlers=["second"])
    assert world.round(loop_lag_ms=300) == [("book", "firing", "lag"), ("second", "firing", "other")]


def test_a_window_of_means_is_asked_beside_the_frame(world: World) -> None:
    world.rule(expr="f5m.deny_share > 0.4 && f5m.checks_per_s > 1")
    world.means[300] = {"deny_share": 0.5, "checks_per_s": 7}
    assert world.round() == FIRING


def test_rounds_come_no_oftener_than_is_set(world: World) -> None:
    world.rule()
    assert world.round(5, loop_lag_ms=1) == []
    assert world.round(1, loop_lag_ms=300) == []
    assert world.round(4, loop_lag_ms=300) == FIRING


def test_the_database_holds_to_one_open_incident_for_a_rule_and_its_labels(world: World) -> None:
    world.rule()
    world.round(loop_lag_ms=300)
    row = world.open[0]
    with pytest.raises(IntegrityError, match=r"alert_incident_one_open|UNIQUE"), transaction.atomic():
        AlertIncident.objects.create(
            key="another",
            rule=row.rule,
            label_key=row.label_key,
            severity="info",
            state="pending",
            pending_at=row.pending_at,
            seen_at=row.seen_at,
        )
