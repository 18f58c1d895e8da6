"""The page of alerts without a script: what it shows, what its forms do, and who may."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.contrib.messages import get_messages
from django.test import Client
from django.utils import timezone

from controlplane.alerts import shipped
from controlplane.models import AlertDelivery, AlertHandler, AlertIncident, AlertRound, AlertRule, AlertSilence
from controlplane.models.alerts import label_key
from tests.permissions.api.world import Cast
from tests.worlds import apply

PAGE = "/admin/control/alerts/"
WATCHER = 'version: 1\nrealm: default\nbindings:\n  - {subject: "user:erin", role: watcher}\n'


@pytest.fixture
def desks(cast: Cast) -> dict[str, Client]:
    """bob operates, erin looks, charlie may nothing; all are staff."""
    shipped.ensure()
    apply(WATCHER)
    User.objects.create_user("erin")
    User.objects.update(is_staff=True)
    erin = Client()
    erin.force_login(User.objects.get(username="erin"))
    return {"bob": cast.bob.client, "erin": erin, "charlie": cast.charlie.client}


def incident(rule: str = "breaker_open", **more: Any) -> AlertIncident:
    at = timezone.now() - dt.timedelta(hours=1)
    values: dict[str, Any] = {
        "state": "firing",
        "severity": "warning",
        "fired_at": at,
        "values": {"f.open_breakers": 2.0},
        **more,
    }
    key = f"{AlertIncident.objects.count():032x}"
    return AlertIncident.objects.create(key=key, rule=rule, label_key=label_key({}), pending_at=at, seen_at=at, **values)


def text_of(answer: Any) -> str:
    assert answer.status_code == 200, answer.status_code
    return str(answer.content.decode())


def act(client: Client, action: str, at: str = PAGE, **fields: str) -> str:
    answer = client.post(at, {"action": action, "change_reason": "because", **fields})
    assert answer.status_code == 302, answer.status_code
    return " ".join(str(message) for message in get_messages(answer.wsgi_request))


def test_all_is_quiet_with_the_time_of_the_last_evaluation(desks: dict[str, Client]) -> None:
    AlertRound.objects.create(pk=1, at=timezone.now(), results={"loop_lag": {"result": "no_data"}})
    page = text_of(desks["bob"].get(PAGE))
    assert "All quiet" in page
    assert "Last evaluation" in page
    assert "no data" in page


def test_that_nobody_evaluates_is_said(desks: dict[str, Client]) -> None:
    assert "never evaluated" in text_of(desks["bob"].get(PAGE))
    AlertRound.objects.create(pk=1, at=timezone.now() - dt.timedelta(minutes=5), results={})
    assert "Nobody evaluates the rules" in text_of(desks["bob"].get(PAGE))


def test_what_fires_stands_first_then_what_is_pending_then_what_is_silenced(desks: dict[str, Client]) -> None:
    incident("loop_lag", state="pending", fired_at=None)
    silent = incident("penetration")
    incident("breaker_open")
    incident("redis_unreachable", severity="critical")
    AlertSilence.objects.create(
        rule="penetration",
        label_key=silent.label_key,
        author="user:bob",
        reason="a scan",
        created_at=timezone.now(),
        until=timezone.now() + dt.timedelta(hours=1),
    )
    data = desks["bob"].get(PAGE).context["data"]
    assert [line["rule"] for line in data["incidents"]] == ["redis_unreachable", "breaker_open", "loop_lag", "penetration"]
    board = text_of(desks["bob"].get(PAGE, {"part": "board"}))
    assert "a scan" in board
    assert "<svg" in board
    assert "style=" not in board, "a strict policy forbids it"
    assert [line["rule"] for line in desks["bob"].get(PAGE, {"state": "silenced"}).context["data"]["incidents"]] == [
        "penetration"
    ]


def test_an_incident_is_acknowledged_and_silenced_by_forms(desks: dict[str, Client]) -> None:
    row = incident()
    assert "Acknowledge" in text_of(desks["bob"].get(PAGE, {"incident": row.key}))
    assert "acknowledged" in act(desks["bob"], "acknowledge", key=row.key)
    assert "silent until" in act(desks["bob"], "silence", key=row.key, for_s="300")
    assert AlertSilence.objects.get().author == "user:bob"
    assert "told of again" in act(desks["bob"], "unsilence", key=row.key)
    page = text_of(desks["bob"].get(PAGE))
    assert "by user:bob" in page
    assert "because" in page
    for wrong in ({}, {"for_s": "x"}, {"for_s": "-1"}, {"until": "never"}, {"for_s": "9999999"}):
        act(desks["bob"], "silence", key=row.key, **wrong)
    assert AlertSilence.objects.count() == 1


def test_a_rule_is_made_edited_tried_and_removed_by_forms(desks: dict[str, Client]) -> None:
    fields = {"name": "mine", "expr": "f.nodes < 2", "severity": "info", "for_s": "10", "labels": "team=care", "enabled": "on"}
    assert "was added" in act(desks["bob"], "rule_create", **fields)
    row = AlertRule.objects.get(name="mine")
    assert (row.labels, row.for_s, row.is_enabled) == ({"team": "care"}, 10.0, True)
    assert "team=care" in text_of(desks["bob"].get(PAGE, {"rule": "mine"}))
    assert "sent" in act(desks["bob"], "rule_test", name="mine")
    assert "was changed" in act(desks["bob"], "rule_save", **{**fields, "for_s": "20", "version": "1"})
    assert "look at it again" in act(desks["bob"], "rule_save", **{**fields, "version": "1"})
    assert "there is no figure" in act(desks["bob"], "rule_save", **{**fields, "expr": "f.x > 1", "version": "2"})
    assert "must be a number" in act(desks["bob"], "rule_save", **{**fields, "for_s": "ten", "version": "2"})
    assert AlertRule.objects.get(name="mine").for_s == 20.0
    assert "was removed" in act(desks["bob"], "rule_delete", name="mine", version="2")
    assert "there is no such" in text_of(desks["bob"].get(PAGE, {"rule": "mine"}))


def test_a_handler_is_made_and_its_address_is_not_shown_again(desks: dict[str, Client]) -> None:
    fields = {"name": "pager", "kind": "webhook", "url": "https://hooks.example.org/verysecret", "enabled": "on", "default": "on"}
    told = act(desks["bob"], "handler_create", **fields)
    assert "shown only now: pswh_" in told
    key = told.rpartition(" ")[2]
    assert key in text_of(desks["bob"].get(PAGE)), "once"
    for query in ({}, {"handler": "pager"}):
        page = text_of(desks["bob"].get(PAGE, query)) if query else text_of(desks["erin"].get(PAGE))
        assert "hooks.example.org/…" in page
        assert "verysecret" not in page
        assert key not in page
    assert "was changed" in act(desks["bob"], "handler_save", name="pager", version="1")
    assert AlertHandler.objects.get(name="pager").is_enabled is False
    assert "shown only now" in act(desks["bob"], "handler_rekey", name="pager", version="2")
    assert "was removed" in act(desks["bob"], "handler_delete", name="pager", version="3")


def test_a_failing_handler_and_its_notices_are_shown(desks: dict[str, Client]) -> None:
    AlertHandler.objects.filter(name="log").update(failing_since=timezone.now(), last_error="the disk is full")
    AlertDelivery.objects.create(
        incident="x",
        rule="loop_lag",
        handler="log",
        notice="firing",
        outcome="failed",
        error="the disk is full",
        created_at=timezone.now(),
    )
    page = text_of(desks["bob"].get(PAGE))
    assert "failing" in page
    assert "the disk is full" in page


def test_who_may_look_sees_why_the_buttons_do_nothing_and_who_may_not_sees_nothing(desks: dict[str, Client]) -> None:
    row = incident()
    page = text_of(desks["erin"].get(PAGE, {"incident": row.key}))
    assert "This needs permsite.control:operate on permsite.control:alerts." in page
    act(desks["erin"], "acknowledge", key=row.key)
    assert AlertIncident.objects.get().acknowledged_at is None
    assert desks["charlie"].get(PAGE).status_code == 403


def test_the_snapshot_is_json(desks: dict[str, Client]) -> None:
    incident()
    answer = desks["bob"].get("/api/v1/system/snapshot/alerts")
    assert answer.status_code == 200, answer.content
    assert "breaker_open" in answer.content.decode()
