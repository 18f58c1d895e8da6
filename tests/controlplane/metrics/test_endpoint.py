"""/metrics over HTTP: open or by key, whatever is down, never behind a limit or the maintenance switch."""

from __future__ import annotations

import pytest
from django.test import Client
from prometheus_client.parser import text_string_to_metric_families

from controlplane.services.maintenance import maintenance_set
from permissions.identity import keys
from permissions.models import Realm
from permissions.services.keys import key_create
from permissions.writing import SYSTEM
from resilience import config, telemetry
from tests.permsite.test_site import ask


def names(text: str) -> set[str]:
    return {family.name for family in text_string_to_metric_families(text)}


@pytest.fixture
def key(db) -> str:
    return made_key("default")


def made_key(realm: str) -> str:
    return key_create(actor=SYSTEM, realm=Realm.objects.get_or_create(name=realm)[0], name="prometheus")[1]


@pytest.mark.django_db
def test_it_is_open_and_tells_every_metric_of_the_reference_page():
    answer = Client().get("/metrics")
    assert answer.status_code == 200 and answer["Content-Type"].startswith("text/plain; version=0.0.4")
    assert answer["Cache-Control"] == "no-store"
    assert names(answer.content.decode()) == {
        name.removesuffix("_total") if metric.kind == "counter" else name for name, metric in telemetry.METRICS.items()
    }


@pytest.mark.django_db
@pytest.mark.parametrize("method", ["post", "put", "delete", "patch"])
def test_it_is_only_read(method):
    answer = getattr(Client(enforce_csrf_checks=True), method)("/metrics")
    assert answer.status_code == 405 and answer["Allow"] == "GET, HEAD"


@pytest.mark.django_db
def test_no_path_below_or_beside_it_answers():
    assert Client().get("/metrics/").status_code == 404 and Client().get("/metrics2").status_code == 404


@pytest.mark.django_db
def test_with_metrics_key_it_wants_a_key_of_the_control_planes_realm(settings, key):
    settings.METRICS_KEY = True
    assert Client().get("/metrics", headers={"Authorization": f"Bearer {key}"}).status_code == 200
    assert Client().get("/metrics", headers={"Authorization": key}).status_code == 200
    refused = Client().get("/metrics", headers={"Authorization": f"Bearer {made_key('tenant')}"})
    assert refused.status_code == 403 and refused.content == b"metrics need an API key of the realm default\n"


@pytest.mark.django_db
@pytest.mark.parametrize(
    "header", [None, "", "Bearer", "Bearer x", "Basic YTpi", "Bearer ps_aaaaaaaa_" + "x" * 43, "\u00e9" * 500]
)
def test_with_metrics_key_nobody_else_gets_in(settings, header):
    settings.METRICS_KEY = True
    answer = Client().get("/metrics", headers={} if header is None else {"Authorization": header})
    assert answer.status_code == 401 and answer["WWW-Authenticate"] == 'Bearer realm="permsite"'
    assert b"permission_" not in answer.content


@pytest.mark.django_db
def test_a_key_that_was_proved_opens_it_while_the_database_is_away_and_an_unknown_one_does_not(settings, key, monkeypatch):
    from permissions.engine.reasons import Unavailable

    settings.METRICS_KEY = True

    def away(header):
        raise Unavailable("the database does not answer", retry_after_s=1.0)

    monkeypatch.setattr(keys, "resolve", away)
    header = {"Authorization": f"Bearer {key}"}
    refused = Client().get("/metrics", headers=header)
    assert refused.status_code == 503 and refused["Retry-After"] == "1"
    monkeypatch.setattr(
        keys, "seen", lambda text: keys.Caller("key", 1, "prometheus", "default", "ignore") if key in text else None
    )
    assert Client().get("/metrics", headers=header).status_code == 200


@pytest.mark.django_db
def test_it_answers_while_the_database_and_redis_are_away_and_says_so(settings, tmp_path, monkeypatch):
    from django.db import OperationalError, connection

    from controlplane.collector import views
    from controlplane.collector.running import COLLECTOR, look_around
    from controlplane.insight import store

    settings.REDIS_URL = f"unix://{tmp_path}/nobody.sock"
    settings.METRICS_KEY = False

    def away(*given, **also):
        raise OperationalError("could not connect to db.internal as permsite")

    with monkeypatch.context() as patch:
        patch.setattr(connection, "cursor", away)
        looked = look_around(store.Looker())
        assert looked["permsite_redis_up", ()] == 0 and looked["permsite_database_up", ()] == 0
        assert looked["permsite_host_cpus", ()] >= 1
        monkeypatch.setattr(COLLECTOR, "_looked", looked)
        monkeypatch.setattr(COLLECTOR, "_looked_s", COLLECTOR._clock())
        views._scrape.cache_clear()
        text = Client().get("/metrics").content.decode()
    assert "permsite_database_up 0.0" in text and "permsite_redis_up 0.0" in text and "db.internal" not in text


def test_neither_maintenance_nor_a_limit_nor_an_unknown_host_name_stands_before_it(live_server_asgi):
    base = live_server_asgi.url
    maintenance_set(actor=SYSTEM, values={"mode": "full", "reason": "moving house"})
    try:
        assert [ask(f"{base}/metrics")[0] for _ in range(3)] == [200, 200, 200]
        # Prometheus and a kubelet call an address, not a name.
        for path in ("metrics", "healthz", "readyz"):
            assert ask(f"{base}/{path}", Host="10.1.2.3:8000")[0] == 200
        assert ask(f"{base}/api/v1/menu/")[0] == 503
        assert ask(f"{base}/admin/login/", Host="10.1.2.3:8000")[0] == 400
    finally:
        config.LIVE.reset()
