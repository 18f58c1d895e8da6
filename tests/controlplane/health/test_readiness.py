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
