"""A reader that stops costs a bounded amount, is told how much it missed, and keeps nobody else from reading."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

import pytest
from uvicorn.protocols.utils import ClientDisconnected

from controlplane.metrics import SOCKET_DROPPED
from controlplane.sockets.messages import Message
from controlplane.sockets.outbox import SIZE, Outbox, Pace
from controlplane.sockets.room import ROOM
from permsite.server import GRACE_S
from permsite.websocket import HIGH_WATER
from resilience import telemetry
from tests.controlplane.sockets.conftest import event, revoke, soon

pytestmark = pytest.mark.django_db(transaction=True)


def batch(first: int, count: int = 1) -> Message:
    events = [{**event("storage.down"), "id": f"{number:013d}-000000"} for number in range(first, first + count)]
    return Message.of("events", json.dumps({"type": "events", "events": events, "last": events[-1]["id"]}).encode())


def test_what_is_too_much_pushes_out_the_oldest_and_is_counted_by_what_was_in_it():
    async def talk() -> None:
        outbox = Outbox(3)
        assert outbox.gap() is None
        for number in range(4):
            outbox.put(batch(10 * number, 10))
        outbox.put(Message("frame", "{}"))
        outbox.put(Message("frame", "{}"))
        assert len(outbox) == 3
        assert outbox.gap() == (30, "0000000000029-000000")
        assert outbox.gap() is None
        assert (await outbox.get()).last == "0000000000039-000000"

    asyncio.run(talk())


def test_ten_messages_a_second_are_listened_to():
    now = [0.0]
    pace = Pace(10, lambda: now[0])
    assert all(pace.allows() for _ in range(10)) and not pace.allows()
    now[0] = 0.99
    assert not pace.allows()
    now[0] = 1.0
    assert all(pace.allows() for _ in range(10)) and not pace.allows()


TEN_THOUSAND = 10_000


def tell(first: int, count: int) -> None:
    """As the hub does. Each a message of its own with one event, so large that the system's buffers soon are full."""
    for number in range(first, first + count):
        one = {**event("storage.down", data={"about": "x" * 400}), "id": f"{number:013d}-000000"}
        ROOM._news("events", json.dumps({"type": "events", "events": [one], "last": one["id"]}).encode())


def peers() -> list[Any]:
    return [peer for peers in ROOM._peers.values() for peer in peers]


def test_ten_thousand_events_to_a_reader_that_stopped(site):
    other, stopped = site.watching("bob", topics=["frame"]), site.deaf("alice", ["events"])
    (peer,) = (peer for peer in peers() if peer.subject == "user:alice")
    wire = peer.base_send.__self__
    before = telemetry.collect()[SOCKET_DROPPED].get((), 0)
    tell(0, TEN_THOUSAND)
    # Nobody else waits for it.
    site.frame(checks_per_s=1)
    assert other.wait_for("frame")["frame"]["checks_per_s"] == 1
    assert soon(lambda: len(peer._stream.outbox) == SIZE)
    assert wire.transport.get_write_buffer_size() <= HIGH_WATER + 8_192
    last = f"{TEN_THOUSAND - 1:013d}-000000"
    found = stopped.read_until(lambda message: message.get("last") == last and message["type"] == "events")
    ids = [event["id"] for message in found if message["type"] == "events" for event in message["events"]]
    gaps = [message for message in found if message["type"] == "gap"]
    assert ids == sorted(set(ids))
    # To the event: what came and what is said to be lost are all there was.
    assert gaps and len(ids) + sum(gap["dropped"] for gap in gaps) == TEN_THOUSAND
    assert telemetry.collect()[SOCKET_DROPPED][()] - before == sum(gap["dropped"] for gap in gaps)
    # Where a hole ends, the next event begins.
    for place, message in enumerate(found):
        if message["type"] == "gap":
            assert int(found[place + 1]["events"][0]["id"][:13]) == int(message["last"][:13]) + 1
    assert found[-1]["last"] == last


def test_a_reader_that_stopped_is_closed_as_soon_as_others_are(site):
    stopped = site.deaf("alice", ["events"])
    (peer,) = peers()
    tell(0, 2_000)
    assert soon(lambda: len(peer._stream.outbox) == SIZE)
    revoke("alice")
    assert soon(lambda: not peers())
    assert soon(lambda: not connections(peer)), "its connection is still held"
    stopped.wait_for_its_end()


def test_a_reader_that_stopped_does_not_hold_up_the_end_of_the_server(site):
    stopped = site.deaf("alice", ["events"])
    (peer,) = peers()
    tell(0, 2_000)
    assert soon(lambda: len(peer._stream.outbox) == SIZE)
    began = time.monotonic()
    site.server.stop()
    assert time.monotonic() - began < GRACE_S
    stopped.wait_for_its_end()


def test_a_page_that_goes_while_it_is_written_to_is_no_fault_of_ours(site):
    def faults() -> float:
        return sum(telemetry.collect().get("resilience_internal_errors_total", {}).values())

    site.watching("alice", topics=["frame"])
    (peer,) = peers()
    tried, before = [], faults()

    async def gone(message: Any) -> None:
        tried.append(message)
        raise ClientDisconnected

    peer.base_send = gone
    site.frame(checks_per_s=1)
    assert soon(lambda: tried) and soon(peer._tasks[0].done)
    assert faults() == before and peer._ending is None


def connections(peer: Any) -> bool:
    wire = peer.base_send.__self__
    return wire in wire.connections
