"""The audit page and its export: filters, paging, the head, verification, who may; formulae; bounds; the stream."""

from __future__ import annotations

import asyncio
import csv
import io
import json
from typing import Any
from urllib.parse import urlencode

import pytest
from django.test import Client

from controlplane.services import audit as service
from permissions import audit
from permissions.models import AuditEvent
from permissions.writing import SYSTEM, Actor, permission_write
from tests.controlplane.desk.conftest import CONTROL, text_of, told
from tests.permissions.api.world import Cast, refused
from tests.worlds import apply

pytestmark = pytest.mark.both_databases

EXPORTER = """
version: 1
realm: default
roles:
  - {name: auditor, permissions: ["permsite.audit:view", "permsite.control:export"]}
bindings:
  - {subject: "user:bob", role: auditor}
"""


def write(object_id: str, *, reason: str = "", after: dict[str, object] | None = None, request_id: str = "") -> None:
    with permission_write("default", Actor("user", "user:eve", administrator=True), reason, request_id=request_id) as made:
        made.record("binding.create", "binding", object_id, None, after or {"n": 1})


def page(client: Client, **query: str) -> str:
    return text_of(client.get(f"{CONTROL}audit/?{urlencode(query)}"))


def events(cast: Cast, **query: str) -> list[Any]:
    return list(cast.alice.get(f"system/snapshot/audit?{urlencode(query)}").json["data"]["events"])


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ({"actor": "user:eve"}, {"1", "2", "3"}),
        ({"object": "binding 2"}, {"2"}),
        ({"object": "3"}, {"3"}),
        ({"subject": "user:zoe"}, {"3"}),
        ({"request_id": "r-2"}, {"2"}),
        ({"actor": "user:eve", "request_id": "r-2"}, {"2"}),
        ({"actor": "user:eve", "since": "2001-01-01"}, {"1", "2", "3"}),
        ({"actor": "user:eve", "until": "2001-01-01T00:00"}, set()),
        ({"actor": "nobody"}, set()),
    ],
)
def test_each_filter_finds_its_entries(cast: Cast, query: dict[str, str], found: set[str]) -> None:
    write("1")
    write("2", request_id="r-2")
    write("3", after={"subject": "user:zoe", "role": "reader"})
    assert {event["object_id"] for event in events(cast, **query)} == found


def test_an_entry_has_its_difference(desks: dict[str, Client]) -> None:
    assert "ps-come" in page(desks["alice"], object="role")


@pytest.mark.django_db(transaction=True)
def test_an_entry_names_its_revision() -> None:
    apply(EXPORTER)
    found = service.events(SYSTEM, "default", service.Filter(revision="2"))
    assert [event.revision for event in found[:1]] == [2]


def test_the_newest_come_first_a_page_at_a_time(cast: Cast) -> None:
    for number in range(service.PAGE + 5):
        write(str(number))
    data = cast.alice.get("system/snapshot/audit?actor=user:eve").json["data"]
    assert [event["object_id"] for event in data["events"]] == [str(n) for n in reversed(range(5, service.PAGE + 5))]
    rest = cast.alice.get(f"system/snapshot/audit?actor=user:eve&before={data['before']}").json["data"]
    assert [event["object_id"] for event in rest["events"]] == ["4", "3", "2", "1", "0"] and rest["before"] is None


def test_the_head_is_that_of_the_chain(cast: Cast) -> None:
    write("1")
    assert cast.alice.get("system/snapshot/audit").json["data"]["head"]["hash"] == audit.verify("default").head


def test_nothing_yet_and_nothing_found_are_told_apart(desks: dict[str, Client]) -> None:
    apply("version: 1\nrealm: empty\n")
    AuditEvent.objects.filter(realm_name="empty").exists()
    assert "No entry fits this filter" in page(desks["root"], actor="nobody")


@pytest.mark.parametrize(
    "query",
    [{"since": "yesterday"}, {"until": "2026-99-99"}, {"revision": "-1"}, {"revision": "NaN"}, {"actor": "a\x00b"},
     {"object": "x" * 700}, {"revision": "9" * 30}, {"realm": "nowhere"}, {"realm": "\x00"},
     {"since": "0001-01-01T00:00:00+23:00"}],
)  # fmt: skip
def test_a_filter_that_cannot_be_read_is_named(desks: dict[str, Client], query: dict[str, str]) -> None:
    assert 'class="ps-errors"' in page(desks["root"], **query)


def test_the_realm_shown_must_be_ones_own_to_audit(desks: dict[str, Client]) -> None:
    apply("version: 1\nrealm: other\n")
    assert "this needs permsite.audit:view in the realm other" in page(desks["bob"], realm="other")
    assert "this needs permsite.audit:view" in page(desks["bob"])
    assert desks["charlie"].get(f"{CONTROL}audit/").status_code == 403


def test_verifying_is_a_job_and_its_outcome_is_shown(desks: dict[str, Client], cast: Cast) -> None:
    fields = {"action": "verify", "realm": "default", "change_reason": "monthly"}
    assert "this needs" in told(desks["bob"], "audit", fields)
    assert "being verified" in told(desks["root"], "audit", fields)
    from controlplane.models import OperationRun

    run = OperationRun.objects.get(kind="verify_audit")
    assert run.arguments == {"realm": "default"}
    chain = {"realm": "default", "checked": 3, "erased": 0, "first_bad": 2, "problem": "was altered", "head": "x"}
    from django.utils import timezone

    OperationRun.objects.filter(pk=run.pk).update(state="done", ended_at=timezone.now(), result={"chains": [chain]})
    assert "broken at entry 2" in page(desks["alice"])


# Export
def body_of(answer: Any) -> bytes:
    async def whole() -> bytes:
        return b"".join([piece async for piece in answer])

    return asyncio.run(whole())


def export(kind: str, **filters: str) -> str:
    """The stream itself: the test client takes answers of another kind apart."""
    rows, _number = service.export_begin(SYSTEM, "default", service.Filter(**filters), kind)
    pieces = [service.csv_text([service.COLUMNS])] if kind == "csv" else []
    for event in rows.order_by("seq"):
        pieces.append(service.csv_text([service._cells(event)]) if kind == "csv" else service._json_lines([event]))
    return "".join(pieces)


@pytest.mark.django_db(transaction=True)
def test_the_stream_gives_every_entry_once_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    apply("version: 1\nrealm: default\n")
    monkeypatch.setattr(service, "CHUNK", 3)
    for number in range(10):
        write(str(number))
    rows, number = service.export_begin(SYSTEM, "default", service.Filter(actor="user:eve"), "jsonl")
    lines = [json.loads(line) for line in body_of(service.exported(rows, "jsonl")).splitlines()]
    assert number == 10 and [line["object_id"] for line in lines] == [str(n) for n in range(10)]
    rows, _ = service.export_begin(SYSTEM, "default", service.Filter(actor="user:eve"), "csv")
    table = list(csv.DictReader(io.StringIO(body_of(service.exported(rows, "csv")).decode())))
    assert [line["object_id"] for line in table] == [str(n) for n in range(10)]


@pytest.mark.parametrize("evil", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "=cmd|' /C calc'!A0"])
def test_a_spreadsheet_computes_nothing(cast: Cast, evil: str) -> None:
    write(evil, reason=evil)
    line = list(csv.DictReader(io.StringIO(export("csv", actor="user:eve"))))[-1]
    assert line["object_id"] == f"'{evil}" and line["reason"].startswith("'")
    assert json.loads(export("jsonl", actor="user:eve").splitlines()[-1])["object_id"] == evil


def test_an_export_needs_both_rights_and_is_recorded(cast: Cast) -> None:
    refused(cast.bob.get("audit/export"), 403, "forbidden")
    apply(EXPORTER)
    answer = cast.bob.client.get("/api/v1/audit/export?format=csv&actor=user:bob")
    assert answer.status_code == 200 and answer["Content-Type"].startswith("text/csv")
    assert answer["Content-Disposition"] == 'attachment; filename="audit-default.csv"'
    event = AuditEvent.objects.get(action="control_audit_export")
    assert event.actor == "user:bob" and event.after == {"realm": "default", "format": "csv", "entries": 0, "actor": "user:bob"}


def test_too_many_are_refused_rather_than_cut(cast: Cast, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "MOST_EXPORTED", 2)
    answer = cast.root.get("audit/export")
    assert answer.status == 400 and "narrow it" in answer.problem["detail"]
    assert not AuditEvent.objects.filter(action="control_audit_export").exists()


@pytest.mark.parametrize("query", ["format=xml", "since=x", "surprise=1", "realm=nowhere", "revision=NaN", "actor=a%00"])
def test_a_bad_export_is_refused(cast: Cast, query: str) -> None:
    assert cast.root.get(f"audit/export?{query}").status in (400, 404)
