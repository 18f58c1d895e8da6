"""The whole site under its real server, people with sessions, and sockets of theirs."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import pytest
from django.conf import settings as django_settings
from django.contrib.auth.models import User
from django.test import Client
from websockets.client import ClientProtocol
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.frames import Frame, Opcode
from websockets.sync.client import ClientConnection, connect
from websockets.uri import parse_uri

from controlplane.live import store as stores
from controlplane.live.heartbeat import HEARTBEAT
from controlplane.live.hub import HUB
from controlplane.live.memory import MemoryStore
from controlplane.sockets.room import ROOM
from permissions.models import Realm, RoleBinding
from permissions.services.bindings import binding_delete
from permissions.writing import SYSTEM
from tests.live import LiveServer
from tests.worlds import apply

SOON_S = 30

# charlie is known, may sign in, and may nothing.
WORLD = """
version: 1
realm: default
roles:
  - {name: watcher, permissions: ["permsite.control:view"]}
subjects:
  - {id: "user:charlie"}
bindings:
  - {subject: "user:alice", role: watcher}
  - {subject: "user:bob", role: watcher}
"""
ALL = {"type": "subscribe", "topics": ["frame", "events", "nodes"]}


def session_of(name: str) -> str:
    """A new session of theirs, as the login makes one."""
    account = User.objects.filter(username=name).first() or User.objects.create_user(name, password="x", is_staff=True)
    client = Client()
    client.force_login(account)
    return client.cookies[django_settings.SESSION_COOKIE_NAME].value


def revoke(name: str, realm: str = "default") -> None:
    realm_row = Realm.objects.get(name=realm)
    for binding in RoleBinding.objects.filter(realm=realm_row, subject__ref=f"user:{name}"):
        binding_delete(actor=SYSTEM, realm=realm_row, binding_id=binding.pk)


@dataclass
class Page:
    """One socket, from the side of its page."""

    connection: ClientConnection
    heard: list[dict[str, Any]] = field(default_factory=list)
    patience_s: float = 0.0

    def say(self, message: object) -> None:
        self.connection.send(message if isinstance(message, str | bytes) else json.dumps(message))

    def next(self) -> dict[str, Any]:
        message: dict[str, Any] = json.loads(self.connection.recv(timeout=self.patience_s or SOON_S))
        self.heard.append(message)
        return message

    def wait_for(self, kind: str) -> dict[str, Any]:
        while (message := self.next())["type"] != kind:
            pass
        return message

    def events(self, count: int) -> list[dict[str, Any]]:
        """So many, in however many messages."""
        found: list[dict[str, Any]] = []
        while len(found) < count:
            found += self.wait_for("events")["events"]
        return found

    def subscribe(self, **more: Any) -> dict[str, Any]:
        self.say({**ALL, **more})
        return self.wait_for("subscribed")

    def closed(self) -> tuple[int, str]:
        """What it is closed with; all that comes before is in `heard`."""
        try:
            while True:
                self.next()
        except ConnectionClosed as end:
            assert end.rcvd is not None, "it was cut off without a close"
            return end.rcvd.code, end.rcvd.reason


class Deaf:
    """A socket that reads only when it is told to, and whose system holds little for it."""

    def __init__(self, url: str, cookie: str, topics: list[str]) -> None:
        parts = urlsplit(url)
        self.socket = socket.socket()
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        self.socket.settimeout(SOON_S)
        self.socket.connect((parts.hostname, parts.port))
        self._protocol = ClientProtocol(parse_uri(url.replace("http", "ws", 1) + "/ws/control/"))
        request = self._protocol.connect()
        request.headers["Origin"], request.headers["Cookie"] = url, f"{django_settings.SESSION_COOKIE_NAME}={cookie}"
        self._protocol.send_request(request)
        self._flush()
        self.read_until(lambda message: message["type"] == "hello")
        self._protocol.send_text(json.dumps({"type": "subscribe", "topics": topics}).encode())
        self._flush()
        self.read_until(lambda message: message["type"] == "subscribed")

    def _flush(self) -> None:
        for data in self._protocol.data_to_send():
            if data:
                self.socket.sendall(data)

    def read_until(self, is_last: Callable[[dict[str, Any]], bool]) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        while not (found and is_last(found[-1])):
            data = self.socket.recv(65536)
            assert data, f"it was closed: {self.close_code}"
            self._protocol.receive_data(data)
            self._flush()
            for frame in self._protocol.events_received():
                if isinstance(frame, Frame) and frame.opcode is Opcode.TEXT:
                    found.append(json.loads(bytes(frame.data)))
        return found

    @property
    def close_code(self) -> int | None:
        return self._protocol.close_rcvd.code if self._protocol.close_rcvd else None

    def wait_for_its_end(self) -> None:
        """By close or by reset."""
        with suppress(ConnectionError):
            while data := self.socket.recv(65536):
                self._protocol.receive_data(data)


@dataclass
class Site:
    server: LiveServer
    store: MemoryStore
    _pages: ExitStack = field(default_factory=ExitStack)
    _frame: int = 0

    @property
    def url(self) -> str:
        return self.server.url

    def open(self, who: str = "", *, cookie: str = "", origin: str | None = "", path: str = "/ws/control/", **more: Any) -> Page:
        cookie = cookie or (session_of(who) if who else "")
        headers = {"Cookie": f"{django_settings.SESSION_COOKIE_NAME}={cookie}"} if cookie else {}
        opened = connect(
            self.url.replace("http", "ws", 1) + path,
            origin=self.url if origin == "" else origin,  # type: ignore[arg-type]
            additional_headers=headers,
            open_timeout=SOON_S,
            close_timeout=1,
            **more,
        )
        return Page(self._pages.enter_context(opened))

    def watching(self, who: str, **more: Any) -> Page:
        page = self.open(who)
        assert page.next()["type"] == "hello"
        page.subscribe(**more)
        return page

    def refused(self, who: str = "", **more: Any) -> int:
        """The status a handshake is answered with."""
        with pytest.raises(InvalidStatus) as refused:
            self.open(who, **more)
        return refused.value.response.status_code

    def happen(self, *names: str, **more: Any) -> list[str]:
        """Events, as a process flushes them."""
        ids = self.store.append([event(name, **more) for name in names])
        self.store.publish("events", b"")
        return ids

    def frame(self, **more: Any) -> None:
        self._frame += 1
        self.store.publish("frame", json.dumps({"v": 1, "seq": self._frame, "leader": "one", "fence": 1, **more}).encode())

    def deaf(self, who: str, topics: list[str]) -> Deaf:
        found = Deaf(self.url, session_of(who), topics)
        self._pages.callback(found.socket.close)
        return found

    def close(self) -> None:
        self._pages.close()


def event(name: str, **more: Any) -> dict[str, Any]:
    given = {"name": name, "at": time.time(), "severity": "info", "kind": "event", "realm": None, "actor": None}
    return {**given, "subject": None, "permission": None, "decision": None, "data": {}, **more}


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Iterator[MemoryStore]:
    # What this process does is no event here: tests say what happens.
    monkeypatch.setattr(HEARTBEAT, "start", lambda kind: None)
    monkeypatch.setattr(HEARTBEAT, "stop", lambda: None)
    HUB.after_fork()  # it remembers nothing of another test
    found = MemoryStore()
    found.append([event("storage.up")])  # what a site has behind it
    stores.use(found)
    yield found
    stores.reset()


@pytest.fixture
def site(transactional_db: None, store: MemoryStore, live_server_asgi: LiveServer) -> Iterator[Site]:
    apply(WORLD)
    assert soon(HUB.events), "the hub has looked at the stream"
    found = Site(live_server_asgi, store)
    yield found
    found.close()
    assert soon(lambda: ROOM.count() == 0), "a place is given back however a socket ends"


def soon(what: Callable[[], object]) -> bool:
    """Whether it becomes true."""
    until = time.monotonic() + SOON_S
    while not what() and time.monotonic() < until:
        time.sleep(0.01)
    return bool(what())
