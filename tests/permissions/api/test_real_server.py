"""Over the real server: chunked bodies, encoded paths and pages of a list behave as in process."""

from __future__ import annotations

import contextlib
import http.client
import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote, urlsplit

import pytest

from permissions.api.parsing import MAX_BODY_BYTES
from tests.live import LiveServer
from tests.permissions.api.world import build, make_key

pytestmark = pytest.mark.django_db(transaction=True)


class Wire:
    def __init__(self, url: str) -> None:
        build()
        self.url = url
        self.headers = {"Authorization": make_key("wire", is_admin=True), "Content-Type": "application/json"}

    def send(self, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, dict[str, str], bytes]:
        connection = http.client.HTTPConnection(urlsplit(self.url).netloc, timeout=20)
        chunked = isinstance(body, Iterator)
        # The server may have answered before it was sent the rest.
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            connection.request(method, path, body, {**self.headers, **headers}, encode_chunked=chunked)
        answer = connection.getresponse()
        found = (answer.status, dict(answer.getheaders()), answer.read())
        connection.close()
        return found


@pytest.fixture
def wire(live_server_asgi: LiveServer) -> Wire:
    return Wire(live_server_asgi.url)


def test_a_chunked_body_is_read_to_its_end(wire: Wire) -> None:
    status, _, body = wire.send("POST", "/api/v1/roles/", iter([b'{"name": ', b'"chunked"}']))
    assert (status, json.loads(body)) == (201, {"name": "chunked"})


def test_a_chunked_body_over_the_limit_is_too_large(wire: Wire) -> None:
    status, headers, body = wire.send("POST", "/api/v1/roles/", iter([b" " * 65_536] * (MAX_BODY_BYTES // 65_536 + 1)))
    assert (status, json.loads(body)["status"]) == (413, 413)
    assert headers["content-type"] == "application/problem+json"


def test_an_encoded_name_reaches_its_object(wire: Wire) -> None:
    for name in ("repo:openfga/openfga", "path:/a/b/", "doc:50%?#&", "doc:ünï 名字"):
        status, headers, _ = wire.send("POST", "/api/v1/resources/", json.dumps({"id": name}).encode())
        assert status == 201
        for path in (headers["location"], f"/api/v1/resources/{quote(name, safe='')}/"):
            status, _, body = wire.send("GET", path)
            assert (status, json.loads(body)) == (200, {"id": name})


def test_next_is_an_address_that_can_be_asked(wire: Wire) -> None:
    status, headers, body = wire.send("GET", "/api/v1/roles/?limit=1", **{"X-Request-ID": "list-1"})
    assert (status, headers["x-request-id"]) == (200, "list-1")
    following = json.loads(body)["next"]
    assert following.startswith(wire.url)
    status, _, body = wire.send("GET", following.removeprefix(wire.url))
    assert (status, len(json.loads(body)["results"])) == (200, 1)


def test_an_unknown_path_and_an_unknown_key_are_problems(wire: Wire) -> None:
    assert json.loads(wire.send("GET", "/api/v1/nothing")[2])["type"] == "/problems/not_found"
    status, headers, body = wire.send("GET", "/api/v1/roles/", Authorization="Bearer nonsense")
    assert (status, json.loads(body)["type"]) == (401, "/problems/unauthenticated")
    assert headers["www-authenticate"].startswith("Bearer")
