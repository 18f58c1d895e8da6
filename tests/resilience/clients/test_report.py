"""The connection test for people: what a server is, why it does not answer, never a password, never an exception."""

from __future__ import annotations

import dataclasses
import json

import pytest

from resilience import redis_report
from resilience.connections import Timeouts
from resilience.redis_client import check_connection, connection_info, node_client, parse
from tests.resilience.clients.proxies import Proxy

SECRET = "hunter2"


def test_a_single_server_tells_what_it_is(valkey_url):
    report = check_connection(valkey_url)
    assert report.ok and report.mode == "standalone" and report.server in {"redis", "valkey"} and report.error == ""
    assert report.cluster_enabled is False and report.cluster_state == "" and report.latency_ms
    assert all(part.isdigit() for part in report.version.split("."))
    info = connection_info(valkey_url)
    assert info["role"] == "master" and info["nodes"] == [] and info["maxmemory_policy"] == "noeviction"
    assert info["memory_bytes"] > 0 and info["connections"] >= 1 and info["url"] == valkey_url
    assert info.keys() >= {field.name for field in dataclasses.fields(report)}
    json.dumps(info)


@pytest.mark.cluster
@pytest.mark.parametrize("scheme", ["redis+cluster", "redis"])
def test_a_cluster_tells_its_nodes_and_slots_under_any_scheme(cluster_url, scheme):
    address = parse(cluster_url)
    url = cluster_url if scheme == "redis+cluster" else str(address.at(*address.hosts[0]))
    info = connection_info(url)
    assert info["ok"] and info["mode"] == "cluster" and info["cluster_enabled"] is True and info["cluster_state"] == "ok"
    masters = [node for node in info["nodes"] if node["role"] == "master"]
    assert len(info["nodes"]) == 6 and len(masters) == 3 and all(node["ok"] for node in info["nodes"])
    assert sum(node["slot_count"] for node in masters) == 16384


def test_the_login_is_never_shown(launcher):
    server = launcher.redis()
    with node_client(server.url) as admin:
        admin.execute_command("ACL", "SETUSER", "keeper", "on", f">{SECRET}", "+@all", "~*", "&*")
    path = server.url.removeprefix("unix://")
    good = connection_info(f"unix://keeper:{SECRET}@{path}")
    assert good["ok"] and good["url"] == f"unix://***@{path}"
    for url in (
        f"unix://keeper:{SECRET}x@{path}",
        f"redis://:{SECRET}@127.0.0.1:1/0",
        f"redis://keeper:{SECRET}",
        f"{SECRET}://h",
    ):
        info = connection_info(url)
        assert not info["ok"] and info["error"] and SECRET not in str(info)


@pytest.mark.parametrize("url", [None, "", 7, "redis://", "http://h", b"redis://h"])
def test_a_url_that_cannot_be_is_told_not_raised(url, settings):
    settings.REDIS_URL = ""
    report = check_connection(url)
    assert not report.ok and "Redis URL" in report.error and report.latency_ms is None
    assert connection_info(url)["url"] == "***"


def test_a_server_that_is_gone_silent_or_no_redis_is_told(tmp_path, proxy: Proxy, monkeypatch):
    assert "No such file" in check_connection(f"unix://{tmp_path}/nobody.sock").error
    assert "refused" in check_connection("redis://127.0.0.1:1/0").error
    monkeypatch.setattr(redis_report, "TIMEOUTS", Timeouts(0.05, 0.05))
    proxy.is_mute = True
    assert "Timeout" in check_connection(proxy.url).error
    proxy.is_mute, proxy.garbage = False, b"HTTP/1.1 400 Bad Request\r\n\r\n"
    report = check_connection(proxy.url)
    assert not report.ok and report.error


def test_a_login_that_may_not_ask_is_told(launcher):
    server = launcher.redis()
    with node_client(server.url) as admin:
        admin.execute_command("ACL", "SETUSER", "narrow", "on", ">pw", "+ping")
    report = check_connection(server.url.replace("unix://", "unix://narrow:pw@"))
    assert not report.ok and "may not ask for INFO" in report.error


def test_a_server_that_is_too_old_is_told(monkeypatch, valkey_url):
    monkeypatch.setattr(redis_report, "MIN_VERSION", (99, 0))
    report = check_connection(valkey_url)
    if report.server == "valkey":
        assert report.ok  # every version of Valkey has what we need
    else:
        assert not report.ok and "too old: 6.2 or later" in report.error


def test_a_cluster_that_is_not_whole_is_told(lone_node):
    with node_client(lone_node) as node:
        node.execute_command("CLUSTER DELSLOTS", 7)
        try:
            report = check_connection(lone_node)
            assert not report.ok and report.cluster_state == "fail" and "not whole" in report.error
            assert connection_info(lone_node)["nodes"][0]["slot_count"] == 16383
        finally:
            node.execute_command("CLUSTER ADDSLOTS", 7)
