"""A body without end, sent by nobody in particular: no door may read on, for Django and asgiref write what they read to disk."""

from __future__ import annotations

import asyncio
from collections.abc import MutableMapping
from typing import Any

import pytest

from permsite import asgi

PIECE = b"x" * 1_048_576
ENOUGH = 64  # pieces; whoever takes that many takes them all

pytestmark = pytest.mark.django_db


class Client:
    """Sends pieces as long as it is read, and keeps what is answered."""

    def __init__(self, path: str, *headers: tuple[bytes, bytes], method: str = "POST") -> None:
        self.piece, self.pieces = PIECE, ENOUGH
        self.taken = 0
        self.status = 0
        self.body = b""
        self.scope: MutableMapping[str, Any] = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": path,
            "raw_path": path.encode(),
            "query_string": b"",
            "root_path": "",
            "headers": [(b"host", b"testserver"), (b"content-type", b"application/json"), *headers],
            "client": ("127.0.0.1", 1),
            "server": ("testserver", 80),
        }

    async def receive(self) -> MutableMapping[str, Any]:
        if self.status or self.taken == self.pieces:
            await asyncio.sleep(3600)
        self.taken += 1
        return {"type": "http.request", "body": self.piece, "more_body": self.taken < self.pieces}

    async def send(self, message: MutableMapping[str, Any]) -> None:
        self.status = self.status or message.get("status", 0)
        self.body += message.get("body", b"")

    def ask(self) -> Client:
        asyncio.run(asyncio.wait_for(asgi.build()(self.scope, self.receive, self.send), 30))
        return self


@pytest.mark.parametrize("path", ["/login/", "/api/v1/check", "/admin/login/", "/no/such/page", "/static/x.css", "/livez"])
def test_a_body_without_end_is_refused_unread(path: str) -> None:
    client = Client(path).ask()
    assert client.taken <= 4
    assert client.status == (404 if path.startswith("/static/") else 413)


@pytest.mark.parametrize("path", ["/login/", "/api/v1/check", "/static/x.css", "/access/v1/evaluation"])
def test_a_body_that_says_it_is_large_is_refused_before_it_comes(path: str) -> None:
    client = Client(path, (b"content-length", b"99999999999")).ask()
    assert client.taken <= 1
    assert client.status in (401, 404, 413)


def test_a_body_within_the_limit_arrives_whole() -> None:
    client = Client("/api/v1/check")
    client.piece, client.pieces = b" " * 1000, 40
    client.ask()
    assert (client.taken, client.status) == (40, 401)
