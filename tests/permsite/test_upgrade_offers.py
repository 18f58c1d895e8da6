"""A client that offers HTTP/2 on a plain connection, as every Java client does, is answered as if it had not."""

from __future__ import annotations

import json
import socket
from urllib.parse import urlsplit

import pytest

OFFER = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n"
BODY = b'{"subject": 7}'
POST = b"POST /access/v1/evaluation HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nAuthorization: Bearer x\r\n"
FRAMED = POST + OFFER + b"Content-Length: %d\r\n\r\n" % len(BODY) + BODY
CHUNKED = POST + OFFER + b"Transfer-Encoding: chunked\r\n\r\n5\r\n" + BODY[:5] + b"\r\n9\r\n" + BODY[5:] + b"\r\n0\r\n\r\n"
PLAIN = POST + b"Content-Length: %d\r\n\r\n" % len(BODY) + BODY
GET = b"GET /.well-known/authzen-configuration HTTP/1.1\r\nHost: x\r\n"


class Whole:
    """Answers each request with the body it was given, and lives as long as its server."""

    async def __call__(self, scope, receive, send) -> None:
        if scope["type"] == "lifespan":
            await receive()
            await send({"type": "lifespan.startup.complete"})
            await receive()
            await send({"type": "lifespan.shutdown.complete"})
            return
        body, more = b"", True
        while more:
            event = await receive()
            body, more = body + event.get("body", b""), event.get("more_body", False)
        said = json.dumps([scope["method"], scope["path"], body.decode()]).encode()
        headers = [(b"content-length", str(len(said)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": said})


@pytest.fixture(scope="module")
def address():
    import threading

    import uvicorn

    from permsite import server

    bound = server.bind("127.0.0.1", 0, or_next=False)
    running = uvicorn.Server(server.config(Whole()))
    thread = threading.Thread(target=running.run, kwargs={"sockets": [bound]})
    thread.start()
    while not running.started and thread.is_alive():
        thread.join(0.01)
    yield server.address_of(bound)
    running.should_exit = True
    thread.join(15)
    bound.close()
    assert not thread.is_alive()


def answers(address: str, *pieces: bytes, number: int = 1) -> list[list[str]]:
    """What the server answers to the pieces, each sent once the one before is gone."""
    parts = urlsplit(address)
    with socket.create_connection((parts.hostname, parts.port), timeout=20) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for piece in pieces:
            connection.sendall(piece)
        reader, found = connection.makefile("rb"), []
        for _ in range(number):
            assert reader.readline() == b"HTTP/1.1 200 OK\r\n"
            length = 0
            while (line := reader.readline()) != b"\r\n":
                name, _, value = line.partition(b":")
                length = int(value) if name.lower() == b"content-length" else length
            found.append(json.loads(reader.read(length)))
        return found


EVALUATION = ["POST", "/access/v1/evaluation", BODY.decode()]


@pytest.mark.parametrize("request_", [FRAMED, CHUNKED, PLAIN], ids=["framed", "chunked", "no offer"])
def test_its_body_arrives(address, request_):
    assert answers(address, request_) == [EVALUATION]


@pytest.mark.parametrize("request_", [FRAMED, CHUNKED], ids=["framed", "chunked"])
def test_its_body_may_come_in_pieces(address, request_):
    for at in (40, len(request_) - len(BODY) - 20, len(request_) - 3):
        assert answers(address, request_[:at], request_[at:]) == [EVALUATION]
    assert answers(address, *(request_[at : at + 1] for at in range(len(request_)))) == [EVALUATION]


def test_what_comes_behind_it_on_the_connection_is_answered_too(address):
    assert answers(address, FRAMED + PLAIN + CHUNKED + FRAMED + PLAIN, number=5) == [EVALUATION] * 5
    assert answers(address, CHUNKED, PLAIN, number=2) == [EVALUATION] * 2


def test_without_a_body_it_is_answered_at_once(address):
    path = "/.well-known/authzen-configuration"
    assert answers(address, GET + OFFER + b"\r\n" + PLAIN, number=2) == [["GET", path, ""], EVALUATION]


def test_what_is_no_http_behind_it_is_refused(address):
    parts = urlsplit(address)
    with socket.create_connection((parts.hostname, parts.port), timeout=20) as connection:
        connection.sendall(POST + OFFER + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n")
        said = connection.makefile("rb").read()
    assert said.startswith(b"HTTP/1.1 400 ")
