"""Readiness: from the last measurements alone, 503 past the database's bound, degraded without the store."""

from __future__ import annotations

import asyncio

import pytest
from django.db import OperationalError

from controlplane.health import monitor as health
from permissions.models import Realm


@pytest.fixture
def monitor() -> health.Monitor:
    return health.Monitor()


class Away:
    def count(self) -> int:
        raise OperationalError("could not connect to db.internal as permsite")


@pytest.mark.django_db
def test_it_is_starting_until_the_database_has_answered_once(monitor):
    assert monitor.readiness() == (503, "starting")
    monitor.measure()
    assert monitor.readiness() == (200, "ok")


@pytest.mark.django_db
def test_a_lost_database_is_told_at_once_and_ends_readiness_past_the_bound(monkeypatch):
    now = [1000.0]
    monitor = health.Monitor(lambda: now[0])
    monitor.measure()
    monkeypatch.setattr(Realm, "objects", Away())
    monitor.measure()
    assert monitor.database.state == "down" and monitor.readiness() == (200, "ok")
    now[0] += health.BOUND_S + 0.1
    assert monitor.readiness() == (503, "database")


@pytest.mark.django_db
def test_an_error_is_named_without_its_text(monitor, monkeypatch):
    monkeypatch.setattr(Realm, "objects", Away())
    monitor.measure()
    assert monitor.database.to_dict()["last_error"] == "OperationalError"
    assert "db.internal" not in str(monitor.database.to_dict())


@pytest.mark.django_db
def test_without_its_store_the_site_is_degraded_and_still_ready(monitor, settings, tmp_path, valkey_url):
    settings.REDIS_URL = valkey_url
    monitor.measure()
    assert monitor.store.state == "ok" and monitor.readiness() == (200, "ok")
    settings.REDIS_URL = f"unix://{tmp_path}/nobody.sock"
    monitor._client = None
    monitor.measure()
    assert monitor.store.state == "down" and monitor.readiness() == (200, "degraded")


@pytest.mark.django_db
@pytest.mark.cluster
def test_a_cluster_is_measured_too_and_sentinels_that_are_gone_are_told(monitor, settings, cluster_url):
    settings.REDIS_URL = cluster_url
    monitor.measure()
    assert monitor.store.state == "ok" and monitor.store.latency_ms > 0
    settings.REDIS_URL = "redis+sentinel://127.0.0.1:1/main/0"
    monitor._client = None
    monitor.measure()
    assert monitor.store.state == "down" and monitor.store.error == "MasterNotFoundError"


@pytest.mark.django_db(transaction=True)
def test_it_measures_from_start_to_stop_and_forgets_then(monitor):
    async def run() -> object:
        await monitor.start()
        assert monitor.is_running and monitor.readiness() == (200, "ok")
        await monitor.stop()
        return monitor.readiness()

    assert asyncio.run(run()) == (503, "starting")
    assert not monitor.is_running


@pytest.mark.django_db
def test_a_server_that_ends_is_draining_whatever_else_is_well(monitor):
    monitor.measure()
    monitor.drain()
    assert monitor.readiness() == (503, "draining")


def test_the_server_says_so_before_it_closes_anything(monitor, monkeypatch):
    """Whoever is connected when it stops listening is asked for a last request, and may be a probe."""
    import uvicorn

    from permsite import workers

    order: list[str] = []

    async def closes(self: object, sockets: object = None) -> None:
        order.append("closed" if monitor.is_draining else "closed before it was said")

    monkeypatch.setattr(workers, "_leaving", [])
    monkeypatch.setattr(uvicorn.Server, "shutdown", closes)
    workers.when_leaving(monitor.drain)
    asyncio.run(workers.Server(uvicorn.Config("nothing:here")).shutdown())
    assert order == ["closed"]


@pytest.mark.django_db
def test_it_is_starting_while_head_and_role_table_are_still_being_loaded(monitor, monkeypatch):
    class Warming:
        is_ready = False
        state = "running"

    progress = Warming()
    monkeypatch.setattr("controlplane.health.monitor.warmup.last", lambda: progress)
    monitor.measure()
    assert monitor.database.state == "ok" and monitor.readiness() == (503, "starting")
    progress.is_ready = True
    monitor.measure()
    assert monitor.readiness() == (200, "ok")


@pytest.mark.django_db
def test_a_warm_up_that_failed_does_not_keep_it_from_being_ready_once_the_table_can_be_had(monitor, monkeypatch):
    from permissions.engine.reasons import Unavailable

    class Failed:
        is_ready = False
        state = "failed"

    monkeypatch.setattr("controlplane.health.monitor.warmup.last", Failed)
    asked: list[str] = []

    def refresh(realm: str) -> None:
        asked.append(realm)
        if len(asked) == 1:
            raise Unavailable("the database does not answer", retry_after_s=1.0)

    monkeypatch.setattr("controlplane.health.monitor.pdp.refresh", refresh)
    monitor.measure()
    assert monitor.readiness() == (503, "starting")
    monitor.measure()
    assert monitor.readiness() == (200, "ok") and asked == ["default", "default"]


@pytest.mark.django_db
def test_in_maintenance_it_is_ready_and_says_so_and_past_the_bound_it_is_not(monkeypatch):
    from resilience import maintenance

    now = [1000.0]
    monitor = health.Monitor(lambda: now[0])
    monitor.measure()
    monkeypatch.setattr(maintenance, "status", lambda: maintenance.Status(mode="full", reason="moving house"))
    assert monitor.readiness() == (200, "maintenance")
    monkeypatch.setattr(Realm, "objects", Away())
    monitor.measure()
    now[0] += health.BOUND_S + 0.1
    assert monitor.readiness() == (503, "database")


@pytest.mark.django_db
def test_a_measurement_that_hangs_ends_readiness_too(monkeypatch):
    """The task waits for its answer, so nothing says down: the age of the last good one does."""
    now = [1000.0]
    monitor = health.Monitor(lambda: now[0])
    monitor.measure()
    now[0] += health.BOUND_S + 0.1
    assert monitor.database.state == "ok" and monitor.readiness() == (503, "database")


@pytest.mark.django_db
def test_a_lost_database_is_degraded_at_once_while_checks_are_still_answered(monkeypatch):
    now = [1000.0]
    monitor = health.Monitor(lambda: now[0])
    monitor.measure()
    monkeypatch.setattr(Realm, "objects", Away())
    now[0] += 1
    monitor.measure()
    assert monitor.readiness() == (200, "degraded")


@pytest.mark.django_db
def test_healthz_asks_nothing_but_whether_the_loop_turns(monkeypatch):
    from django.test import Client

    monkeypatch.setattr(Realm, "objects", Away())
    assert Client().get("/healthz").json() == {"status": "ok"}

    class Standing:
        turns = False

    monkeypatch.setattr(health.monitor, "lag", Standing())
    answer = Client().get("/healthz")
    assert answer.status_code == 503 and answer.json() == {"status": "stalled"}


def test_a_decision_log_that_cannot_be_written_is_remembered_until_it_can(monitor):
    from resilience.telemetry import Event

    for name, failing in (("decision_log.failing", True), ("decision_log.lost", True), ("decision_log.recovered", False)):
        monitor._log_told(Event(name, 0, {}))
        assert monitor.is_log_failing is failing
