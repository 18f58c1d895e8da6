"""/api/v1/system/health: each component, what to do; open without names and addresses, in detail for who may view."""

from __future__ import annotations

import json
import time

import pytest
from django.contrib.auth import get_user_model
from django.db import OperationalError, connection
from django.test import Client

from controlplane.health import views
from controlplane.health.detail import Details
from controlplane.health.monitor import Monitor, monitor
from controlplane.insight.findings import Findings
from permissions.models import Realm
from permissions.services.keys import key_create
from permissions.writing import SYSTEM

pytestmark = pytest.mark.django_db
PATH = "/api/v1/system/health"
COMPONENTS = {
    *("database", "store", "loop", "decisions", "cache_l1", "cache_l2", "event_loop"),
    *("decision_log", "live", "config", "host", "workers"),
}


@pytest.fixture(autouse=True)
def _anew():
    views._details.cache_clear()
    yield
    views._details.cache_clear()


@pytest.fixture
def planted(monkeypatch):
    """Something to suggest, with a detail that is not for everybody."""
    found = Findings(True, unused=[{"table": "permissions_role", "index": "secret_index", "bytes": 9_000_000}])
    monkeypatch.setattr("controlplane.insight.findings.look", lambda: found)


def asked(**headers: str) -> dict:
    return json.loads(Client().get(PATH, headers=headers).content)


def key(realm: str = "default", **options) -> str:
    return key_create(actor=SYSTEM, realm=Realm.objects.get_or_create(name=realm)[0], name="watcher", **options)[1]


def test_it_tells_each_component_with_state_and_since(settings):
    found = asked()
    assert set(found["components"]) == COMPONENTS
    for component in found["components"].values():
        assert component["state"] in ("ok", "degraded", "down", "none")
    assert all("since_s" in part for name, part in found["components"].items() if name != "decisions")
    assert found["version"] == settings.VERSION
    assert found["components"]["database"]["version"] and found["components"]["database"]["latency_ms"] > 0


def test_without_a_leader_the_site_is_degraded_and_the_cause_is_named():
    found = asked()
    assert found["status"] == "degraded" and found["causes"] == ["no_leader"]
    assert "no_leader" in [line["code"] for line in found["suggestions"]]


def test_the_open_form_names_no_index_no_realm_no_host_and_no_address(planted, settings, tmp_path, valkey_url):
    import socket

    settings.REDIS_URL = valkey_url
    Realm.objects.create(name="tenant-of-secrets")
    text = Client().get(PATH).content.decode()
    assert "unused_indexes" in text
    for secret in (
        "secret_index",
        "permissions_role",
        "tenant-of-secrets",
        valkey_url.removeprefix("unix://"),
        socket.gethostname(),
    ):
        assert secret not in text
    assert connection.settings_dict["USER"] in ("", "postgres") or connection.settings_dict["USER"] not in text


def test_who_may_view_the_overview_sees_the_detail(planted):
    found = asked(Authorization=f"Bearer {key(is_admin=True)}")
    (line,) = [line for line in found["suggestions"] if line["code"] == "unused_indexes"]
    assert line["detail"]["unused"][0]["index"] == "secret_index"


def test_a_superuser_s_session_sees_the_detail_and_another_one_does_not(planted):
    users = get_user_model().objects
    for user, sees in ((users.create_superuser("alice"), True), (users.create_user("charlie"), False)):
        client = Client()
        client.force_login(user)
        assert ("secret_index" in client.get(PATH).content.decode()) is sees


@pytest.mark.parametrize("header", ["Bearer nonsense", "Basic YTpi", "Bearer ps_aaaaaaaa_" + "x" * 43, "\u00e9" * 300])
def test_a_caller_who_proves_nothing_sees_the_open_form(planted, header):
    answer = Client().get(PATH, headers={"Authorization": header})
    assert answer.status_code == 200 and b"secret_index" not in answer.content


def test_a_plain_key_and_one_of_another_realm_see_the_open_form(planted):
    for text in (key(), key("tenant", is_admin=True)):
        assert b"secret_index" not in Client().get(PATH, headers={"Authorization": f"Bearer {text}"}).content


def test_it_looks_at_most_once_a_second_and_again_afterwards():
    now = [100.0]
    details = Details(Monitor(), lambda: now[0])
    first = details.get()
    now[0] += 0.99
    assert details.get() is first
    now[0] += 0.02
    assert details.get() is not first


def test_a_component_that_hangs_is_told_as_down_within_its_limit_and_hinders_no_other(monkeypatch):
    import threading

    free = threading.Event()
    monkeypatch.setattr("controlplane.insight.host.look", lambda: free.wait(60))
    details = Details(monitor)
    try:
        found = details.get()
        assert found.components["host"]["state"] == "down" and found.components["host"]["last_error"] == "TimeoutError"
        assert found.components["decision_log"]["state"] == "ok"
    finally:
        free.set()


def test_a_lost_database_is_told_by_its_kind_and_the_page_answers(monkeypatch):
    def away():
        raise OperationalError("could not connect to db.internal as permsite")

    monkeypatch.setattr("controlplane.insight.database.look", away)
    found = asked()
    assert next(line["code"] for line in found["suggestions"]) == "database_down"
    assert "db.internal" not in json.dumps(found)


def test_a_lost_redis_is_degraded_and_answers_are_200(settings, tmp_path, monkeypatch):
    settings.REDIS_URL = f"unix://{tmp_path}/nobody.sock"
    monkeypatch.setattr(monitor, "_client", None)
    answer = Client().get(PATH)
    found = answer.json()
    assert answer.status_code == 200 and found["status"] == "degraded" and "store_down" in found["causes"]
    assert found["components"]["store"]["state"] == "down" and str(tmp_path) not in answer.content.decode()
    settings.REDIS_URL = ""
    monitor.store.measured("none")


def test_since_tells_when_a_state_began_and_stays_while_it_does():
    from controlplane.health.component import Component

    began = time.time() - 100
    component = Component("ok", began)
    component.measured("ok", 1.0)
    assert component.since == began
    component.measured("down", None, "TimeoutError")
    assert component.since > began and component.to_dict()["last_error"] == "TimeoutError"


@pytest.mark.parametrize("state", ["ok", "down"])
def test_a_look_that_takes_too_long_is_slow_while_the_measurements_go_on_and_down_when_they_do_not(monkeypatch, state):
    """A machine that is busy takes longer than a fifth of a second for anything."""

    def slow():
        raise TimeoutError("took too long")

    monkeypatch.setattr("controlplane.insight.database.look", slow)
    busy = Monitor()
    busy.measure()
    busy.database.measured(state)
    found = Details(busy).get()
    assert found.components["database"]["state"] == ("degraded" if state == "ok" else "down")
    assert found.seen.database_down is (state == "down")
