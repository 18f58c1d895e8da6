"""What the chaos tests of the stores share: servers of their own, a load on them, and a limit that is counted exactly."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import redis

from resilience.errors import StorageError

HOUR_US = 3_600_000_000


def take(limit: int) -> tuple[int | str, ...]:
    """One of `limit` tokens; none comes back while a test runs."""
    return ("take", 1, 1, 1000 * HOUR_US, 1, limit)


def peek(limit: int) -> tuple[int | str, ...]:
    return ("peek", 1, 1, 1000 * HOUR_US, 1, limit)


@contextlib.contextmanager
def frozen(process: subprocess.Popen[bytes]) -> Iterator[None]:
    """The server keeps its connections and says nothing."""
    process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        process.send_signal(signal.SIGCONT)


class Load:
    """Threads that call until told to stop; what came of it is counted by outcome."""

    def __init__(self, call: Callable[[int], Any], *, threads: int = 4) -> None:
        self._call = call
        self._stopped = threading.Event()
        self._lock = threading.Lock()
        self.outcomes: Counter[str] = Counter()
        self.unexpected: list[BaseException] = []
        self._threads = [threading.Thread(target=self._run, args=(number,)) for number in range(threads)]

    def _run(self, number: int) -> None:
        mine: Counter[str] = Counter()
        try:
            while not self._stopped.is_set():
                try:
                    mine["admitted" if self._call(number)[0] else "refused"] += 1
                except StorageError as error:
                    mine[type(error).__name__] += 1
        except BaseException as error:  # noqa: BLE001 - told in the test's own thread
            self.unexpected.append(error)
        with self._lock:
            self.outcomes += mine

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stopped.set()
        for thread in self._threads:
            thread.join(60)
        assert not self.unexpected, self.unexpected


def at(port: int) -> redis.Redis:
    return redis.Redis(port=port, decode_responses=True, socket_timeout=10)


def ports_of(url: str) -> list[int]:
    return [int(place.rpartition(":")[2]) for place in url.removeprefix("redis+cluster://").rstrip("/").split(",")]


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
