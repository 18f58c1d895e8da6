"""Malformed requests against the running site: each is refused with a reason, none is a fault, and sound ones are answered."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from permissions.models import Realm
from permissions.services.keys import key_create
from permissions.writing import SYSTEM
from tests.attack import wire_fuzzer
from tests.attack.wire_cases import Cases
from tests.attack.wire_fuzzer import Report, fuzz, play, target
from tests.worlds import apply

REQUESTS = 900
WORLD = Path(__file__).parents[1] / "conformance/authzen_certification.yaml"


@pytest.mark.timeout(180)
@pytest.mark.django_db(transaction=True)
def test_no_malformed_request_is_a_fault_or_hangs(live_server_asgi):
    apply(WORLD.read_text(encoding="utf-8"))
    realm = Realm.objects.get(name="default")
    _, key = key_create(actor=SYSTEM, realm=realm, name="fuzzer", asserted="override", reason="test")
    report = Report()
    asyncio.run(fuzz(live_server_asgi.url, Cases(20261122, key), REQUESTS, report=report))
    assert report.faults == []
    assert sum(report.sent.values()) == REQUESTS
    # Every kind was drawn, and what can be refused was: else it tests nothing.
    assert len(report.sent) == 20
    assert report.statuses[400] > REQUESTS / 2
    assert report.statuses[401] > 0 < report.statuses[405]


def answer(status: int, body: str, ident: str) -> bytes:
    return f"HTTP/1.1 {status} x\r\nContent-Length: {len(body)}\r\nX-Request-ID: {ident}\r\n\r\n{body}".encode()


@pytest.mark.parametrize(
    ("said", "fault"),
    [
        (lambda ident: answer(500, '"internal error"', ident), "status 500, not"),
        (lambda ident: answer(200, '{"decision":false}', ident), "a plain question was answered"),
        (lambda ident: answer(200, '{"decision":true}', "another"), "X-Request-ID 'another' came back"),
        (lambda ident: answer(200, '{"allowed":true}', ident), "200 without an answer"),
        (lambda ident: answer(400, '""', ident), "without a reason"),
        (lambda ident: answer(400, "no", ident), "the body is no JSON"),
        (lambda ident: b"HTTP/2 200\r\n\r\n", "BadAnswerError"),
        (lambda ident: b"", "IncompleteReadError"),
        (None, "no answer within"),
    ],
)
def test_the_fuzzer_sees_each_fault(said, fault, monkeypatch):
    """A server that answers every request so, or, for None, not at all."""
    monkeypatch.setattr(wire_fuzzer, "HANG_S", 0.05)
    report = Report()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while not reader.at_eof():
            sent = await reader.read(2_000_000)
            ident = sent.partition(b"X-Request-ID: ")[2].partition(b"\r")[0].decode("latin-1")
            if said is not None and sent:
                writer.write(said(ident))
                if not said(ident):
                    break
        writer.close()

    async def run() -> None:
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        async with server:
            host, port = server.sockets[0].getsockname()
            await fuzz(f"http://{host}:{port}", Cases(1, "key"), 60, report=report, clients=1)

    asyncio.run(run())
    assert any(fault in seen for seen in report.faults), report.faults[:3]


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_two_hundred_thousand_of_them_leave_two_workers_as_they_were():
    with target(None, None) as server:
        assert play(server, seed=1, number=200_000) == []
