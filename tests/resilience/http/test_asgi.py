"""The ASGI middleware: in front of any application, HTTP and WebSocket, without a framework."""

from __future__ import annotations

import asyncio
import http.client
import json
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import uvicorn

from resilience import FakeClock, Fallback, MemoryStore, RateLimiter, registry
from resilience.asgi import RateLimitMiddleware
from resilience.errors import CircuitOpen, MaintenanceMode, ResilienceError

HTTP: dict[str, Any] = {"type": "http", "path": "/", "headers": [], "client": ("192.0.2.7", 4711)}
SOCKET = {**HTTP, "type": "websocket"}
ANSWERING = {**SOCKET, "extensions": {"websocket.http.response": {}}}


def address(scope: Any) -> str:
    return f"ip:{scope['client'][0]}"


def rule(limit: int = 2, **options: Any) -> RateLimiter:
    return RateLimiter("wire", limit=limit, period_s=60.0, store=MemoryStore(), clock=FakeClock(), **options)


async def hello(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "http":
        await send({"type": "http.response.start", "status": 200, "headers": [(b"x-own", b"1")]})
        await send({"type": "http.response.body", "body": b"hello"})
    else:
        assert (await receive())["type"] == "websocket.connect"
        await send({"type": "websocket.accept", "headers": [(b"x-own", b"1")]})
        await send({"type": "websocket.send", "text": "hello"})


class Exchange:
    """One connection: what the client sends comes from `incoming`, what it gets is in `sent`."""

    def __init__(self, app: Any, scope: dict[str, Any], *incoming: str) -> None:
        self.sent: list[dict[str, Any]] = []
        kind = scope["type"]
        self.incoming = iter(incoming or {"websocket": ["websocket.connect"], "http": ["http.request"]}.get(kind, []))
        if kind != "both":
            asyncio.run(self.run(app, scope))

    async def run(self, app: Any, scope: dict[str, Any]) -> None:
        async def receive() -> dict[str, Any]:
            kind = next(self.incoming, None)
            if kind is None:
                raise AssertionError("it waits for something that never comes")
            return {"type": kind}

        async def send(message: dict[str, Any]) -> None:
            self.sent.append(message)

        await app(dict(scope), receive, send)

    @property
    def kinds(self) -> list[str]:
        return [message["type"] for message in self.sent]

    @property
    def status(self) -> int:
        return int(self.sent[0]["status"])

    @property
    def headers(self) -> dict[str, str]:
        pairs = [(name.decode(), value.decode()) for name, value in self.sent[0]["headers"]]
        assert len(dict(pairs)) == len(pairs)
        return dict(pairs)

    @property
    def document(self) -> Any:
        return json.loads(self.sent[1]["body"])


def test_a_request_within_the_limit_gets_its_answer_with_the_fields_added() -> None:
    got = Exchange(RateLimitMiddleware(hello, rule(), address), HTTP)
    assert (got.status, got.sent[1]["body"]) == (200, b"hello")
    assert got.headers == {"x-own": "1", "ratelimit-policy": '"wire";q=2;w=60', "ratelimit": '"wire";r=1;t=30'}


def test_one_beyond_it_never_reaches_the_application_and_gets_a_problem() -> None:
    app = RateLimitMiddleware(hello, rule(1), address)
    Exchange(app, HTTP)
    got = Exchange(app, HTTP)
    assert got.kinds == ["http.response.start", "http.response.body"]
    assert got.status == 429
    assert got.headers["content-type"] == "application/problem+json"
    assert int(got.headers["content-length"]) == len(got.sent[1]["body"])
    assert got.headers["ratelimit"] == '"wire";r=0;t=60'
    assert 60 <= int(got.headers["retry-after"]) <= 66
    assert "x-own" not in got.headers
    assert got.document["violated-policies"] == ["wire"]


def test_callers_are_counted_apart_and_one_without_a_key_not_at_all() -> None:
    app = RateLimitMiddleware(hello, rule(1), lambda scope: scope["who"])
    assert [Exchange(app, {**HTTP, "who": who}).status for who in ("a", "b", "a", None, None)] == [200, 200, 429, 200, 200]
    assert "ratelimit" not in Exchange(app, {**HTTP, "who": None}).headers


def test_the_key_may_be_found_by_a_coroutine() -> None:
    async def key(scope: Any) -> str:
        await asyncio.sleep(0)
        return "alice"

    app = RateLimitMiddleware(hello, rule(1), key)
    assert [Exchange(app, HTTP).status for _ in range(2)] == [200, 429]


def test_the_rule_may_be_named() -> None:
    registry.declare("limiter", "asgi-test", limit=1, period_s=60.0)
    registry.limiter("asgi-test").reset("alice")
    app = RateLimitMiddleware(hello, "asgi-test", lambda scope: "alice")
    assert [Exchange(app, HTTP).status for _ in range(2)] == [200, 429]
    registry.limiter("asgi-test").reset("alice")


def test_a_rule_on_trial_refuses_nobody_and_sends_no_field() -> None:
    app = RateLimitMiddleware(hello, rule(1, shadow=True), address)
    for _ in range(3):
        got = Exchange(app, HTTP)
        assert (got.status, got.headers) == (200, {"x-own": "1"})


def test_the_older_fields_come_only_when_asked_for() -> None:
    assert "x-ratelimit-limit" not in Exchange(RateLimitMiddleware(hello, rule(), address), HTTP).headers
    got = Exchange(RateLimitMiddleware(hello, rule(), address, legacy=True), HTTP)
    assert (got.headers["x-ratelimit-limit"], got.headers["x-ratelimit-remaining"]) == ("2", "1")


def test_what_is_neither_http_nor_websocket_passes() -> None:
    seen = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(scope["type"])

    Exchange(RateLimitMiddleware(app, rule(), address), {"type": "lifespan"})
    assert seen == ["lifespan"]


def test_an_accepted_websocket_has_the_fields_in_its_handshake() -> None:
    got = Exchange(RateLimitMiddleware(hello, rule(), address), SOCKET)
    assert got.kinds == ["websocket.accept", "websocket.send"]
    assert got.headers == {"x-own": "1", "ratelimit-policy": '"wire";q=2;w=60', "ratelimit": '"wire";r=1;t=30'}


def test_a_refused_websocket_gets_a_response_where_the_server_can_send_one() -> None:
    app = RateLimitMiddleware(hello, rule(1), address)
    Exchange(app, ANSWERING)
    got = Exchange(app, ANSWERING)
    assert got.kinds == ["websocket.http.response.start", "websocket.http.response.body"]
    assert got.status == 429
    assert got.document["violated-policies"] == ["wire"]


def test_else_it_is_closed_with_try_again_later() -> None:
    app = RateLimitMiddleware(hello, rule(1), address)
    Exchange(app, SOCKET)
    got = Exchange(app, SOCKET)
    assert [(message["type"], message["code"]) for message in got.sent] == [("websocket.close", 1013)]


def test_a_websocket_that_is_gone_before_its_handshake_is_told_nothing() -> None:
    app = RateLimitMiddleware(hello, rule(1), address)
    Exchange(app, SOCKET)
    assert Exchange(app, SOCKET, "websocket.disconnect").sent == []


@pytest.mark.parametrize("reads_first", [True, False])
@pytest.mark.parametrize("scope", [HTTP, ANSWERING, SOCKET], ids=["http", "answering", "closing"])
def test_a_rejection_out_of_the_application_is_answered_with_503(scope: dict[str, Any], reads_first: bool) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        if reads_first:
            await receive()
        raise CircuitOpen("billing", retry_after_s=3.0)

    got = Exchange(RateLimitMiddleware(app, rule(), address), scope)
    if scope is SOCKET:
        assert got.sent[0]["code"] == 1013
        return
    assert got.status == 503
    assert got.headers["retry-after"] == "3"
    assert got.headers["ratelimit"] == '"wire";r=1;t=30'
    assert "billing" not in json.dumps(got.document)


def test_maintenance_out_of_the_application_says_why() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        raise MaintenanceMode("the database moves", retry_after_s=9.0)

    assert Exchange(RateLimitMiddleware(app, rule(), address), HTTP).document["detail"] == "the database moves"


@pytest.mark.parametrize("error", [CircuitOpen("billing"), KeyError("x"), ResilienceError("x")])
def test_whatever_else_it_raises_leaves_as_the_same_object(error: Exception) -> None:
    """And a rejection too, once the answer has begun."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if isinstance(error, CircuitOpen):
            await send({"type": "http.response.start", "status": 200, "headers": []})
        raise error

    with pytest.raises(type(error)) as raised:
        Exchange(RateLimitMiddleware(app, rule(), address), HTTP)
    assert raised.value is error


def test_fallbacks_that_answered_are_named_and_only_those_of_this_request() -> None:
    fallback = Fallback(lambda: "stale", on=(KeyError,), name="prices")

    def fail() -> str:
        raise KeyError

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] == "/stale":
            fallback.call(fail)
        await hello(scope, receive, send)

    limited = RateLimitMiddleware(app, rule(9), address)
    assert Exchange(limited, {**HTTP, "path": "/stale"}).headers["x-degraded"] == '"prices"'
    assert "x-degraded" not in Exchange(limited, HTTP).headers


def test_nor_does_one_request_inherit_what_the_one_before_it_on_the_same_task_used() -> None:
    fallback = Fallback(lambda: "stale", on=(KeyError,), name="prices")

    def fail() -> str:
        raise KeyError

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] == "/stale":
            fallback.call(fail)
        await hello(scope, receive, send)

    limited = RateLimitMiddleware(app, rule(9), address)
    first, second = Exchange(None, {"type": "both"}), Exchange(None, {"type": "both"})

    async def one_after_the_other() -> None:
        await first.run(limited, {**HTTP, "path": "/stale"})
        await second.run(limited, HTTP)

    asyncio.run(one_after_the_other())
    assert "x-degraded" in first.headers
    assert "x-degraded" not in second.headers


@pytest.mark.parametrize(("which", "value"), [("rule", 5), ("rule", None), ("key", "ip"), ("key", None)])
def test_what_is_no_rule_or_key_is_refused_at_once(which: str, value: Any) -> None:
    arguments: dict[str, Any] = {"rule": rule(), "key": address, which: value}
    with pytest.raises(ValueError, match=f"{which} is"):
        RateLimitMiddleware(hello, **arguments)


def test_it_imports_no_framework() -> None:
    code = (
        "import sys, resilience.asgi; print([name for name in ('django', 'rest_framework', 'channels') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@contextmanager
def served(app: Any) -> Iterator[int]:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()  # what comes before the server runs waits for it
        server = uvicorn.Server(uvicorn.Config(app, lifespan="off", log_level="error"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        try:
            yield listening.getsockname()[1]
        finally:
            server.should_exit = True
            thread.join(30)


def handshake(port: int) -> bytes:
    """The server's first line to a WebSocket client."""
    with socket.create_connection(("127.0.0.1", port), timeout=30) as client:
        client.sendall(
            b"GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
            b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        )
        return client.makefile("rb").readline()


def test_on_a_real_server_requests_and_handshakes_are_refused_with_429() -> None:
    with served(RateLimitMiddleware(hello, rule(2), address)) as port:
        client = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        seen = []
        for _ in range(3):
            client.request("POST", "/", body=b"x" * 10_000)
            response = client.getresponse()
            seen.append((response.status, response.read()[:1], response.headers["RateLimit-Policy"]))
        assert seen == [(200, b"h", '"wire";q=2;w=60')] * 2 + [(429, b"{", '"wire";q=2;w=60')]
        assert b" 429 " in handshake(port)
        client.close()
