"""The platform behind its own kit: maintenance at the door, limits on the wire, the API, logins and admin writes."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import pytest
from django.test import Client

from permissions.models import Realm
from permissions.services.keys import key_create
from permissions.writing import SYSTEM
from permsite import protection
from permsite.asgi import application
from resilience import config, maintenance, registry
from tests.permsite.test_site import ask

QUESTION = {"subject": {"type": "user", "id": "alice"}, "action": {"name": "read"}, "resource": {"type": "channel", "id": "9"}}
CHECK = {"subject": "user:alice", "permission": "channel:read", "resource": "channel:9"}
REASON = "new disks until noon"


def key(realm: Realm, name: str = "ci", **options: Any) -> dict[str, str]:
    _, plain = key_create(actor=SYSTEM, realm=realm, name=name, **options)
    return {"Authorization": f"Bearer {plain}"}


@pytest.fixture(autouse=True)
def _as_it_was() -> Iterator[None]:
    yield
    config.LIVE.reset()


@pytest.fixture
def administrator(cast) -> dict[str, str]:
    return key(cast.realm, "admin", is_admin=True)


def switch(url: str, administrator: dict[str, str], **values: object) -> None:
    status, _, text = ask(f"{url}/api/v1/maintenance", body=values, method="PUT", **administrator)
    assert status == 200, text


# The gate.


def test_maintenance_answers_checks_with_503_and_the_message_and_leaves_admin_and_health(live_server_asgi, cast, administrator):
    base, caller = live_server_asgi.url, key(cast.realm)
    assert ask(f"{base}/access/v1/evaluation", body=QUESTION, **caller)[0] == 200
    switch(base, administrator, mode="full", reason=REASON)
    status, headers, text = ask(f"{base}/access/v1/evaluation", body=QUESTION, **caller)
    assert status == 503 and REASON in json.loads(text) and int(headers["Retry-After"]) >= 1
    status, headers, text = ask(f"{base}/api/v1/check", body=CHECK, **caller)
    assert status == 503 and headers["Content-Type"] == "application/problem+json" and REASON in json.loads(text)["detail"]
    for path in (
        "/healthz",
        "/readyz",
        "/api/v1/system/health",
        "/admin/login/",
        "/api/v1/maintenance",
        "/static/admin/css/base.css",
    ):
        assert ask(base + path, **administrator)[0] == 200, path
    switch(base, administrator, mode="off")
    assert ask(f"{base}/access/v1/evaluation", body=QUESTION, **caller)[0] == 200


def test_the_handshake_of_a_socket_is_told_of_the_maintenance_too(monkeypatch):
    async def talk(**more: object) -> list[dict[str, Any]]:
        sent: list[dict[str, Any]] = []

        async def receive() -> dict[str, Any]:
            return {"type": "websocket.connect"}

        async def send(message: Any) -> None:
            sent.append(message)

        scope = {"type": "websocket", "path": "/ws/other/", "headers": [], "client": ("192.0.2.1", 5), **more}
        await application(scope, receive, send)
        return sent

    def shake(**more: object) -> list[dict[str, Any]]:
        return asyncio.run(talk(**more))

    assert shake() == [{"type": "websocket.close", "code": 1000}]
    monkeypatch.setattr(maintenance.SWITCH, "_writer", None)
    maintenance.enable(REASON)
    (closed,) = shake()
    assert closed["code"] == 1013 and REASON in closed["reason"]
    start, body = shake(extensions={"websocket.http.response": {}})
    assert start["status"] == 503 and REASON in json.loads(body["body"])
    maintenance.disable()
    assert shake() == [{"type": "websocket.close", "code": 1000}]


def test_a_page_under_maintenance_is_a_page_in_the_readers_language(live_server_asgi, administrator):
    base = live_server_asgi.url
    switch(base, administrator, mode="full", reason=REASON)
    status, headers, text = ask(f"{base}/", Accept_Language="zh-CN,zh;q=0.9")
    assert status == 503 and headers["Content-Type"].startswith("text/html") and REASON in text and 'lang="zh-hans"' in text
    assert 'lang="en"' in ask(f"{base}/", Accept_Language="xx")[2]


def test_read_only_maintenance_refuses_writes_and_answers_questions(live_server_asgi, cast, administrator):
    base, caller = live_server_asgi.url, key(cast.realm)
    switch(base, administrator, mode="read_only", reason=REASON)
    assert ask(f"{base}/access/v1/evaluation", body=QUESTION, **caller)[0] == 200
    assert ask(f"{base}/api/v1/check", body=CHECK, **caller)[0] == 200
    assert ask(f"{base}/api/v1/roles/", **administrator)[0] == 200
    assert ask(f"{base}/api/v1/roles/", body={"name": "late"}, **administrator)[0] == 503
    switch(base, administrator, mode="off")
    assert ask(f"{base}/api/v1/roles/", body={"name": "late"}, **administrator)[0] == 201


def test_whoever_is_on_the_allow_list_goes_on(live_server_asgi, cast, administrator):
    base, caller = live_server_asgi.url, key(cast.realm)
    switch(base, administrator, mode="full", reason=REASON, allow=["127.0.0.0/8"])
    assert ask(f"{base}/access/v1/evaluation", body=QUESTION, **caller)[0] == 200
    switch(base, administrator, mode="full", reason=REASON, allow=["10.1.2.3"])
    assert ask(f"{base}/access/v1/evaluation", body=QUESTION, **caller)[0] == 503
    # Without a proxy of ours nobody is believed about where they come from.
    assert ask(f"{base}/access/v1/evaluation", body=QUESTION, X_Forwarded_For="10.1.2.3", **caller)[0] == 503


def test_a_narrower_maintenance_closes_only_its_paths_or_permissions(live_server_asgi, cast, administrator):
    base, caller = live_server_asgi.url, key(cast.realm)
    switch(base, administrator, mode="full", reason=REASON, paths=["/api/v1/roles"])
    assert ask(f"{base}/api/v1/roles/", **administrator)[0] == 503
    assert ask(f"{base}/api/v1/teams/", **administrator)[0] == 200
    assert ask(f"{base}/access/v1/evaluation", body=QUESTION, **caller)[0] == 200
    switch(base, administrator, mode="full", reason=REASON, permissions=["channel:*"])
    assert ask(f"{base}/access/v1/evaluation", body=QUESTION, **caller)[0] == 503
    other = QUESTION | {"resource": {"type": "post", "id": "1"}}
    assert ask(f"{base}/access/v1/evaluation", body=other, **caller)[0] == 200


def test_charlie_cannot_turn_the_switch(live_server_asgi, cast):
    base, caller = live_server_asgi.url, key(cast.realm, subject="user:charlie")
    for given in (caller, {}):
        assert ask(f"{base}/api/v1/maintenance", body={"mode": "full", "reason": "x"}, method="PUT", **given)[0] in {401, 403}
    assert not maintenance.status().on


# Limits.


def limits(**entries: dict[str, object]) -> None:
    now = config.current()
    config.LIVE.consider(now.with_section("limiters", entries), "test")


def test_the_wire_is_not_limited_until_a_limit_is_set_and_then_by_key(live_server_asgi, cast):
    base, one, two = live_server_asgi.url, key(cast.realm, "one"), key(cast.realm, "two")
    for caller in (one, two):
        for _ in range(3):
            assert ask(f"{base}/access/v1/evaluation", body=QUESTION, **caller)[0] == 200
    limits(wire={"limit": 2, "period_s": 3600.0})
    answers = [ask(f"{base}/access/v1/evaluation", body=QUESTION, **one) for _ in range(3)]
    assert [status for status, _, _ in answers] == [200, 200, 429]
    _, headers, text = answers[2]
    assert isinstance(json.loads(text), str) and int(headers["Retry-After"]) > 0
    assert headers["RateLimit-Policy"] == '"wire";q=2;w=3600'
    assert ask(f"{base}/access/v1/evaluation", body=QUESTION, **two)[0] == 200
    limits(wire={"limit": 4, "period_s": 7200.0})  # the same rate, and room for two more
    statuses = [ask(f"{base}/access/v1/evaluation", body=QUESTION, **one)[0] for _ in range(3)]
    assert statuses == [200, 200, 429]  # what was used up stays used up
    limits()
    assert ask(f"{base}/access/v1/evaluation", body=QUESTION, **one)[0] == 200


def test_made_up_keys_share_the_limit_of_their_address(live_server_asgi, cast):
    limits(wire={"limit": 2, "period_s": 3600.0})
    headers = [{"Authorization": f"Bearer permsite_{n}_{n}"} for n in range(4)]
    statuses = [ask(f"{live_server_asgi.url}/access/v1/evaluation", body=QUESTION, **h)[0] for h in headers]
    assert statuses == [401, 401, 429, 429]


def test_the_api_is_limited_apart_from_the_wire_and_health_never(live_server_asgi, cast):
    base, caller = live_server_asgi.url, key(cast.realm)
    assert ask(f"{base}/api/v1/check", body=CHECK, **caller)[0] == 200
    limits(api={"limit": 1, "period_s": 3600.0})
    answers = [ask(f"{base}/api/v1/check", body=CHECK, **caller) for _ in range(2)]
    assert [status for status, _, _ in answers] == [200, 429]
    assert answers[1][1]["Content-Type"] == "application/problem+json"
    assert ask(f"{base}/access/v1/evaluation", body=QUESTION, **caller)[0] == 200
    assert ask(f"{base}/api/v1/system/health", **caller)[0] == 200
    assert ask(f"{base}/api/v1/system/config", **caller)[0] == 403  # refused for want of a right, not by the limit to be lifted


@pytest.mark.django_db
def test_guessing_a_password_is_slowed_down_by_the_name_that_is_tried(django_user_model):
    django_user_model.objects.create_superuser("alice", password="right")
    django_user_model.objects.create_superuser("bob", password="right")

    def attempt(name: str, password: str, address: str) -> int:
        return Client(REMOTE_ADDR=address).post("/admin/login/", {"username": name, "password": password}).status_code

    assert [attempt("alice", "wrong", f"10.0.0.{n}") for n in range(11)] == [200] * 10 + [429]
    # In other letters it is the same name, and the right password is not tried either: a guess might be right.
    assert attempt("ALICE", "right", "10.9.9.9") == 429
    assert attempt("bob", "right", "10.0.0.1") == 302


@pytest.mark.django_db
def test_whoever_logs_in_uses_nothing_up(django_user_model):
    django_user_model.objects.create_superuser("alice", password="right")
    for _ in range(15):
        assert Client().post("/admin/login/", {"username": "alice", "password": "right"}).status_code == 302


@pytest.mark.django_db
def test_the_refusal_is_a_page_that_says_when_to_come_again(django_user_model):
    for _ in range(11):
        answer = Client().post("/admin/login/", {"username": "nobody", "password": "x"})
    assert answer.status_code == 429 and int(answer["Retry-After"]) > 0
    assert "Too many requests" in answer.content.decode()


@pytest.mark.django_db
def test_writes_in_the_admin_are_limited_by_user_and_reads_are_not(django_user_model):
    alice = django_user_model.objects.create_superuser("alice", password="right")
    limits(admin={"limit": 2, "burst": 2})
    client = Client()
    client.force_login(alice)
    answers = [client.post("/admin/permissions/role/add/", {}).status_code for _ in range(3)]
    assert answers == [200, 200, 429]
    assert client.get("/admin/permissions/role/").status_code == 200


def test_the_rules_are_known_before_anybody_calls():
    assert {protection.LOGIN_ADDRESS, protection.LOGIN_USER, protection.ADMIN} <= set(registry.names("limiter"))
