"""The site under its real server: which path reaches what, and with which headers."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from typing import Any

import pytest

from permissions.models import Realm
from permissions.services.keys import key_create
from permissions.writing import SYSTEM
from permsite import server

Answer = tuple[int, Any, str]


def ask(url: str, *, body: object = None, method: str | None = None, **headers: str) -> Answer:
    data = None if body is None else json.dumps(body).encode()
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    request = urllib.request.Request(url, data=data, method=method, headers={"Content-Type": "application/json", **given})
    opener = urllib.request.build_opener(NoRedirect)
    try:
        with opener.open(request, timeout=20) as answer:
            return answer.status, answer.headers, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.headers, error.read().decode()


class NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *args: Any, **kwargs: Any) -> None:
        return None


def test_a_check_is_answered_over_http(live_server_asgi, cast):
    _, key = key_create(actor=SYSTEM, realm=cast.realm, name="ci")
    for who, allowed in (("alice", True), ("bob", True), ("charlie", False)):
        body = {"subject": {"type": "user", "id": who}, "action": {"name": "read"}, "resource": {"type": "channel", "id": "9"}}
        status, headers, text = ask(f"{live_server_asgi.url}/access/v1/evaluation", body=body, Authorization=f"Bearer {key}")
        assert (status, headers["Content-Type"], json.loads(text)) == (200, "application/json", {"decision": allowed})


def test_authzen_paths_are_exact(live_server_asgi):
    base = live_server_asgi.url
    assert ask(f"{base}/access/v1/evaluation", body={})[0] == 401
    for path in ("/access/v1/evaluation/", "/access/v1/Evaluation", "/access/v1/requests", "/.well-known/authzen-configuration/"):
        assert ask(base + path, body={})[0] in {403, 404}


def test_addresses_handed_out_are_those_of_the_socket(live_server_asgi):
    _, _, text = ask(f"{live_server_asgi.url}/.well-known/authzen-configuration", Host="evil.example.org")
    assert json.loads(text)["policy_decision_point"] == live_server_asgi.url


def test_static_files_are_served_and_nothing_beside_them(live_server_asgi):
    base = live_server_asgi.url
    status, headers, _ = ask(f"{base}/static/admin/css/base.css")
    assert status == 200 and headers["Content-Type"].startswith("text/css") and headers["X-Content-Type-Options"] == "nosniff"
    for path in (
        "/static/none.css",
        "/static/",
        "/static/../manage.py",
        "/static/..%2f..%2fmanage.py",
        "/static/%2e%2e/manage.py",
    ):
        assert ask(base + path)[0] == 404


@pytest.mark.parametrize(
    ("path", "part", "theme"),
    [
        ("/admin/login/", "script-src 'self' 'unsafe-eval'", "unfold"),
        ("/admin/login/", "script-src 'self';", "plain"),
        ("/api/docs/", "script-src 'self';", "unfold"),
        ("/healthz", "default-src 'none'", "unfold"),
        ("/api/v1/roles/", "default-src 'none'", "unfold"),
    ],
)
def test_the_content_security_policy_follows_the_page(live_server_asgi, settings, path, part, theme):
    settings.ADMIN_THEME = theme
    policy = ask(live_server_asgi.url + path)[1]["Content-Security-Policy"] + ";"
    assert part in policy and "frame-ancestors 'none'" in policy and "base-uri 'none'" in policy
    assert "unsafe-inline" not in policy.split("script-src")[-1].split(";")[0]


def test_a_request_id_comes_back_and_one_is_made_where_none_was_sent(live_server_asgi):
    url = f"{live_server_asgi.url}/healthz"
    assert ask(url, X_Request_ID="my-id-1")[1]["X-Request-ID"] == "my-id-1"
    made = {ask(url)[1]["X-Request-ID"] for _ in range(3)}
    assert len(made) == 3 and all(len(one) == 32 for one in made)


def test_a_request_id_is_cut_to_what_a_header_may_carry(live_server_asgi):
    sent = "a" * 300
    assert ask(f"{live_server_asgi.url}/healthz", X_Request_ID=sent)[1]["X-Request-ID"] == "a" * 200


def test_the_front_door_leads_to_the_admin(live_server_asgi):
    status, headers, _ = ask(f"{live_server_asgi.url}/")
    assert (status, headers["Location"]) == (302, "/admin/")


def test_an_unknown_host_is_refused(live_server_asgi):
    assert ask(f"{live_server_asgi.url}/admin/login/", Host="evil.example.org")[0] == 400


def test_probes_say_alive_ready_and_in_detail(live_server_asgi):
    base = live_server_asgi.url
    assert json.loads(ask(f"{base}/healthz")[2]) == {"status": "ok"}
    assert json.loads(ask(f"{base}/readyz")[2]) == {"status": "ok"}
    status, _, text = ask(f"{base}/api/v1/system/health")
    detail = json.loads(text)
    assert status == 200 and detail["components"]["database"]["state"] == "ok"
    assert detail["components"]["database"]["realms"] == Realm.objects.count()
    assert detail["components"]["store"] == {
        "state": "none",
        "since_s": detail["components"]["store"]["since_s"],
        "kind": "memory",
    }


def test_a_taken_port_is_refused_or_passed_over_as_asked():
    with server.bind("127.0.0.1", 0, or_next=False) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(server.PortTakenError, match=f"port {port} of 127.0.0.1 is taken; name another with --port"):
            server.bind("127.0.0.1", port, or_next=False)
        with server.bind("127.0.0.1", port, or_next=True) as other:
            assert other.getsockname()[1] > port


def test_an_address_that_cannot_be_opened_is_shown_as_loopback():
    with server.bind("0.0.0.0", 0, or_next=False) as bound:
        assert server.address_of(bound) == f"http://127.0.0.1:{bound.getsockname()[1]}"
