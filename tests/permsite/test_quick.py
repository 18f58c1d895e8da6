"""A connection that answers plain questions itself says what one says that hands every request to the application."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Iterable, Sequence
from typing import Any, cast

import pytest
from uvicorn.server import ServerState

from permissions import pdp
from permissions.models import Realm
from permissions.services.keys import key_create
from permissions.writing import SYSTEM
from permsite import asgi, server
from permsite.quick import Quick
from resilience import config, maintenance
from tests.aging import never_age
from tests.worlds import apply

pytestmark = pytest.mark.django_db(transaction=True)

WORLD = """
realm: default
permissions: [{code: "post:read"}, {code: "post:edit"}]
roles: [{name: reader, permissions: ["post:read"]}]
subjects: [{id: "user:alice"}]
resources: [{id: "post:7"}]
bindings: [{subject: "user:alice", role: reader}]
"""
BODY = b'{"subject":{"type":"user","id":"alice"},"action":{"name":"read"},"resource":{"type":"post","id":"7"}}'
NO = BODY.replace(b"read", b"edit")
BATCH = b'{"subject":{"type":"user","id":"alice"},"action":{"name":"read"},"evaluations":[{"resource":{"type":"post","id":"7"}}]}'
EVALUATION, EVALUATIONS = "/access/v1/evaluation", "/access/v1/evaluations"


class Wire(asyncio.Transport):
    """The other end of a connection."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.closed = False

    def write(self, data: Any) -> None:
        self.written += bytes(data)

    def close(self) -> None:
        self.closed = True

    def is_closing(self) -> bool:
        return self.closed

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return {"sockname": ("127.0.0.1", 80), "peername": ("127.0.0.1", 5)}.get(name, default)

    def pause_reading(self) -> None: ...
    def resume_reading(self) -> None: ...


class Hidden:
    """The site without its short way."""

    def __init__(self, site: Any) -> None:
        self.site = site

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await self.site(scope, receive, send)


def request(
    key: str, body: bytes = BODY, path: str = EVALUATION, *headers: str, method: str = "POST", version: str = "1.1"
) -> bytes:
    lines = [
        f"{method} {path} HTTP/{version}",
        "Host: h",
        "Content-Type: application/json",
        f"Authorization: Bearer {key}",
        *headers,
    ]
    if not any(line.lower().startswith(("content-length", "transfer-encoding")) for line in headers):
        lines.append(f"Content-Length: {len(body)}")
    return ("\r\n".join(lines) + "\r\n\r\n").encode() + body


async def spoken(app: Any, parts: Iterable[bytes], count: int) -> tuple[bytes, bool, bool]:
    """What the connection wrote once it has answered `count` requests or was closed; whether it is; whether it is quick."""
    settings = server.config(app)
    settings.lifespan = "off"
    settings.load()
    protocol: Any = cast(Any, settings.http_protocol_class)(
        config=settings, server_state=ServerState(), app_state={}, _loop=asyncio.get_running_loop()
    )
    transport = Wire()
    protocol.connection_made(transport)
    for part in parts:
        if transport.closed:
            break
        protocol.data_received(part)
        await asyncio.sleep(0)
    for _ in range(2_000):
        if transport.closed or protocol.server_state.total_requests >= count:
            break
        await asyncio.sleep(0.005)
    protocol._unset_keepalive_if_required()
    return transport.written, transport.closed, isinstance(protocol, Quick)


def key_of_world() -> str:
    pdp.reset()
    apply(WORLD)
    return key_create(actor=SYSTEM, realm=Realm.objects.get(name="default"), name="quick")[1]


@pytest.fixture
def key() -> str:
    return key_of_world()


class Both:
    """`answered`: how many requests the short way took, in the last comparison."""

    def __init__(self, key: str) -> None:
        self.site = asgi.build()
        self.answered = 0
        asyncio.run(spoken(self.site, [request(key), request(key, NO), request(key, BATCH, EVALUATIONS)], 3))
        never_age()
        plainly = self.site.plainly

        def counted(*asked: Any) -> Any:
            answer = plainly(*asked)
            self.answered += answer is not None
            return answer

        self.site.plainly = counted  # type: ignore[method-assign, assignment]

    def say(self, parts: Sequence[bytes], count: int = 1) -> bytes:
        self.answered = 0
        quick = asyncio.run(spoken(self.site, parts, count))
        slow = asyncio.run(spoken(Hidden(self.site), parts, count))
        assert (quick[2], slow[2]) == (True, False)
        assert quick[:2] == slow[:2]
        return quick[0]


@pytest.fixture
def both(key):
    found = Both(key)
    yield found
    found.site.close()
    config.LIVE.reset()


def test_a_plain_question_is_answered_by_the_connection(both, key):
    said = both.say([request(key)])
    assert said.startswith(b"HTTP/1.1 200 OK\r\n") and said.endswith(b'\r\n\r\n{"decision":true}')
    assert both.answered == 1
    assert both.say([request(key, BATCH, EVALUATIONS)]).endswith(b'{"evaluations":[{"decision":true}]}')
    assert both.answered == 1
    assert b"x-request-id: 7-a" in both.say([request(key, BODY, EVALUATION, "X-Request-ID: 7-a")])
    assert both.answered == 1


@pytest.mark.parametrize(
    ("headers", "more"),
    [
        (["Connection: close"], {}),
        (["Expect: 100-continue"], {}),
        (["Upgrade: h2c", "Connection: Upgrade"], {}),
        (["X-Permission-Token: full"], {}),
        (["Content-Type: application/json"], {}),
        (["Content-Length: 2000000"], {"body": b""}),
        ([], {"version": "1.0"}),
        ([], {"method": "GET"}),
        ([], {"method": "HEAD"}),
        ([], {"path": "/access/v1/%65valuation"}),
        ([], {"path": "/access/v1/evaluation?a=1"}),
        ([], {"body": b""}),
        ([], {"body": b"{"}),
        ([], {"body": BODY.replace(b"alice", b"nobody")}),
        ([], {"body": BODY[:-1] + b',"context":{"explain":true}}'}),
        ([], {"body": BODY + b" " * 1_100_000}),
    ],
)
def test_every_other_request_is_handed_on(both, key, headers, more):
    body = more.pop("body", BODY)
    path = more.pop("path", EVALUATION)
    both.say([request(key, body, path, *headers, **more)])
    assert both.answered == 0


def test_a_key_that_nobody_knows_is_refused_as_ever(both):
    assert b"HTTP/1.1 401" in both.say([request("ps_aaaaaaaa_" + "b" * 43)])
    assert both.answered == 0


def test_a_request_in_pieces_is_one_request(both, key):
    whole = request(key)
    for place in range(1, len(whole)):
        said = both.say([whole[:place], whole[place:]])
        assert said.endswith(b'{"decision":true}'), place
    assert both.say([bytes([byte]) for byte in whole]).endswith(b'{"decision":true}')


def test_answers_come_in_the_order_of_the_questions(both, key):
    plain, no, slow = request(key), request(key, NO), request(key, BODY[:-1] + b',"context":{}}')
    stranger = request("ps_aaaaaaaa_" + "b" * 43)
    for asked in ([plain, no, plain], [slow, plain, no], [plain, slow, no, stranger, plain], [stranger, plain]):
        said = both.say([b"".join(asked)], len(asked))
        statuses = re.findall(rb"HTTP/1\.1 (\d+)", said)
        assert len(statuses) == len(asked)
        assert statuses == [b"401" if one is stranger else b"200" for one in asked]
        told = [json.loads(text)["decision"] for text in re.findall(rb'\{"decision":\w+\}', said)]
        assert told == [one is not no for one in asked if one is not stranger]


def test_a_body_in_chunks_is_a_body(both, key):
    chunked = b"%x\r\n%s\r\n%x\r\n%s\r\n0\r\n\r\n" % (9, BODY[:9], len(BODY) - 9, BODY[9:])
    said = both.say([request(key, chunked, EVALUATION, "Transfer-Encoding: chunked")])
    assert said.endswith(b'{"decision":true}')


def test_what_is_no_http_is_refused_and_closed(both, key):
    for raw in (b"\x00\x01\r\n\r\n", request(key).replace(b"HTTP/1.1", b"HTTP/9.9"), request(key)[:-5] + b"\r\n" * 9):
        both.say([raw, b"x" * 20])


def test_a_limit_or_a_maintenance_stands_in_front_of_it(both, key, monkeypatch):
    both.say([request(key)])
    assert both.answered == 1
    config.LIVE.consider(config.current().with_section("limiters", {"wire": {"limit": 1000, "period_s": 3600.0}}), "test")
    both.answered = 0
    assert b"ratelimit-policy" in asyncio.run(spoken(both.site, [request(key)], 1))[0].lower()
    config.LIVE.consider(config.current().with_section("limiters", {}), "test")
    monkeypatch.setattr(maintenance.SWITCH, "_writer", None)
    maintenance.enable("new disks")
    assert asyncio.run(spoken(both.site, [request(key)], 1))[0].startswith(b"HTTP/1.1 503")
    maintenance.disable()
    assert both.answered == 0


def test_a_fault_of_the_short_way_is_the_applications_to_tell(both, key, monkeypatch):
    def broken(*_: object) -> None:
        raise RuntimeError("boom")

    monkeypatch.setattr(both.site, "plainly", broken)
    assert asyncio.run(spoken(both.site, [request(key)], 1))[0].endswith(b'{"decision":true}')


def test_a_connection_that_says_nothing_more_is_closed_after_a_while(both, key):
    async def idle() -> bool:
        settings = server.config(both.site)
        settings.lifespan, settings.timeout_keep_alive = "off", 0
        settings.load()
        protocol: Any = cast(Any, settings.http_protocol_class)(
            config=settings, server_state=ServerState(), app_state={}, _loop=asyncio.get_running_loop()
        )
        transport = Wire()
        protocol.connection_made(transport)
        protocol.data_received(request(key))
        assert protocol.timeout_keep_alive_task is not None
        for _ in range(400):
            if transport.closed:
                return True
            await asyncio.sleep(0.005)
        return False

    assert asyncio.run(idle())


def test_a_slow_request_behind_a_quick_one_is_not_cut_off_by_the_clock_of_an_idle_connection(both, key):
    slow = request(key).replace(b"/access/v1/evaluation ", b"/access/v1/nowhere ")

    async def read_at_once() -> bool:
        settings = server.config(both.site)
        settings.lifespan = "off"
        settings.load()
        protocol: Any = cast(Any, settings.http_protocol_class)(
            config=settings, server_state=ServerState(), app_state={}, _loop=asyncio.get_running_loop()
        )
        protocol.connection_made(Wire())
        protocol.data_received(request(key) + slow)
        is_disarmed = protocol.timeout_keep_alive_task is None
        await asyncio.sleep(0.2)
        protocol._unset_keepalive_if_required()
        return is_disarmed

    assert asyncio.run(read_at_once())
