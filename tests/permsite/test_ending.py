"""A connection at the end of its server: what was asked is answered, and the last answer says so."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest
from uvicorn.server import ServerState

from permsite import protocol, server
from resilience import config
from tests.permsite.test_quick import BATCH, BODY, EVALUATION, EVALUATIONS, Both, Hidden, Wire, key_of_world, request

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def key() -> str:
    return key_of_world()


@pytest.fixture
def both(key):
    found = Both(key)
    yield found
    found.site.close()
    config.LIVE.reset()


class Ended:
    """A connection of the site, spoken to by bytes, that is told of the end of its server."""

    def __init__(self, site: Any) -> None:
        settings = server.config(site)
        settings.lifespan = "off"
        settings.load()
        self.protocol: Any = cast(Any, settings.http_protocol_class)(
            config=settings, server_state=ServerState(), app_state={}, _loop=asyncio.get_running_loop()
        )
        self.wire = Wire()
        self.protocol.connection_made(self.wire)

    def hear(self, data: bytes) -> None:
        self.protocol.data_received(data)

    async def said(self) -> list[tuple[bytes, bool]]:
        """Once it is closed: each answer's status, and whether it tells of the end."""
        for _ in range(2_000):
            if self.wire.closed:
                break
            await asyncio.sleep(0.005)
        assert self.wire.closed
        answers = self.wire.written.split(b"HTTP/1.1 ")[1:]
        return [(answer[:3], b"connection: close" in answer) for answer in answers]


def ended(both: Both, slowly: bool, before: bytes, *after: bytes) -> list[tuple[bytes, bool]]:
    """`before` is read whole before the end, each of `after` after it."""

    async def speak() -> list[tuple[bytes, bool]]:
        end = Ended(Hidden(both.site) if slowly else both.site)
        if before:
            end.hear(before)
        end.protocol.shutdown()
        for part in after:
            assert not end.wire.closed
            end.hear(part)
        return await end.said()

    return asyncio.run(speak())


GO_ON, LAST = (b"200", False), (b"200", True)


@pytest.mark.parametrize("slowly", [False, True])
def test_at_the_end_the_next_request_is_answered_and_told_that_it_is_the_last(both, key, slowly):
    whole = request(key)
    first = [GO_ON] if not slowly else []  # what the application answers is open still, so it is the last unless more comes
    assert ended(both, slowly, b"", whole) == [LAST]
    assert ended(both, slowly, whole) == (first or [LAST])
    assert ended(both, slowly, whole, whole) == [GO_ON, LAST]
    assert ended(both, slowly, request(key, BATCH, EVALUATIONS), whole) == [GO_ON, LAST]
    assert ended(both, slowly, whole, b"no http\r\n\r\n")[-1] == (b"400", True)


@pytest.mark.parametrize("slowly", [False, True])
def test_at_the_end_a_request_that_is_half_read_is_answered(both, key, slowly):
    whole = request(key)
    for place in (1, 20, len(whole) - len(BODY) - 1, len(whole) - len(BODY), len(whole) - 1):
        assert ended(both, slowly, whole[:place], whole[place:]) == [LAST], place
        assert ended(both, slowly, b"", whole[:place], whole[place:]) == [LAST], place


@pytest.mark.parametrize("slowly", [False, True])
def test_at_the_end_the_last_of_several_at_once_is_told(both, key, slowly):
    whole = request(key)
    assert ended(both, slowly, b"", whole * 3) == [GO_ON, GO_ON, LAST]
    assert ended(both, slowly, b"", whole, whole) == [GO_ON, LAST]
    assert ended(both, slowly, b"", whole + whole[:30], whole[30:]) == [GO_ON, LAST]
    assert ended(both, slowly, b"", request(key, BODY, EVALUATION, "Connection: close"), whole) == [LAST]


def test_at_the_end_a_connection_that_is_silent_is_closed_and_one_that_speaks_is_not(both, key, monkeypatch):
    monkeypatch.setattr(protocol, "QUIET_S", 0.0)
    assert ended(both, False, b"") == []
    assert ended(both, False, b"", b"POST") == []
    monkeypatch.setattr(protocol, "QUIET_S", 3600.0)

    async def waits() -> float:
        end = Ended(both.site)
        end.protocol.shutdown()
        return float(end.protocol.timeout_keep_alive_task.when() - asyncio.get_running_loop().time())

    assert asyncio.run(waits()) > 3500


def test_a_loop_that_was_held_up_reads_before_it_closes(both, key, monkeypatch):
    monkeypatch.setattr(protocol, "QUIET_S", 0.0)

    async def held_up() -> list[tuple[bytes, bool]]:
        end = Ended(both.site)
        end.protocol.shutdown()
        end.protocol.timeout_keep_alive_handler()  # due, and something has come that is read after it
        end.hear(request(key))
        return await end.said()

    assert asyncio.run(held_up()) == [LAST]


def test_an_answer_that_has_begun_is_not_the_last(key):
    """Its client was told nothing, and asks again."""
    go_on = asyncio.Event()

    async def slow(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
        await go_on.wait()
        await send({"type": "http.response.body", "body": b"ok"})

    async def speak() -> list[tuple[bytes, bool]]:
        end = Ended(slow)
        end.hear(request(key))
        await asyncio.sleep(0.01)
        assert end.wire.written
        end.protocol.shutdown()
        go_on.set()
        await asyncio.sleep(0.01)
        end.hear(request(key))
        return await end.said()

    assert asyncio.run(speak()) == [GO_ON, LAST]
