"""The workers of `serve`: as many processes on one socket, the dead replaced, all ended with what they were asked answered.

uvicorn's own supervisor looks twice a second, asks one worker after another and waits for each up to five seconds, so that a
stop may take as long; and it starts a worker that dies at its start again at once, for ever.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from multiprocessing import connection, get_context
from multiprocessing.context import SpawnProcess
from types import FrameType
from typing import Any, Final

import uvicorn

from permsite.accepting import Acceptor

log = logging.getLogger("permsite.workers")

# Seconds, all chosen. From a worker's start to its first turn: what imports take on the slowest machine, and some more.
READY_S: Final = 120.0
# Without a turn of its event loop: stopped, or hung; its clients have given up.
HUNG_S: Final = 30.0
# A worker that lived as long did not die of its start: the next one need not wait.
STEADY_S: Final = 10.0
MOST_WAIT_S: Final = 30.0
# Deaths of one place before any worker was ever ready: then no other will be, and who started us should know.
MOST_FAILURES: Final = 3
# Above what a worker itself gives its open requests.
MARGIN_S: Final = 2.0
LOOK_S: Final = 1.0
# Connections that the system holds for us until they are accepted.
BACKLOG: Final = 2048

_spawn: Final = get_context("spawn")


class WorkersFailedError(RuntimeError):
    """No worker comes up."""


# What is told that the server of this process wants nothing new from now on.
_leaving: list[Callable[[], object]] = []


def when_leaving(call: Callable[[], object]) -> None:
    """`call()` at the beginning of the end, while open requests are still answered. Named once."""
    if call not in _leaving:
        _leaving.append(call)


class Server(uvicorn.Server):
    """Accepts in handfuls, and ends without a loss: who is connected when it stops listening is asked for a last request like the
    others."""

    _acceptors: tuple[Acceptor, ...] = ()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets=[])
        self._acceptors = tuple(Acceptor(bound, self._connection) for bound in sockets or [])

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for leave in _leaving:
            leave()
        # What the system connected and nobody accepted yet would be reset with the socket: accept it, then close at once.
        for acceptor in self._acceptors:
            await acceptor.close(take_waiting=BACKLOG)
        await super().shutdown(sockets)

    def _connection(self) -> asyncio.Protocol:
        kind: Any = self.config.http_protocol_class
        made: asyncio.Protocol = kind(config=self.config, server_state=self.server_state, app_state=self.lifespan.state)
        return made


class _Served(Server):
    """`beat`: when the event loop last had a turn, by the machine's clock; 0 until it serves."""

    def __init__(self, settings: uvicorn.Config, beat: Any) -> None:
        super().__init__(settings)
        self._beat = beat

    async def on_tick(self, counter: int) -> bool:
        self._beat.value = time.monotonic()
        return await super().on_tick(counter)


def _work(settings: uvicorn.Config, bound: socket.socket, beat: Any) -> None:
    # A Ctrl-C reaches the whole group: the parent ends us, and until the server listens itself there is nothing to end.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _Served(settings, beat).run(sockets=[bound])


@dataclass(slots=True)
class Worker:
    process: SpawnProcess
    beat: Any
    born_s: float
    told_s: float = 0.0  # when it was told to end

    @property
    def is_ready(self) -> bool:
        return bool(self.beat.value)

    def is_silent(self, now_s: float) -> bool:
        beat_s: float = self.beat.value
        return now_s - beat_s > HUNG_S if beat_s else now_s - self.born_s > READY_S

    def end(self) -> None:
        """As told: no new request, the open ones answered."""
        self.told_s = time.monotonic()
        self.process.terminate()

    def told(self) -> str:
        code = self.process.exitcode
        return f"by signal {-code}" if code is not None and code < 0 else f"with code {code}"


@dataclass(slots=True)
class Place:
    """One of the N. `failures`: how often in a row its worker died young. `due_s`: when the next may be started."""

    worker: Worker | None = None
    failures: int = 0
    due_s: float = 0.0


class Supervisor:
    """`run` returns once it was told to end (SIGTERM, SIGINT) and every worker has; it closes the socket. SIGHUP renews the
    workers one by one."""

    def __init__(self, settings: uvicorn.Config, bound: socket.socket) -> None:
        self._settings = settings
        self._bound = bound
        self._places = [Place() for _ in range(settings.workers)]
        # Told to end, and not gone yet.
        self._leaving: list[Worker] = []
        self._asked: list[int] = []
        self._was_ready = False
        self._woken, self._wake = os.pipe()
        os.set_blocking(self._wake, False)

    def run(self) -> None:
        """Raises WorkersFailedError."""
        with self._listening():
            try:
                while not self._is_ending:
                    self._fill()
                    self._wait(LOOK_S)
                    self._look()
                    if signal.SIGHUP in self._asked:
                        self._asked = [number for number in self._asked if number != signal.SIGHUP]
                        self._renew()
            finally:
                self._end()

    @property
    def _is_ending(self) -> bool:
        return any(number != signal.SIGHUP for number in self._asked)

    @contextlib.contextmanager
    def _listening(self) -> Iterator[None]:
        def asked(number: int, frame: FrameType | None) -> None:
            self._asked.append(number)
            with contextlib.suppress(BlockingIOError):  # full, so it wakes already
                os.write(self._wake, b".")

        numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
        before = [signal.signal(number, asked) for number in numbers]
        try:
            yield
        finally:
            for number, handler in zip(numbers, before, strict=True):
                signal.signal(number, handler)
            os.close(self._woken)
            os.close(self._wake)

    def _start(self) -> Worker:
        beat = _spawn.RawValue("d", 0.0)
        process = _spawn.Process(target=_work, args=(self._settings, self._bound, beat), name="worker")
        process.start()
        return Worker(process, beat, time.monotonic())

    def _fill(self) -> None:
        now_s = time.monotonic()
        for place in self._places:
            if place.worker is None and now_s >= place.due_s:
                place.worker = self._start()

    def _wait(self, limit_s: float) -> None:
        """Until a worker ends, a signal comes, or some time has passed."""
        held = [place.worker for place in self._places if place.worker is not None]
        now_s = time.monotonic()
        due = [place.due_s - now_s for place in self._places if place.worker is None]
        sentinels = [worker.process.sentinel for worker in (*held, *self._leaving)]
        if self._woken in connection.wait([*sentinels, self._woken], timeout=max(0.0, min([limit_s, *due]))):
            os.read(self._woken, 4096)

    def _look(self) -> None:
        now_s = time.monotonic()
        self._leaving = [worker for worker in self._leaving if worker.process.exitcode is None]
        for leaving in self._leaving:
            if now_s - leaving.told_s > HUNG_S:
                log.error("worker %s was told to end, does not, and is killed", leaving.process.pid)
                leaving.process.kill()
        for place in self._places:
            worker = place.worker
            if worker is None:
                continue
            self._was_ready |= worker.is_ready
            if worker.process.exitcode is None:
                if not worker.is_silent(now_s):
                    continue
                log.error("worker %s gives no sign of life and is killed", worker.process.pid)
                worker.process.kill()
                worker.process.join()
            self._replace(place, worker, now_s)

    def _replace(self, place: Place, worker: Worker, now_s: float) -> None:
        if now_s - worker.born_s >= STEADY_S:
            place.failures = 0
        wait_s = min(MOST_WAIT_S, 2.0 ** (place.failures - 1)) if place.failures else 0.0
        place.worker, place.due_s, place.failures = None, now_s + wait_s, place.failures + 1
        log.error("worker %s ended %s; another follows in %.0f s", worker.process.pid, worker.told(), wait_s)
        if not self._was_ready and place.failures >= MOST_FAILURES:
            raise WorkersFailedError(f"no worker comes up: the last one ended {worker.told()}")

    def _renew(self) -> None:
        """Each place gets a worker of now before its old one is told to end; the first that does not come up ends this."""
        for place in self._places:
            new = self._start()
            while not (new.is_ready or self._is_ending or new.process.exitcode is not None or new.is_silent(time.monotonic())):
                connection.wait([new.process.sentinel], timeout=0.1)
            if not new.is_ready:
                new.process.kill()
                new.process.join()
                if not self._is_ending:
                    log.error("a new worker did not come up: the others stay as they are")
                return
            if place.worker is not None:
                place.worker.end()
                self._leaving.append(place.worker)
            place.worker, place.failures = new, 0

    def _end(self) -> None:
        # Whoever comes now is refused at once, instead of waiting for a worker that will not accept it.
        self._bound.close()
        workers = [place.worker for place in self._places if place.worker is not None] + self._leaving
        for worker in workers:
            worker.end()
        limit_s = time.monotonic() + (self._settings.timeout_graceful_shutdown or 0) + MARGIN_S
        for worker in workers:
            worker.process.join(max(0.0, limit_s - time.monotonic()))
            if worker.process.exitcode is None:
                log.error("worker %s did not end in time and is killed", worker.process.pid)
                worker.process.kill()
                worker.process.join()
