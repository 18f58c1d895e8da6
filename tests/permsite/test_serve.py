"""`manage.py serve`: refuses to start half configured, serves with several workers, stops gracefully."""

from __future__ import annotations

import re
import signal
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from permsite import server
from tests.permsite.commands import ROOT, run

KEY = {"SECRET_KEY": "s3cret-" * 10}


@pytest.fixture(scope="module")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("serve")
    env = {"PATH": "/usr/bin:/bin", "PERMSITE_VAR": str(folder), **KEY}
    subprocess.run([sys.executable, "manage.py", "migrate", "-v0"], cwd=ROOT, env=env, check=True)
    return folder


@pytest.mark.parametrize("workers", [1, 2])
def test_it_serves_and_stops_gracefully(migrated, workers):
    with run("serve", "--port", "0", "--workers", str(workers), folder=migrated, **KEY) as serve:
        address = serve.wait_for(r"on (http://127\.0\.0\.1:\d+) with")[1]
        with urllib.request.urlopen(f"{address}/readyz", timeout=30) as answer:
            assert answer.status == 200
        document = urllib.request.urlopen(f"{address}/.well-known/authzen-configuration", timeout=20)
        with document:
            assert f'"policy_decision_point":"{address}"' in document.read().decode()
        serve.end(signal.SIGTERM)
        assert not any("Traceback" in line for line in serve.printed), serve.printed


def test_a_request_that_waited_for_a_file_on_its_connection_is_answered_too(migrated):
    with run("serve", "--port", "0", folder=migrated, **KEY) as serve:
        port = int(serve.wait_for(r"on http://127\.0\.0\.1:(\d+) with")[1])
        first = f"GET /static/none.js HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n"
        second = f"GET /readyz HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n\r\n"
        with socket.create_connection(("127.0.0.1", port), timeout=20) as client:
            client.sendall((first + second).encode())
            answers = b"".join(iter(lambda: client.recv(65536), b""))
        assert re.findall(rb"HTTP/1\.1 (\d+)", answers) == [b"404", b"200"]


def test_it_needs_a_secret_key(migrated):
    with run("serve", "--port", "0", folder=migrated) as serve:
        serve.wait_for("CommandError: SECRET_KEY is not set: set SECRET_KEY or SECRET_KEY_FILE")
        assert serve.process.wait(timeout=20) == 1


def test_it_refuses_a_database_that_is_behind(tmp_path):
    with run("serve", "--port", "0", folder=tmp_path, **KEY) as serve:
        serve.wait_for(r"CommandError: the database lacks \d+ migrations: run manage.py migrate")


def test_it_refuses_a_taken_port(migrated):
    with server.bind("127.0.0.1", 0, or_next=False) as taken:
        port = taken.getsockname()[1]
        with run("serve", "--port", str(port), folder=migrated, **KEY) as serve:
            serve.wait_for(re.escape(f"CommandError: cannot listen on 127.0.0.1, port {port}"))


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("--workers", "0", "--workers is 0; it takes 1 to 64"),
        ("--port", "70000", "--port is 70000; it takes a number up to 65535"),
    ],
)
def test_it_refuses_numbers_that_make_no_sense(migrated, option, value, message):
    with run("serve", option, value, folder=migrated, **KEY) as serve:
        serve.wait_for(re.escape(message))


def test_a_database_that_is_away_does_not_keep_it_from_starting(tmp_path):
    urls = {"DATABASE_URL": f"postgresql://p@127.0.0.1:{unused_port()}/p"}
    with run("serve", "--port", "0", folder=tmp_path, **KEY, **urls) as serve:
        serve.wait_for(r"The database does not answer yet \(OperationalError\)")
        serve.wait_for(r"on (http://127\.0\.0\.1:\d+) with")


def unused_port() -> int:
    with server.bind("127.0.0.1", 0, or_next=False) as bound:
        return int(bound.getsockname()[1])


def test_a_signal_that_came_too_early_is_not_lost():
    """As when Python drops the exception because it was raised inside a callback of the import system."""
    ending = server.Ending()
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    ending.listen()
    try:
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGTERM)
    finally:
        for number, handler in zip((signal.SIGINT, signal.SIGTERM), before, strict=True):
            signal.signal(number, handler)
    with server.bind("127.0.0.1", 0, or_next=False) as bound:
        server.run(bound, ending=ending, application=nothing)  # it returns, or the test's time runs out


async def nothing(scope, receive, send):
    while scope["type"] == "lifespan":
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return
