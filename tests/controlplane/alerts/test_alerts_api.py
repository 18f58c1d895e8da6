"""Alerts over the API: who may what, what is refused and why, what stands in the audit."""

from __future__ import annotations

import datetime as dt
import json
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.utils import timezone

from controlplane.alerts import shipped
from controlplane.models import AlertHandler, AlertIncident, AlertRound, AlertRule, AlertSilence
from controlplane.models.alerts import label_key
from permissions.models import AuditEvent
from tests.permissions.api.world import Cast, person
from tests.worlds import apply

SYSTEM = "/api/v1/system/"
RULES = SYSTEM + "alert-rules"
HANDLERS = SYSTEM + "alert-handlers"
ALERTS = SYSTEM + "alerts"
WATCHER = """
version: 1
realm: default
bindings:
  - {subject: "user:erin", role: watcher}
"""
EXPR = "f5m.deny_share > 0.4 && f5m.checks_per_s > 1"


@pytest.fixture
def people(cast: Cast) -> Cast:
    shipped.ensure()
    User.objects.create_user("erin")
    apply(WATCHER)
    return cast


def incident(rule: str = "lag", **more: Any) -> AlertIncident:
    at = timezone.now()
    values = {"state": "firing", "severity": "warning", "fired_at": at, **more}
    key = f"{AlertIncident.objects.count():032x}"
    return AlertIncident.objects.create(key=key, rule=rule, label_key=label_key({}), pending_at=at, seen_at=at, **values)


def ask(people: Cast, who: str, method: str, path: str, body: Any = None, *, raw: str = "", **headers: str) -> Any:
    api = person("erin") if who == "erin" else getattr(people, who)
    data = raw or ("" if body is None else json.dumps(body))
    answer = api.client.generic(method.upper(), path, data, content_type="application/json" if data else "", headers=headers)
    assert answer.status_code != 500, (path, body)
    return answer


def refused(answer: Any) -> tuple[int, str]:
    return answer.status_code, answer.json()["type"].removeprefix("/problems/")


def test_the_shipped_rules_are_there_and_each_is_a_valid_expression(people: Cast) -> None:
    found = ask(people, "bob", "get", RULES).json()["results"]
    assert {line["name"] for line in found} == {rule.name for rule in shipped.RULES}
    for line in found:
        tried = ask(people, "bob", "post", f"{RULES}/{line['name']}/validate", {"expr": line["expr"]}).json()
        assert tried["valid"], (line["name"], tried["errors"])
        assert line["text_en"]
        assert line["text_zh"]


def test_a_rule_is_made_changed_and_removed_each_with_its_reason_in_the_audit(people: Cast) -> None:
    body = {"name": "mine", "expr": EXPR, "for_s": 30, "labels": {"team": "care"}, "handlers": ["log"], "reason": "asked for"}
    made = ask(people, "bob", "post", RULES, body)
    assert (made.status_code, made.headers["ETag"]) == (201, '"1"'), made.content
    assert made.json()["labels"] == {"team": "care"}
    again = ask(people, "bob", "post", RULES, body)
    assert refused(again) == (409, "conflict")
    changed = ask(
        people, "bob", "put", f"{RULES}/mine", {"expr": EXPR, "enabled": False, "reason": "noise"}, **{"If-Match": '"1"'}
    )
    assert changed.status_code == 200, changed.content
    assert changed.json()["enabled"] is False
    stale = ask(people, "bob", "put", f"{RULES}/mine", {"expr": EXPR, "reason": "late"}, **{"If-Match": '"1"'})
    assert refused(stale) == (409, "conflict")
    assert ask(people, "bob", "delete", f"{RULES}/mine?reason=done").status_code == 204
    entries = AuditEvent.objects.filter(object_type="alert-rule", object_id="mine").order_by("pk")
    assert [(entry.action, entry.reason) for entry in entries] == [
        ("alert_rule_create", "asked for"),
        ("alert_rule_change", "noise"),
        ("alert_rule_delete", "done"),
    ]


def test_a_shipped_rule_is_edited_and_switched_off_not_removed(people: Cast) -> None:
    assert refused(ask(people, "bob", "delete", f"{RULES}/loop_lag?reason=x")) == (409, "conflict")
    off = ask(
        people, "bob", "put", f"{RULES}/loop_lag", {"expr": "f1m.loop_lag_ms > 900", "enabled": False, "reason": "slow host"}
    )
    assert off.status_code == 200
    shipped.ensure()
    row = AlertRule.objects.get(name="loop_lag")
    assert (row.expr, row.is_enabled) == ("f1m.loop_lag_ms > 900", False), "a new version must not undo it"


@pytest.mark.parametrize(
    ("change", "where"),
    [
        ({"expr": "f.nonsense > 1"}, "expr"),
        ({"expr": "f.p95_ms * 2 > 1"}, "expr"),
        ({"expr": "f.state > 1 && f.checks_per_s > 1"}, "expr"),
        ({"expr": "("}, "expr"),
        ({"expr": "true"}, "expr"),
        ({"expr": "f.nodes > 1" + " || f.nodes > 1" * 200}, "expr"),
        ({"expr": "(" * 50 + "f.nodes > 1" + ")" * 50}, "expr"),
        ({"expr": 7}, "expr"),
        ({"expr": None}, "expr"),
        ({"expr": ""}, "expr"),
        ({"name": "two words"}, "name"),
        ({"name": ""}, "name"),
        ({"name": "名"}, "name"),
        ({"name": "x" * 61}, "name"),
        ({"name": "rule_error"}, "name"),
        ({"for_s": True}, "for_s"),
        ({"for_s": -1}, "for_s"),
        ({"for_s": "10"}, "for_s"),
        ({"for_s": 1e300}, "for_s"),
        ({"severity": "fatal"}, "severity"),
        ({"severity": ["critical"]}, "severity"),
        ({"labels": []}, "labels"),
        ({"labels": {"a b": "c"}}, "labels.a b"),
        ({"labels": {"a": 1}}, "labels.a"),
        ({"labels": {f"a{n}": "x" for n in range(11)}}, "labels"),
        ({"handlers": "log"}, "handlers"),
        ({"handlers": ["nobody"]}, "handlers[0]"),
        ({"handlers": ["log", "log"]}, "handlers[1]"),
        ({"text_en": "x" * 501}, "text_en"),
        ({"text_zh": "a\nb"}, "text_zh"),
        ({"repeat_s": 1}, "repeat_s"),
        ({"repeat_s": False}, "repeat_s"),
        ({"enabled": 1}, "enabled"),
    ],
)
def test_a_wrong_field_of_a_rule_is_named_and_changes_nothing(people: Cast, change: dict[str, Any], where: str) -> None:
    before = AlertRule.objects.count()
    answer = ask(people, "bob", "post", RULES, {"name": "mine", "expr": EXPR, "reason": "x", **change})
    assert answer.status_code == 400, answer.content
    assert where in {error["where"] for error in answer.json()["errors"]}, answer.json()
    assert AlertRule.objects.count() == before


def test_numbers_that_json_does_not_have_are_refused(people: Cast) -> None:
    for odd in ("NaN", "Infinity", "-Infinity"):
        body = f'{{"name": "mine", "expr": "{EXPR}", "for_s": {odd}, "reason": "x"}}'
        answer = ask(people, "bob", "post", RULES, raw=body)
        assert answer.status_code == 400
    assert not AlertRule.objects.filter(name="mine").exists()


@pytest.mark.parametrize("reason", [None, "", "   ", 7, "x" * 1001, "two\nlines"])
def test_no_act_without_a_reason(people: Cast, reason: object) -> None:
    row = incident()
    body = {} if reason is None else {"reason": reason}
    for path in (f"{ALERTS}/{row.key}/acknowledge", f"{RULES}/loop_lag/test-fire", f"{ALERTS}/{row.key}/unsilence"):
        assert ask(people, "bob", "post", path, body).status_code == 400, path
    assert AlertIncident.objects.get().acknowledged_at is None


def test_incidents_are_listed_by_state_and_paged(people: Cast) -> None:
    incident("a")
    incident("b", state="pending", fired_at=None)
    incident("c", state="resolved", resolved_at=timezone.now())
    silent = incident("d", severity="critical")
    ask(people, "bob", "post", f"{ALERTS}/{silent.key}/silence", {"for_s": 60, "reason": "known"})
    AlertRound.objects.create(pk=1, at=timezone.now(), results={})

    def listed(query: str) -> list[str]:
        return [line["rule"] for line in ask(people, "bob", "get", f"{ALERTS}?{query}").json()["results"]]

    assert listed("") == ["d", "c", "b", "a"]
    assert listed("state=firing") == ["a"]
    assert listed("state=pending") == ["b"]
    assert listed("state=silenced") == ["d"]
    assert listed("state=resolved") == ["c"]
    assert listed("state=open") == ["d", "b", "a"]
    assert listed("severity=critical") == ["d"]
    assert listed("rule=b") == ["b"]
    first = ask(people, "bob", "get", f"{ALERTS}?limit=3").json()
    assert len(first["results"]) == 3
    assert first["evaluated"]["late"] is False
    rest = ask(people, "bob", "get", f"{ALERTS}?limit=3&before={first['before']}").json()
    assert ([line["rule"] for line in rest["results"]], rest["before"]) == (["a"], None)
    for wrong in ("state=odd", "severity=odd", "limit=0", "limit=x", "before=-1", "nothing=1"):
        assert ask(people, "bob", "get", f"{ALERTS}?{wrong}").status_code == 400, wrong


def test_acknowledging_says_who_and_why_and_happens_once(people: Cast) -> None:
    row = incident()
    done = ask(people, "bob", "post", f"{ALERTS}/{row.key}/acknowledge", {"reason": "I am on it"})
    assert done.json()["acknowledged"]["by"] == "user:bob"
    assert done.json()["acknowledged"]["reason"] == "I am on it"
    again = ask(people, "bob", "post", f"{ALERTS}/{row.key}/acknowledge", {"reason": "me too"})
    assert refused(again) == (409, "conflict")
    ended = incident("b", state="resolved")
    assert refused(ask(people, "bob", "post", f"{ALERTS}/{ended.key}/acknowledge", {"reason": "x"})) == (409, "conflict")
    assert refused(ask(people, "bob", "post", f"{ALERTS}/nothing/acknowledge", {"reason": "x"})) == (404, "not_found")


def test_a_silence_needs_an_end_within_seven_days(people: Cast) -> None:
    path = f"{ALERTS}/{incident().key}/silence"
    now = timezone.now()
    for body in (
        {},
        {"until": None},
        {"until": "tomorrow"},
        {"until": "2030-01-01T00:00:00"},
        {"until": (now - dt.timedelta(seconds=1)).isoformat()},
        {"until": (now + dt.timedelta(days=7, minutes=1)).isoformat()},
        {"until": now.isoformat(), "for_s": 60},
        {"until": 1e12},
        {"for_s": 0},
        {"for_s": True},
        {"for_s": 604_801},
        {"for_s": "60"},
    ):
        assert ask(people, "bob", "post", path, {**body, "reason": "x"}).status_code == 400, body
    assert AlertSilence.objects.count() == 0
    made = ask(people, "bob", "post", path, {"until": (now + dt.timedelta(days=6)).isoformat(), "reason": "moving"})
    assert (made.status_code, made.json()["author"], made.json()["reason"]) == (200, "user:bob", "moving")
    assert [line["rule"] for line in ask(people, "bob", "get", SYSTEM + "alert-silences").json()["results"]] == ["lag"]
    assert ask(people, "bob", "post", path.replace("/silence", "/unsilence"), {"reason": "done"}).json() == {"lifted": 1}
    nothing = ask(people, "bob", "post", path.replace("/silence", "/unsilence"), {"reason": "done"})
    assert refused(nothing) == (409, "conflict")


def test_a_rule_can_be_silenced_before_it_fires(people: Cast) -> None:
    done = ask(people, "bob", "post", f"{RULES}/loop_lag/silence", {"for_s": 600, "reason": "load test"})
    assert done.json()["rule"] == "loop_lag"
    assert ask(people, "bob", "post", f"{RULES}/loop_lag/unsilence", {"reason": "over"}).json() == {"lifted": 1}


def test_a_key_is_shown_once_and_the_address_never_again(people: Cast) -> None:
    url = "https://hooks.example.org/services/T0/verysecrettoken?x=1"
    made = ask(
        people, "bob", "post", HANDLERS, {"name": "pager", "kind": "webhook", "options": {"url": url}, "reason": "on call"}
    )
    assert made.status_code == 201, made.content
    key = made.json()["key"]
    assert key.startswith("pswh_")
    row = AlertHandler.objects.get(name="pager")
    assert key not in row.secret
    assert "verysecret" not in row.secret + str(row.options)
    kept = ask(people, "bob", "put", f"{HANDLERS}/pager", {"enabled": False, "reason": "holiday"})
    assert kept.status_code == 200, kept.content
    seen = [kept.content, ask(people, "bob", "get", HANDLERS).content, ask(people, "bob", "get", f"{HANDLERS}/pager").content]
    seen.append(str(list(AuditEvent.objects.filter(object_id="pager").values())).encode())
    for text in seen:
        assert key.encode() not in text
        assert b"verysecret" not in text
    assert kept.json()["options"] == {"url": "https://hooks.example.org/…"}
    anew = ask(people, "bob", "post", f"{HANDLERS}/pager/rekey", {"reason": "leaked"}).json()["key"]
    assert anew.startswith("pswh_")
    assert anew != key


@pytest.mark.parametrize(
    "body",
    [
        {"kind": "webhook", "options": {"url": "https://127.0.0.1/"}},
        {"kind": "webhook", "options": {"url": "http://hooks.example.org/"}},
        {"kind": "webhook", "options": {"url": "https://user:pw@hooks.example.org/"}},
        {"kind": "webhook", "options": {"url": "ftp://hooks.example.org/"}},
        {"kind": "webhook", "options": {"url": "https://hooks.example.org:99999/"}},
        {"kind": "webhook", "options": {"url": 7}},
        {"kind": "webhook", "options": {}},
        {"kind": "webhook", "options": {"url": "https://hooks.example.org/", "verify": False}},
        {"kind": "email", "options": {"to": "ops@example.org"}},
        {"kind": "email", "options": {"to": []}},
        {"kind": "email", "options": {"to": ["ops@example.org\nBcc: x@example.org"]}},
        {"kind": "email", "options": {"to": ["nobody"]}},
        {"kind": "log", "options": {"level": "debug"}},
        {"kind": "pigeon"},
        {"kind": True},
        {"kind": "log", "options": []},
        {"kind": "log", "enabled": "yes"},
    ],
)
def test_a_wrong_handler_is_refused(people: Cast, body: dict[str, Any]) -> None:
    answer = ask(people, "bob", "post", HANDLERS, {"name": "mine", "reason": "x", **body})
    assert answer.status_code == 400, answer.content
    assert not AlertHandler.objects.filter(name="mine").exists()


def test_a_handler_that_rules_name_stays(people: Cast) -> None:
    ask(people, "bob", "post", HANDLERS, {"name": "ops", "kind": "email", "options": {"to": ["a@example.org"]}, "reason": "x"})
    ask(people, "bob", "post", RULES, {"name": "mine", "expr": EXPR, "handlers": ["ops"], "reason": "x"})
    assert refused(ask(people, "bob", "delete", f"{HANDLERS}/ops?reason=x")) == (409, "conflict")
    assert refused(ask(people, "bob", "delete", f"{HANDLERS}/log?reason=x")) == (409, "conflict")
    ask(people, "bob", "delete", f"{RULES}/mine?reason=x")
    assert ask(people, "bob", "delete", f"{HANDLERS}/ops?reason=x").status_code == 204


def test_a_test_fire_answers_what_became_of_it_and_makes_no_incident(people: Cast) -> None:
    done = ask(people, "bob", "post", f"{RULES}/loop_lag/test-fire", {"reason": "does it reach us?"})
    assert [(line["handler"], line["notice"], line["outcome"]) for line in done.json()["results"]] == [
        ("event", "test", "sent"),
        ("log", "test", "sent"),
    ]
    assert AlertIncident.objects.count() == 0


def test_who_may_nothing_sees_nothing_and_who_may_look_changes_nothing(people: Cast) -> None:
    row = incident()
    reads = [ALERTS, f"{ALERTS}/{row.key}", RULES, f"{RULES}/loop_lag", HANDLERS, f"{HANDLERS}/log"]
    reads += [SYSTEM + "alert-silences", SYSTEM + "alert-deliveries"]
    writes: list[tuple[str, str, Any]] = [
        ("post", f"{ALERTS}/{row.key}/acknowledge", {"reason": "x"}),
        ("post", f"{ALERTS}/{row.key}/silence", {"for_s": 60, "reason": "x"}),
        ("post", f"{ALERTS}/{row.key}/unsilence", {"reason": "x"}),
        ("post", RULES, {"name": "mine", "expr": EXPR, "reason": "x"}),
        ("put", f"{RULES}/loop_lag", {"expr": EXPR, "reason": "x"}),
        ("delete", f"{RULES}/loop_lag?reason=x", None),
        ("post", f"{RULES}/loop_lag/test-fire", {"reason": "x"}),
        ("post", f"{RULES}/loop_lag/silence", {"for_s": 60, "reason": "x"}),
        ("post", HANDLERS, {"name": "mine", "kind": "log", "reason": "x"}),
        ("put", f"{HANDLERS}/log", {"reason": "x"}),
        ("delete", f"{HANDLERS}/log?reason=x", None),
        ("post", f"{HANDLERS}/log/rekey", {"reason": "x"}),
    ]
    for path in reads:
        assert ask(people, "charlie", "get", path).status_code == 403, path
        assert ask(people, "erin", "get", path).status_code == 200, path
    for method, path, body in writes:
        for who in ("charlie", "erin"):
            assert ask(people, who, method, path, body).status_code == 403, (who, path)
    assert AlertRule.objects.filter(name="mine").exists() is False
