"""/api/v1/maintenance: the switch as operators turn it."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client

from controlplane.models import ConfigRevision
from permissions.models import AuditEvent
from resilience import config, maintenance
from tests.permissions.api.world import Cast, refused

pytestmark = pytest.mark.both_databases
OFF: dict[str, Any] = {"mode": "off", "reason": "", "until": None, "allow": [], "paths": [], "permissions": []}


def test_it_is_off_at_first(cast: Cast) -> None:
    answer = cast.bob.get("maintenance")
    assert answer.status == 200
    assert answer.json == {**OFF, "version": 0}


def test_it_is_turned_on_and_off_again(cast: Cast, django_capture_on_commit_callbacks: Any) -> None:
    body = {"mode": "full", "reason": "moving house", "until": "2099-12-31T04:00:00Z", "allow": ["10.1.2.3/8"]}
    with django_capture_on_commit_callbacks(execute=True):
        answer = cast.bob.put("maintenance", body)
    assert answer.status == 200, answer.body
    expected = {**OFF, **body, "allow": ["10.0.0.0/8"]}
    assert {key: answer.json[key] for key in OFF} == expected
    assert {key: cast.bob.get("maintenance").json[key] for key in OFF} == expected
    error = maintenance.active(path="/api/v1/roles/")
    assert error is not None
    assert error.reason == "moving house"
    assert maintenance.active(path="/api/v1/roles/", address="10.9.9.9") is None
    with django_capture_on_commit_callbacks(execute=True):
        assert cast.bob.put("maintenance", {"mode": "off"}).json["mode"] == "off"
    assert maintenance.active(path="/api/v1/roles/") is None
    actions = AuditEvent.objects.filter(object_id="maintenance").order_by("seq").values_list("action", "actor", "reason")
    assert list(actions) == [("maintenance_on", "user:bob", "moving house"), ("maintenance_off", "user:bob", "")]


@pytest.mark.parametrize(
    ("body", "where", "told"),
    [
        ({}, "mode", "is missing"),
        ([], "", "must be an object"),
        ({"mode": "on"}, "maintenance.mode", "must be one of off, read_only, full"),
        ({"mode": None}, "maintenance.mode", "must not be null"),
        ({"mode": "full"}, "maintenance", "a reason is needed"),
        ({"mode": "full", "reason": ""}, "maintenance", "a reason is needed"),
        ({"mode": "full", "reason": "x", "until": "2001-01-01T00:00:00Z"}, "maintenance.until", "lies in the past"),
        ({"mode": "full", "reason": "x", "until": "2099-01-01"}, "maintenance.until", "must name its zone"),
        ({"mode": "full", "reason": "x", "until": True}, "maintenance.until", "must be a number, not a boolean"),
        ({"mode": "full", "reason": "x", "allow": ["me"]}, "maintenance.allow", "must be an address or a network"),
        ({"mode": "full", "reason": "x", "allow": "10.0.0.1"}, "maintenance.allow", "must be a list of texts"),
        ({"mode": "full", "reason": "x", "paths": ["api"]}, "maintenance.paths", "begins with '/'"),
        ({"mode": "full", "reason": "x\x00y"}, "maintenance.reason", "control character"),
        ({"mode": "full", "reason": "x", "colour": 1}, "colour", "is not known here"),
    ],
)
def test_a_wrong_switching_is_refused_with_its_place(cast: Cast, body: Any, where: str, told: str) -> None:
    answer = cast.bob.put("maintenance", body)
    refused(answer, 400, "invalid")
    assert told in answer.places()[where]
    assert not ConfigRevision.objects.exists()


def test_who_may_see_may_not_yet_switch(cast: Cast) -> None:
    from tests.worlds import apply

    apply('version: 1\nrealm: default\nbindings: [{subject: "user:charlie", role: watcher}]')
    assert cast.charlie.get("maintenance").status == 200
    answer = cast.charlie.put("maintenance", {"mode": "full", "reason": "x"})
    refused(answer, 403, "forbidden")
    assert "permsite.control:operate on permsite.control:maintenance" in answer.problem["detail"]
    refused(cast.plain_key.put("maintenance", {"mode": "off"}), 403, "forbidden")
    refused(cast.nobody.get("maintenance"), 401, "unauthenticated")
    assert cast.admin_key.put("maintenance", {"mode": "off"}).status == 200


def test_the_right_may_be_given_for_this_page_alone(cast: Cast) -> None:
    from tests.worlds import apply

    apply(
        """
version: 1
realm: default
resources: [{id: "permsite.control:maintenance"}]
bindings: [{subject: "user:charlie", role: operator, scope: "permsite.control:maintenance"}]
"""
    )
    assert cast.charlie.put("maintenance", {"mode": "off"}).status == 200
    refused(cast.charlie.get("system/config/limiters"), 403, "forbidden")


def test_a_superuser_switches_while_no_decision_can_be_given(cast: Cast, monkeypatch: pytest.MonkeyPatch) -> None:
    from permissions import pdp

    def unavailable(*args: Any, **kwargs: Any) -> Any:
        raise pdp.Unavailable("no database", 1.0)

    monkeypatch.setattr(pdp, "decide", unavailable)
    assert cast.root.put("maintenance", {"mode": "full", "reason": "repair"}).status == 200
    refused(cast.bob.put("maintenance", {"mode": "off"}), 503, "unavailable")
    assert AuditEvent.objects.get(action="maintenance_on").actor_kind == "administrator"


def test_two_operators_do_not_overwrite_each_other(cast: Cast) -> None:
    assert cast.bob.put("maintenance", {"mode": "full", "reason": "one"}, If_Match='"0"').status == 200
    refused(cast.alice.put("maintenance", {"mode": "off"}, If_Match='"0"'), 409, "conflict")


def test_an_end_that_has_passed_is_off(cast: Cast, monkeypatch: pytest.MonkeyPatch) -> None:
    cast.bob.put("maintenance", {"mode": "full", "reason": "x", "until": "2099-01-01T00:00:00Z"})
    from resilience.clock import FakeClock

    monkeypatch.setattr(maintenance.SWITCH, "_clock", FakeClock(4_102_444_800.0))
    assert cast.bob.get("maintenance").json["mode"] == "off"


def test_a_shell_switches_through_the_rows(cast: Cast, django_capture_on_commit_callbacks: Any) -> None:
    with django_capture_on_commit_callbacks(execute=True):
        maintenance.enable("from a shell", mode="read_only")
    row = ConfigRevision.objects.get()
    assert (row.author, row.sections["maintenance"]["mode"]) == ("system", "read_only")
    assert maintenance.status().mode == "read_only"
    assert config.current().version == 1
    with django_capture_on_commit_callbacks(execute=True):
        maintenance.disable()
    assert maintenance.status().mode == "off"


@pytest.mark.parametrize("mode", ["full", "read_only"])
def test_while_it_is_on_this_process_is_ready_and_says_maintenance(
    cast: Cast, mode: str, django_capture_on_commit_callbacks: Any
) -> None:
    def probe() -> tuple[int, bytes]:
        answer = Client().get("/readyz")
        return answer.status_code, answer.content

    assert probe() == (200, b'{"status": "ok"}')
    with django_capture_on_commit_callbacks(execute=True):
        cast.bob.put("maintenance", {"mode": mode, "reason": "moving"})
    assert probe() == (200, b'{"status": "maintenance"}')
    assert Client().get("/healthz").status_code == 200
    with django_capture_on_commit_callbacks(execute=True):
        cast.bob.put("maintenance", {"mode": "off"})
    assert probe() == (200, b'{"status": "ok"}')


def test_the_switch_is_never_behind_itself(cast: Cast, django_capture_on_commit_callbacks: Any) -> None:
    with django_capture_on_commit_callbacks(execute=True):
        cast.bob.put("maintenance", {"mode": "full", "reason": "x"})
    never: tuple[str, ...] = (
        "/api/v1/maintenance",
        "/api/v1/system/config/limiters",
        "/admin/",
        "/admin/login/",
        "/static/x.css",
    )
    never += ("/healthz", "/readyz", "/metrics", "/i18n/setlang/")
    assert [path for path in never if maintenance.active(path=path, write=True) is not None] == []
    assert maintenance.active(permission="permsite.config:view") is None
    for path in ("/adminx", "/api/v1/maintenancex", "/api/v1/check", "/access/v1/evaluation", "/"):
        assert maintenance.active(path=path) is not None, path


def test_it_turns_though_another_stored_section_has_become_wrong(cast: Cast, django_capture_on_commit_callbacks: Any) -> None:
    """As after an upgrade that tightened a bound: the operator must not have to mend retries before a fire is put out."""
    ConfigRevision.objects.create(
        epoch=1, version=1, sections={"retries": {"x": {"attempts": 10_000}}}, section="retries", author="an older release"
    )
    with django_capture_on_commit_callbacks(execute=True):
        answer = cast.bob.put("maintenance", {"mode": "full", "reason": "fire"})
    assert answer.status == 200, answer.body
    assert maintenance.active(path="/api/v1/roles/") is not None
    with django_capture_on_commit_callbacks(execute=True):
        assert cast.bob.put("maintenance", {"mode": "off"}).status == 200
    assert maintenance.active(path="/api/v1/roles/") is None
