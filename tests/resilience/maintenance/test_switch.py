"""The switch in one process: what it refuses, what it never refuses, and when it ends."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Iterator
from typing import Any

import pytest

from resilience import maintenance, telemetry
from resilience.clock import FakeClock
from resilience.config import Live, Snapshot
from resilience.errors import ConfigInvalid, MaintenanceMode
from resilience.maintenance import Switch

NOW = 1_700_000_000.0


class Desk:
    """A switch with a clock of its own; `set` applies values as a follower would."""

    def __init__(self) -> None:
        self.clock = FakeClock(NOW)
        self.live = Live()
        self.switch = Switch(self.live, self.clock)
        self.switch.set_writer(lambda values, reason: self.set(**values))
        self.version = 0

    def set(self, **values: Any) -> None:
        self.version += 1
        assert self.live.consider(Snapshot(1, self.version, {"maintenance": values}), "test")

    def refuses(self, **call: Any) -> bool:
        return self.switch.active(**call) is not None


@pytest.fixture
def desk() -> Desk:
    return Desk()


@pytest.fixture
def events() -> Iterator[list[tuple[str, Any]]]:
    heard: list[tuple[str, Any]] = []
    out = telemetry.subscribe(lambda event: heard.append((event.name, event.attributes.get("mode"))), "maintenance.")
    yield heard
    out()


def test_off_refuses_nothing(desk: Desk) -> None:
    assert not desk.refuses(path="/api/v1/roles/", write=True)
    assert desk.switch.status().mode == "off"


def test_full_refuses_everything_and_says_why_and_for_how_long(desk: Desk) -> None:
    desk.switch.enable("moving house", until=NOW + 90)
    error = desk.switch.active(path="/api/v1/roles/")
    assert isinstance(error, MaintenanceMode)
    assert (error.reason, error.until, error.retry_after_s) == ("moving house", NOW + 90, 90)
    assert desk.refuses(permission="post:read")
    desk.switch.disable()
    assert not desk.refuses(path="/api/v1/roles/")


def test_read_only_refuses_writes_and_lets_checks_go_on(desk: Desk) -> None:
    desk.switch.enable("backup", mode="read_only")
    assert not desk.refuses(path="/api/v1/check")
    assert not desk.refuses(permission="post:read")
    assert desk.refuses(path="/api/v1/roles/", write=True)


def test_it_ends_by_its_stamp_to_the_microsecond(desk: Desk, events: list[tuple[str, Any]]) -> None:
    desk.switch.enable("x", until=NOW + 10)
    desk.clock.advance_us(9_999_999)
    assert desk.refuses(path="/")
    desk.clock.advance_us(1)
    assert not desk.refuses(path="/")
    assert desk.switch.status().mode == "off"
    assert events == [("maintenance.on", "full"), ("maintenance.off", None)]


def test_one_that_ended_before_it_was_read_never_begins(desk: Desk, events: list[tuple[str, Any]]) -> None:
    desk.set(mode="full", reason="of a last-known-good file", until=NOW - 1)
    assert not desk.refuses(path="/")
    assert events == []


@pytest.mark.parametrize(
    ("path", "hit"),
    [
        ("/api/v1/roles/", True),
        ("/api/v1/roles", True),
        ("/api/v1/roles/editor/", True),
        ("/api/v1/rolesx/", False),
        ("/api/v1/", False),
        ("/api/v2/", True),
        ("/api/v2", True),
        ("", False),
        (None, False),
    ],
)
def test_a_path_prefix_narrows_it_by_whole_segments(desk: Desk, path: str | None, hit: bool) -> None:
    desk.switch.enable("x", paths=["/api/v1/roles", "/api/v2/"])
    assert desk.refuses(path=path) is hit


@pytest.mark.parametrize(
    ("permission", "hit"),
    [("post:edit", True), ("post:edit:all", False), ("comment:read", True), ("comments:read", False), (None, False)],
)
def test_a_permission_narrows_it(desk: Desk, permission: str | None, hit: bool) -> None:
    desk.switch.enable("x", permissions=["post:edit", "comment:*"])
    assert desk.refuses(permission=permission) is hit
    assert not desk.refuses(path="/api/v1/roles/"), "paths go on"


def test_paths_and_permissions_are_both_enough(desk: Desk) -> None:
    desk.switch.enable("x", paths=["/a"], permissions=["post:*"])
    assert desk.refuses(path="/a")
    assert desk.refuses(permission="post:edit")
    assert not desk.refuses(path="/b", permission="comment:read")


@pytest.mark.parametrize(
    ("address", "through"),
    [
        ("10.200.3.4", True),
        ("192.0.2.7", True),
        ("192.0.2.8", False),
        ("::ffff:10.0.0.1", True),
        ("2001:db8::5", True),
        ("2001:db9::5", False),
        ("unix:", False),
        ("", False),
        (None, False),
        ("10.0.0.1, 8.8.8.8", False),
    ],
)
def test_listed_addresses_go_on(desk: Desk, address: str | None, through: bool) -> None:
    desk.switch.enable("x", allow=["10.0.0.0/8", "192.0.2.7", "2001:db8::/64"])
    assert desk.refuses(path="/", address=address) is not through


def test_what_is_declared_is_never_behind_it(desk: Desk) -> None:
    forget = desk.switch.never(paths=["/admin", "/healthz"], permissions=["permsite.*"])
    desk.switch.enable("x", paths=["/admin"])
    desk.switch.enable("x")
    for path in ("/admin", "/admin/", "/admin/login/", "/healthz"):
        assert not desk.refuses(path=path, write=True), path
    assert not desk.refuses(permission="permsite.config:view")
    for path in ("/administrators", "/healthz2", "//admin/", "/x/admin/", "/ADMIN/"):
        assert desk.refuses(path=path), path
    assert desk.refuses(permission="permsitex:view")
    forget()
    assert desk.refuses(path="/admin/")


def test_an_exemption_is_carried_along_and_ends(desk: Desk) -> None:
    desk.switch.enable("x")
    with maintenance.exempt():
        assert not desk.refuses(permission="post:read")
    assert desk.refuses(permission="post:read")


@pytest.mark.parametrize(
    ("call", "path", "told"),
    [
        ({"reason": ""}, "maintenance", "a reason is needed"),
        ({"reason": None}, "maintenance.reason", "must not be null"),
        ({"reason": "x", "mode": "off"}, "maintenance.mode", "must be full or read_only"),
        ({"reason": "x", "mode": "half"}, "maintenance.mode", "must be full or read_only"),
        ({"reason": "x", "until": NOW}, "maintenance.until", "lies in the past"),
        ({"reason": "x", "until": NOW - 1}, "maintenance.until", "lies in the past"),
        ({"reason": "x", "until": math.nan}, "maintenance.until", "must be a finite number"),
        ({"reason": "x", "until": math.inf}, "maintenance.until", "must be a finite number"),
        ({"reason": "x", "until": dt.datetime(2099, 1, 1)}, "maintenance.until", "must name its zone"),  # noqa: DTZ001
        ({"reason": "x", "until": dt.timedelta(hours=1)}, "maintenance.until", "must be a number"),
        ({"reason": "x", "allow": "10.0.0.1"}, "maintenance.allow", "must be a list of texts, not a text"),
        ({"reason": "x", "allow": [10]}, "maintenance.allow", "item 0: must be a text, not a number"),
        ({"reason": "x", "paths": ["relative"]}, "maintenance.paths", "begins with '/'"),
    ],
)
def test_a_wrong_call_is_refused_and_switches_nothing(desk: Desk, call: dict[str, Any], path: str, told: str) -> None:
    with pytest.raises(ConfigInvalid) as caught:
        desk.switch.enable(**call)
    assert caught.value.path == path
    assert told in caught.value.problem
    assert (desk.version, desk.switch.status().mode) == (0, "off")


def test_an_end_may_be_a_datetime_or_a_text(desk: Desk) -> None:
    end = dt.datetime.fromtimestamp(NOW + 60, dt.UTC)
    for until in (end, end.isoformat(), NOW + 60):
        desk.switch.enable("x", until=until)
        assert desk.switch.status().until == NOW + 60


def test_events_and_the_gauge_follow_the_switch(desk: Desk, events: list[tuple[str, Any]]) -> None:
    desk.switch.enable("x", mode="read_only")
    assert telemetry.collect()["resilience_maintenance_mode"][()] == 1
    desk.switch.enable("x")
    assert telemetry.collect()["resilience_maintenance_mode"][()] == 2
    desk.set(mode="full", reason="x")
    desk.switch.disable()
    assert telemetry.collect()["resilience_maintenance_mode"][()] == 0
    assert events == [("maintenance.on", "read_only"), ("maintenance.on", "full"), ("maintenance.off", None)]


def test_without_rows_and_store_the_switch_works_in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    from resilience import config

    monkeypatch.setattr(maintenance.SWITCH, "_writer", None)
    config.LIVE.reset()
    try:
        maintenance.enable("alone")
        assert maintenance.active(path="/") is not None
        maintenance.disable()
        assert maintenance.active(path="/") is None
    finally:
        config.LIVE.reset()


def test_the_retry_after_is_never_before_the_end_and_at_most_a_tenth_later() -> None:
    for left_s in (0.2, 1.0, 59.5, 3600.0):
        waits = [maintenance.retry_after(MaintenanceMode("x", retry_after_s=left_s)) for _ in range(200)]
        assert all(max(1.0, left_s) <= wait <= math.ceil(max(1.0, left_s) * 1.1) for wait in waits)
    assert len({maintenance.retry_after(MaintenanceMode("x", retry_after_s=3600.0)) for _ in range(50)}) > 1


def test_the_problem_document_says_reason_and_end() -> None:
    import json

    document = json.loads(maintenance.problem(MaintenanceMode("搬家 “x”", 1_700_000_000.0)))
    assert document["status"] == 503
    assert document["detail"] == "Under maintenance: 搬家 “x” (until 2023-11-14T22:13:20Z)"
    assert (document["reason"], document["until"]) == ("搬家 “x”", "2023-11-14T22:13:20Z")


async def sent_for(scope: dict[str, Any], error: MaintenanceMode) -> list[dict[str, Any]]:
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    await maintenance.refuse(scope, send, error, b"body", "text/plain")
    return sent


def answer_to(scope: dict[str, Any], reason: str = "x") -> list[dict[str, Any]]:
    import asyncio

    return asyncio.run(sent_for(scope, MaintenanceMode(reason, retry_after_s=30.0)))


def test_a_request_is_answered_503_with_retry_after() -> None:
    start, body = answer_to({"type": "http", "method": "GET"})
    headers = dict(start["headers"])
    assert start["status"] == 503
    assert 30 <= int(headers[b"retry-after"]) <= 33
    assert headers[b"cache-control"] == b"no-store"
    assert body["body"] == b"body"
    assert answer_to({"type": "http", "method": "HEAD"})[1]["body"] == b""


def test_a_websocket_gets_an_answer_where_the_server_has_one_else_1013() -> None:
    start, _ = answer_to({"type": "websocket", "extensions": {"websocket.http.response": {}}})
    assert (start["type"], start["status"]) == ("websocket.http.response.start", 503)
    [close] = answer_to({"type": "websocket"}, reason="搬" * 200)
    assert (close["type"], close["code"]) == ("websocket.close", 1013)
    assert len(close["reason"].encode()) <= 123, "what a close frame holds"
