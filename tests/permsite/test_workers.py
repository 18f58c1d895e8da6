"""The workers of `serve`: open requests are answered at the end, a killed one is replaced, those that die at once do not spin."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from permsite import server, workers
from permsite.quick import Quick, connection
from tests.permsite.commands import ROOT, Running, run

KEY = {"SECRET_KEY": "s3cret-" * 10}
BODY = b'{"subject":{"type":"user","id":"a"},"action":{"name":"read"},"resource":{"type":"doc","id":"1"}}'
HEAD = "POST /access/v1/evaluation HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\nAuthorization: Bearer {}\r\n"
WORLD = """
import django; django.setup()
from permissions.models import Realm
from permissions.services.keys import key_create
from permissions.writing import SYSTEM
from tests.worlds import apply
apply('realm: default\\npermissions: [{code: "doc:read"}]\\nsubjects: [{id: "user:a"}]')
print(key_create(actor=SYSTEM, realm=Realm.objects.get(name="default"), name="w")[1])
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A folder with a database that holds a world, and a key."""
    folder = tmp_path_factory.mktemp("workers")
    env = {"PATH": "/usr/bin:/bin", "PERMSITE_VAR": str(folder), "DJANGO_SETTINGS_MODULE": "permsite.settings", **KEY}
    subprocess.run([sys.executable, "manage.py", "migrate", "-v0"], cwd=ROOT, env=env, check=True)
    made = subprocess.run([sys.executable, "-c", WORLD], cwd=ROOT, env=env, check=True, capture_output=True, text=True)
    return folder, made.stdout.split()[-1]


@contextlib.contextmanager
def serving(folder: Path, number: int) -> Iterator[tuple[Running, int]]:
    with run("serve", "--port", "0", "--workers", str(number), folder=folder, **KEY) as serve:
        port = int(serve.wait_for(r"on http://127\.0\.0\.1:(\d+) with")[1])
        until(lambda: len(workers_of(serve)) >= (number if number > 1 else 0))
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=30):
            yield serve, port


def workers_of(serve: Running) -> list[int]:
    """Those that serve: each holds a copy of the listening socket, and says so by its command line."""
    children = Path(f"/proc/{serve.process.pid}/task/{serve.process.pid}/children").read_text().split()
    found = []
    for pid in children:
        with contextlib.suppress(OSError):  # ended meanwhile
            if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes():
                found.append(int(pid))
    return found


def until(is_so: Any, limit_s: float = 60.0) -> None:
    deadline = time.monotonic() + limit_s
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def half_asked(port: int, key: str) -> socket.socket:
    """A request whose body is only half there."""
    client = socket.create_connection(("127.0.0.1", port), timeout=30)
    client.sendall((HEAD.format(key) + f"Content-Length: {len(BODY)}\r\nExpect: 100-continue\r\n\r\n").encode())
    assert client.recv(100).startswith(b"HTTP/1.1 100")  # the application asks for the body: the request is in its hands
    client.sendall(BODY[:30])
    return client


@pytest.mark.parametrize("number", [1, 2])
def test_what_was_asked_before_the_end_is_answered(site, number):
    folder, key = site
    with serving(folder, number) as (serve, port):
        clients = [half_asked(port, key) for _ in range(6)]
        serve.process.send_signal(signal.SIGTERM)

        def is_closed() -> bool:
            try:
                socket.create_connection(("127.0.0.1", port), timeout=5).close()
            except OSError:
                return True
            return False

        until(is_closed)
        for client in clients:
            client.sendall(BODY[30:])
        for client in clients:
            answer = b"".join(iter(partial(client.recv, 65536), b""))
            assert answer.startswith(b"HTTP/1.1 200"), answer
            assert b"connection: close" in answer
            assert answer.endswith(b'{"decision":false}')
            client.close()
        serve.process.wait(timeout=30)
        assert not any("Traceback" in line for line in serve.printed), serve.printed


def test_a_client_that_never_finishes_does_not_keep_the_server(site):
    folder, key = site
    with serving(folder, 2) as (serve, port), half_asked(port, key) as client:
        serve.process.send_signal(signal.SIGTERM)
        assert client.recv(65536).startswith(b"HTTP/1.1 503")
        serve.process.wait(timeout=server.GRACE_S + 30)


class Load:
    """Clients that ask on connections of their own, back to back, until told to end or refused, and count what they get. One that
    reads `connection: close` takes a new connection."""

    def __init__(self, port: int, key: str, number: int) -> None:
        self.port, self.ended = port, threading.Event()
        self.request = (HEAD.format(key) + f"Content-Length: {len(BODY)}\r\n\r\n").encode() + BODY
        self.answered, self.lost, self.wrong = [0] * number, [0] * number, list[bytes]()
        self.told, self.refused = [0] * number, [0] * number
        self.threads = [threading.Thread(target=self.ask, args=(place,), name=f"client-{place}") for place in range(number)]

    def __enter__(self) -> Load:
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.ended.set()
        for thread in self.threads:
            thread.join(timeout=60)

    def ask(self, place: int) -> None:
        client: socket.socket | None = None
        while not self.ended.is_set():
            try:
                if client is None:
                    try:
                        client = socket.create_connection(("127.0.0.1", self.port), timeout=30)
                    except ConnectionRefusedError:
                        self.refused[place] += 1
                        return
                client.sendall(self.request)
                answer = b""
                while not answer.endswith(b'{"decision":false}'):
                    part = client.recv(65536)
                    if not part:
                        raise ConnectionResetError
                    answer += part
                if not answer.startswith(b"HTTP/1.1 200"):
                    self.wrong.append(answer)
                self.answered[place] += 1
                if b"connection: close" in answer:
                    self.told[place] += 1
                    client.close()
                    client = None
            except OSError:
                self.lost[place] += 1
                if client is not None:
                    client.close()
                client = None
        if client is not None:
            client.close()


def test_a_killed_worker_takes_only_what_it_held_and_its_place_is_taken(site):
    folder, key = site
    with serving(folder, 2) as (serve, port):
        before = workers_of(serve)
        with Load(port, key, 8) as load:
            until(lambda: min(load.answered) > 20)
            os.kill(before[0], signal.SIGKILL)
            until(lambda: len(set(workers_of(serve)) - set(before)) == 1)
            reached = sum(load.answered)
            until(lambda: sum(load.answered) > reached + 400)
        # Each connection to the dead one lost at most the request that was open on it.
        assert max(load.lost) <= 1
        assert (load.wrong, load.refused) == ([], [0] * 8)
        serve.wait_for(rf"worker {before[0]} ended by signal 9")
        assert before[1] in workers_of(serve)


def test_renewed_workers_lose_no_request_of_busy_clients(site):
    folder, key = site
    with serving(folder, 2) as (serve, port):
        before = workers_of(serve)
        with Load(port, key, 4) as load:
            until(lambda: min(load.answered) > 20)
            serve.process.send_signal(signal.SIGHUP)
            until(lambda: min(load.told) > 0 and not set(before) & set(workers_of(serve)))
            reached = sum(load.answered)
            until(lambda: sum(load.answered) > reached + 400)
        assert (load.lost, load.wrong, load.refused) == ([0] * 4, [], [0] * 4)


@pytest.mark.parametrize("number", [1, 2])
def test_the_end_loses_no_request_of_busy_clients(site, number):
    folder, key = site
    with serving(folder, number) as (serve, port), Load(port, key, 4) as load:
        until(lambda: min(load.answered) > 20)
        serve.process.send_signal(signal.SIGTERM)
        until(lambda: load.refused == [1] * 4)
        assert (load.lost, load.wrong) == ([0] * 4, [])
        assert min(load.told) > 0
        serve.process.wait(timeout=30)
        assert not any("did not end in time" in line for line in serve.printed), serve.printed


def test_who_was_connected_and_not_yet_accepted_is_answered_at_the_end():
    async def answered() -> bytes:
        with server.bind("127.0.0.1", 0, or_next=False) as bound:
            settings = server.config(quiet)
            settings.load()
            running = workers.Server(settings)
            running.lifespan = settings.lifespan_class(settings)
            await running.startup([bound])
            # Without a turn of the loop in between: the system connects them, nobody accepts.
            clients = [socket.create_connection(bound.getsockname(), timeout=30) for _ in range(3)]
            for client in clients:
                client.sendall(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
            await running.shutdown([bound])
            said = b"".join(client.recv(65536) for client in clients)
            for client in clients:
                client.close()
            return said

    with asyncio.Runner(loop_factory=server.config(quiet).get_loop_factory()) as runner:
        said = runner.run(answered())
    assert said.count(b"HTTP/1.1 204 ") == 3


def test_a_stopped_worker_is_replaced(site, monkeypatch):
    """In this process, since the limit must be short enough for a test."""
    monkeypatch.setattr(workers, "HUNG_S", 3.0)
    with supervised(quiet) as supervisor:
        first = ready(supervisor)
        os.kill(first.process.pid or 0, signal.SIGSTOP)
        until(lambda: (held := supervisor._places[0].worker) is not None and held is not first and held.is_ready)


def test_a_hangup_renews_each_worker(site):
    with supervised(quiet, number=2) as supervisor:
        until(lambda: all(place.worker is not None and place.worker.is_ready for place in supervisor._places))
        before = pids(supervisor)
        signal.raise_signal(signal.SIGHUP)
        until(lambda: not before & pids(supervisor))
        until(lambda: not supervisor._leaving)


def test_workers_that_die_at_their_start_are_given_up_when_none_ever_came_up():
    with server.bind("127.0.0.1", 0, or_next=False) as bound:
        supervisor = workers.Supervisor(server.config("tests.permsite.test_workers:missing", workers=2), bound)
        with pytest.raises(workers.WorkersFailedError, match="no worker comes up: the last one ended with code"):
            supervisor.run()


def test_a_worker_that_dies_young_again_and_again_is_started_less_and_less_often(monkeypatch):
    starts: list[float] = []
    now = SimpleNamespace(s=1000.0)

    class Dead:
        """Comes up, and is dead a moment later."""

        exitcode, pid = -signal.SIGSEGV, 7

    def start(self: workers.Supervisor) -> workers.Worker:
        starts.append(now.s)
        return workers.Worker(cast(Any, Dead()), SimpleNamespace(value=now.s), now.s)

    monkeypatch.setattr(workers.Supervisor, "_start", start)
    monkeypatch.setattr("permsite.workers.time.monotonic", lambda: now.s)
    with server.bind("127.0.0.1", 0, or_next=False) as bound:
        supervisor = workers.Supervisor(server.config(workers=1), bound)
        while now.s < 1400.0:
            supervisor._fill()
            supervisor._look()
            now.s += 0.5
    gaps = [round(second - first) for first, second in itertools.pairwise(starts)]
    assert gaps[1:7] == [1, 2, 4, 8, 16, 30]
    assert len(starts) < 22
    os.close(supervisor._woken)
    os.close(supervisor._wake)


def pids(supervisor: workers.Supervisor) -> set[int | None]:
    return {place.worker.process.pid for place in supervisor._places if place.worker is not None}


@contextlib.contextmanager
def supervised(application: Any, number: int = 1) -> Iterator[workers.Supervisor]:
    """Signals reach a supervisor in the main thread alone; here another thread tests, and this one is told the end."""
    with server.bind("127.0.0.1", 0, or_next=False) as bound:
        supervisor = workers.Supervisor(server.config(application, workers=number), bound)
        supervisor._listening = contextlib.nullcontext  # type: ignore[method-assign, assignment]
        before = signal.signal(signal.SIGHUP, lambda sig, _: supervisor._asked.append(sig))
        thread = threading.Thread(target=supervisor.run, name="supervisor")
        thread.start()
        try:
            yield supervisor
        finally:
            supervisor._asked.append(signal.SIGTERM)
            thread.join(timeout=60)
            signal.signal(signal.SIGHUP, before)
            os.close(supervisor._woken)
            os.close(supervisor._wake)


def ready(supervisor: workers.Supervisor) -> workers.Worker:
    until(lambda: (held := supervisor._places[0].worker) is not None and held.is_ready)
    worker = supervisor._places[0].worker
    assert worker is not None
    return worker


async def quiet(scope: Any, receive: Any, send: Any) -> None:
    while scope["type"] == "lifespan":
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return
    await send({"type": "http.response.start", "status": 204})
    await send({"type": "http.response.body"})


def test_the_server_speaks_http_with_its_fast_parts():
    settings = server.config(quiet)
    settings.load()
    assert settings.http_protocol_class is connection
    assert issubclass(Quick, HttpToolsProtocol)
    assert settings.get_loop_factory().__module__.startswith("uvloop")
    assert (settings.access_log, settings.proxy_headers) == (False, False)


def test_a_worker_that_does_not_end_when_told_is_killed(monkeypatch):
    monkeypatch.setattr(workers, "HUNG_S", 3.0)
    with supervised(quiet) as supervisor:
        first = ready(supervisor)
        os.kill(first.process.pid or 0, signal.SIGSTOP)
        signal.raise_signal(signal.SIGHUP)
        until(lambda: first.process.exitcode is not None)
