"""Connections that come all at once are all accepted at once; what cannot be accepted now is accepted later."""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import Iterator
from typing import Any

import pytest
import uvloop

from permsite import accepting
from permsite.accepting import Acceptor

LOOPS = [asyncio.new_event_loop, uvloop.new_event_loop]


@pytest.fixture
def bound() -> Iterator[socket.socket]:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(512)
        yield listening


class Made(asyncio.Protocol):
    """What was made of a connection; `turns` is the loop's count then."""

    def __init__(self, log: list[Made]) -> None:
        self.log = log

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.log.append(self)

    def data_received(self, data: bytes) -> None:
        self.transport.write(data)


def clients(bound: socket.socket, count: int) -> list[socket.socket]:
    found = [socket.socket() for _ in range(count)]
    for client in found:
        client.connect(bound.getsockname())
    return found


async def until(log: list[Made], count: int) -> int:
    """How many turns of the loop it took."""
    for turn in range(10_000):
        if len(log) >= count:
            return turn
        await asyncio.sleep(0)
    raise AssertionError(f"{len(log)} of {count} connections were made")


def close_all(log: list[Made], found: list[socket.socket]) -> None:
    for made in log:
        made.transport.close()
    for client in found:
        client.close()


@pytest.mark.parametrize("loop", LOOPS, ids=["asyncio", "uvloop"])
def test_a_crowd_is_accepted_in_handfuls_not_one_by_one(bound, loop):
    log: list[Made] = []

    async def run() -> int:
        found = clients(bound, 200)
        acceptor = Acceptor(bound, lambda: Made(log))
        turns = await until(log, 200)
        found[7].sendall(b"hello")
        found[7].settimeout(10)
        assert await asyncio.to_thread(found[7].recv, 10) == b"hello"
        await acceptor.close()
        close_all(log, found)
        return turns

    with asyncio.Runner(loop_factory=loop) as runner:
        # One in a turn would take two hundred.
        assert runner.run(run()) < 60


def test_the_end_takes_those_who_wait_and_nobody_after(bound):
    log: list[Made] = []

    async def run() -> None:
        acceptor = Acceptor(bound, lambda: Made(log))
        found = clients(bound, 20)
        await acceptor.close(take_waiting=100)
        assert len(log) == 20
        found += clients(bound, 1)  # the system connects it; nobody accepts
        for _ in range(50):
            await asyncio.sleep(0)
        assert len(log) == 20
        close_all(log, found)

    asyncio.run(run())


def test_without_a_free_file_it_rests_and_goes_on(bound, monkeypatch, caplog):
    monkeypatch.setattr(accepting, "REST_S", 0.01)
    log: list[Made] = []

    class Exhausted:
        """The socket, out of files twice."""

        left = 2

        def accept(self) -> Any:
            if self.left:
                self.left -= 1
                raise OSError(errno.EMFILE, "Too many open files")
            return bound.accept()

        def setblocking(self, flag: bool) -> None:
            bound.setblocking(flag)

        def fileno(self) -> int:
            return bound.fileno()

    async def run() -> None:
        found = clients(bound, 3)
        acceptor = Acceptor(Exhausted(), lambda: Made(log))  # type: ignore[arg-type]
        for _ in range(1_000):
            if len(log) == 3:
                break
            await asyncio.sleep(0.01)
        assert len(log) == 3
        await acceptor.close()
        close_all(log, found)

    asyncio.run(run())
    assert [record.message for record in caplog.records] == [
        "no connection can be accepted: Too many open files; tries again in 0 s"
    ] * 2


def test_it_may_end_while_it_rests(bound, monkeypatch):
    async def run() -> None:
        acceptor = Acceptor(bound, lambda: Made([]))
        monkeypatch.setattr(acceptor, "_bound", type("Out", (), {"accept": _out, "fileno": lambda _: bound.fileno()})())
        found = clients(bound, 1)
        acceptor._accept()
        await acceptor.close()
        close_all([], found)

    asyncio.run(run())


def _out(_: Any) -> Any:
    raise OSError(errno.ENFILE, "Too many open files in system")
