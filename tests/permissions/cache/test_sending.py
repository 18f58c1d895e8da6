"""Sending without waiting: a bus that hangs, is away or comes too late costs a message, and never a writer."""

from __future__ import annotations

import os
import threading
from typing import Any

from permissions.cache.sending import LATE_S, Sender
from resilience import telemetry
from resilience.bus import LocalBus
from resilience.clock import FakeClock
from resilience.errors import StorageUnavailable


def unsent() -> float:
    return telemetry.collect().get("permission_cache_events_total", {}).get(("unsent",), 0)


class Deaf(LocalBus):
    """A server that hangs until it is let go."""

    def __init__(self) -> None:
        super().__init__()
        self.asked, self.let_go = threading.Event(), threading.Event()
        self.said: list[bytes] = []

    def publish(self, channel: str, message: str | bytes) -> None:
        self.asked.set()
        self.let_go.wait(30)
        self.said.append(message if isinstance(message, bytes) else message.encode())


class Away(LocalBus):
    def publish(self, channel: str, message: str | bytes) -> None:
        raise StorageUnavailable("publish", "nobody there")


def test_nobody_waits_for_a_bus_that_hangs() -> None:
    bus = Deaf()
    sender = Sender("c", lambda: bus, size=3)
    before = unsent()
    sender.put(b"0")
    assert bus.asked.wait(30)
    for number in range(1, 6):
        sender.put(b"%d" % number)  # returns, though the first is still on its way
    assert sender.waiting == 3
    assert unsent() == before + 2, "full: the oldest are dropped and counted"
    bus.let_go.set()
    assert sender.drain(30)
    assert bus.said == [b"0", b"3", b"4", b"5"]
    sender.stop()


def test_a_bus_that_is_away_costs_the_message_and_nothing_else() -> None:
    away, heard = Away(), LocalBus()
    buses: list[Any] = [away, None, heard]
    said: list[bytes] = []
    heard.subscribe("c", said.append)
    before = unsent()
    sender = Sender("c", lambda: buses.pop(0))
    for message in (b"1", b"2", b"3"):
        sender.put(message)
    assert sender.drain(30)
    assert (said, unsent() - before) == ([b"3"], 2)
    sender.stop()


def test_what_waited_longer_than_the_bound_is_no_news() -> None:
    clock, bus = FakeClock(), Deaf()
    sender = Sender("c", lambda: bus, clock=clock)
    sender.put(b"first")
    assert bus.asked.wait(30)
    sender.put(b"old")
    clock.advance(LATE_S + 0.01)
    sender.put(b"new")
    bus.let_go.set()
    assert sender.drain(30)
    assert bus.said == [b"first", b"new"]
    sender.stop()


def test_its_thread_outlives_every_fault() -> None:
    heard = LocalBus()
    said: list[bytes] = []
    heard.subscribe("c", said.append)
    buses: list[Any] = [object(), heard]  # the first cannot publish at all
    sender = Sender("c", lambda: buses.pop(0))
    sender.put(b"1")
    sender.put(b"2")
    assert sender.drain(30)
    assert said == [b"2"]
    sender.stop()


def test_stopped_it_begins_anew_with_the_next_message() -> None:
    heard = LocalBus()
    said: list[bytes] = []
    heard.subscribe("c", said.append)
    sender = Sender("c", lambda: heard)
    for message in (b"1", b"2"):
        sender.put(message)
        assert sender.drain(30)
        sender.stop()
    assert said == [b"1", b"2"]


def test_a_forked_child_sends_its_own_and_nothing_of_its_parent() -> None:
    bus = Deaf()
    sender = Sender("c", lambda: bus)
    sender.put(b"on its way")
    assert bus.asked.wait(30)
    sender.put(b"the parent's")
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        said: list[bytes] = []
        try:
            own = LocalBus()
            own.subscribe("c", said.append)
            sender._bus = lambda: own
            sender.put(b"the child's")
            sender.drain(10)
        finally:
            os.write(writing, b"|".join(said))
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        assert pipe.read() == b"the child's"
    os.waitpid(child, 0)
    bus.let_go.set()
    assert sender.drain(30)
    assert bus.said == [b"on its way", b"the parent's"]
    sender.stop()
