"""A worker that stops says goodbye, closes with 1012, and is gone within its time; what it serves beside sockets is untouched."""

from __future__ import annotations

import asyncio
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from uvicorn.protocols.utils import ClientDisconnected
from websockets.sync.client import connect
from websockets.typing import Origin

from controlplane.sockets.room import ROOM
from permsite.launcher import Launcher
from permsite.server import GRACE_S
from tests.controlplane.sockets.conftest import Page, soon
from tests.permsite.commands import ROOT, run

pytestmark = pytest.mark.django_db(transaction=True)

UPGRADE = (
    "GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\nOrigin: {url}\r\n\r\n"
)
KEY = "dGhlIHNhbXBsZSBub25jZQ=="


def test_a_stop_says_when_to_come_back_and_closes_with_1012(site):
    pages = [site.watching("alice"), site.watching("bob")]
    site.server._server.should_exit = True
    for page in pages:
        assert page.closed()[0] == 1012
        bye = page.heard[-1]
        assert bye["type"] == "bye" and 0.5 <= bye["retry_after"] <= 5.0
    assert soon(lambda: ROOM.count() == 0)


def test_what_was_about_to_be_written_as_the_server_ended_is_no_mistake_of_the_application(site):
    page = site.watching("alice")
    peer: Any = next(iter(ROOM._peers.values()))[0]
    wire = peer.base_send.__self__

    async def end_and_write() -> None:
        wire.shutdown()
        await wire.send({"type": "websocket.send", "text": "{}"})

    with pytest.raises(ClientDisconnected):
        asyncio.run_coroutine_threadsafe(end_and_write(), peer.loop).result(10)
    assert page.closed()[0] == 1012


def answer_of(url: str, request: str) -> bytes:
    parts = urlsplit(url)
    with socket.create_connection((parts.hostname, parts.port), timeout=20) as client:
        client.sendall(request.encode())
        return client.recv(65536)


def test_a_handshake_that_is_none_is_refused(site):
    host = site.url.removeprefix("http://")
    good = UPGRADE.format(path="/ws/control/", host=host, key=KEY, url=site.url)
    assert answer_of(site.url, good).startswith(b"HTTP/1.1 403 ")
    assert answer_of(site.url, good.replace(KEY, "x")).startswith(b"HTTP/1.1 400 ")
    assert answer_of(site.url, good.replace("-Version: 13", "-Version: 7")).startswith(b"HTTP/1.1 400 ")
    assert answer_of(site.url, good.replace("GET", "POST")).split(b" ")[1] in (b"400", b"405")
    # What is asked without an offer is no socket's.
    plain = f"GET /ws/control/ HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"
    assert answer_of(site.url, plain).startswith(b"HTTP/1.1 404 ")


def test_an_offer_behind_a_request_in_hand_is_answered_as_none(site):
    host = site.url.removeprefix("http://")
    slow = f"GET /admin/login/ HTTP/1.1\r\nHost: {host}\r\n\r\n"
    both = slow + UPGRADE.format(path="/ws/control/", host=host, key=KEY, url=site.url).replace("\r\n\r\n", "\r\n\r\n")
    parts = urlsplit(site.url)
    with socket.create_connection((parts.hostname, parts.port), timeout=20) as client:
        client.sendall(both.encode())
        said = b""
        while said.count(b"HTTP/1.1 ") < 2:
            data = client.recv(65536)
            assert data
            said += data
    assert said.startswith(b"HTTP/1.1 200 ") and b"HTTP/1.1 404 " in said


SECRET = {"SECRET_KEY": "s3cret-" * 10}
SETUP = """
import django, sys
django.setup()
from django.contrib.auth.models import User
from django.test import Client
account = User.objects.create_superuser("root", password="x")
client = Client()
client.force_login(account)
print("cookie", client.cookies["sessionid"].value)
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A site of its own on an SQLite file, without Redis; and a superuser's session."""
    found = tmp_path_factory.mktemp("serve")
    env = {"PATH": "/usr/bin:/bin", "PERMSITE_VAR": str(found), **SECRET}
    subprocess.run([sys.executable, "manage.py", "migrate", "-v0"], cwd=ROOT, env=env, check=True)
    env["DJANGO_SETTINGS_MODULE"] = "permsite.settings"
    made = subprocess.run([sys.executable, "-c", SETUP], cwd=ROOT, env=env, check=True, capture_output=True, text=True)
    return found, made.stdout.split()[-1]


def test_several_workers_without_redis_each_serve_sockets_and_stop_in_time(folder):
    place, cookie = folder
    with run("serve", "--port", "0", "--workers", "2", folder=place, **SECRET) as serve:
        url = serve.wait_for(r"on (http://127\.0\.0\.1:\d+) with")[1]
        with urllib.request.urlopen(f"{url}/readyz", timeout=30) as answer:
            assert answer.status == 200
        with ExitStack() as stack:
            pages = [opened(url, cookie, stack) for _ in range(4)]
            for page in pages:
                # From the loop beside the server, by rows: no two processes here share more than the database.
                page.wait_for("frame")
            began = time.monotonic()
            serve.process.send_signal(signal.SIGTERM)
            for page in pages:
                assert page.closed()[0] == 1012
                assert page.heard[-1]["type"] == "bye"
            serve.process.wait(timeout=20)
            # Its grace, and what a busy machine takes to start and end processes.
            assert time.monotonic() - began < GRACE_S + 15
        assert not any("Traceback" in line for line in serve.printed), serve.printed


def opened(url: str, cookie: str, stack: ExitStack) -> Page:
    page = Page(
        stack.enter_context(
            connect(
                url.replace("http", "ws", 1) + "/ws/control/",
                origin=Origin(url),
                additional_headers={"Cookie": f"sessionid={cookie}"},
                open_timeout=30,
                close_timeout=1,
            )
        ),
        patience_s=60,
    )
    assert page.next()["type"] == "hello"
    page.subscribe()
    return page


@pytest.mark.chaos
@pytest.mark.timeout(240)
def test_sockets_outlive_the_death_of_redis_and_hear_again_when_it_is_back(folder, tmp_path):
    place, cookie = folder
    with Launcher() as launcher, ExitStack() as stack:
        redis = launcher.redis(folder=tmp_path)
        serve = stack.enter_context(run("serve", "--port", "0", "--workers", "2", folder=place, REDIS_URL=redis.url, **SECRET))
        url = serve.wait_for(r"on (http://127\.0\.0\.1:\d+) with")[1]
        pages = [opened(url, cookie, stack) for _ in range(4)]
        for page in pages:
            page.wait_for("frame")
        redis.processes[0].kill()
        redis.processes[0].wait()
        for page in pages:
            # Still there, and answered; frames may stop for a while.
            page.say({"type": "ping"})
            page.wait_for("pong")
        assert launcher.redis(folder=tmp_path).url == redis.url
        for page in pages:
            page.say({"type": "ping"})
            page.wait_for("pong")
            last = page.wait_for("frame")["frame"]["seq"]
            for _ in range(3):
                assert page.wait_for("frame")["frame"]["seq"] > last
        # A page that opens now is served as before.
        opened(url, cookie, stack).wait_for("frame")
        assert not any("Traceback" in line for line in serve.printed), serve.printed
