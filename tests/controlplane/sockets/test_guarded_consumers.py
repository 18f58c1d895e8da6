"""The mixin in front of somebody's own consumers: of any kind, under the real server."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from typing import Any

import pytest
import uvicorn
from channels.generic.websocket import AsyncJsonWebsocketConsumer, WebsocketConsumer
from django.contrib.sessions.models import Session
from django.db import connections

from controlplane.sockets.guarded import GuardedConsumerMixin
from controlplane.sockets.room import ROOM
from permissions import pdp
from permsite import server
from resilience import config, maintenance
from tests.controlplane.sockets.conftest import Site, revoke, session_of, soon
from tests.live import LiveServer
from tests.worlds import apply

pytestmark = pytest.mark.django_db(transaction=True)

WORLD = """
version: 1
realm: default
permissions: [{code: "channel:read"}, {code: "channel:late"}]
resources: [{id: "channel:9"}, {id: "channel:8"}]
roles: [{name: reader, permissions: ["channel:read"]}]
subjects: [{id: "user:charlie"}]
bindings: [{subject: "user:alice", role: reader, scope: "channel:9"}, {subject: "user:bob", role: reader}]
"""
SEEN: list[str] = []


class Chat(GuardedConsumerMixin, AsyncJsonWebsocketConsumer):  # type: ignore[misc]  # channels has no types
    """A sample: it says back what it hears."""

    permission = "channel:read"

    def guarded_resource(self) -> str | None:
        return "channel:" + self.scope["path"].rpartition("/")[2]

    async def connect(self) -> None:
        SEEN.append("connect")
        await self.accept()

    async def receive_json(self, content: Any, **more: Any) -> None:
        await self.send_json({"type": "said", "said": content})

    async def disconnect(self, code: int) -> None:
        SEEN.append(f"disconnect {code}")


class Old(GuardedConsumerMixin, WebsocketConsumer):  # type: ignore[misc]  # the same
    """The same in threads."""

    permission = "channel:read"
    resource = "channel:9"
    ask_again_s = 0.5

    def connect(self) -> None:
        SEEN.append("connect")
        self.accept()

    def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        self.send(text_data=text_data)

    def disconnect(self, code: int) -> None:
        SEEN.append(f"disconnect {code}")


class Nameless(GuardedConsumerMixin, AsyncJsonWebsocketConsumer):  # type: ignore[misc]  # the same
    """Its author forgot the permission."""

    async def connect(self) -> None:
        SEEN.append("connect")
        await self.accept()


class Unsure(Old):
    """Waits but a moment for decisions."""

    max_unknown_s = 0.6


APPS: dict[str, Any] = {"chat": Chat.as_asgi(), "old": Old.as_asgi(), "none": Nameless.as_asgi(), "unsure": Unsure.as_asgi()}


async def application(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "lifespan":
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.complete"})
    else:
        await APPS[scope["path"].split("/")[1]](scope, receive, send)


@pytest.fixture
def chat(transactional_db: None, store: Any, settings: Any) -> Iterator[Site]:
    apply(WORLD)
    SEEN.clear()
    bound = server.bind("127.0.0.1", 0, or_next=False)
    running = uvicorn.Server(server.config(application))

    def serve() -> None:
        try:
            running.run(sockets=[bound])
        finally:
            connections.close_all()

    thread = threading.Thread(target=serve)
    thread.start()
    assert soon(lambda: running.started)
    found = Site(LiveServer(server.address_of(bound), running, thread), store)
    yield found
    found.close()
    assert soon(lambda: ROOM.count() == 0)
    found.server.stop()
    bound.close()
    ROOM.close()
    config.LIVE.reset()


@pytest.mark.parametrize("path", ["/chat/9", "/old/9"])
def test_it_opens_for_the_permission_and_works_as_it_did(chat, path):
    page = chat.open("alice", path=path)
    page.say({"type": "x"})
    assert page.next() in ({"type": "said", "said": {"type": "x"}}, {"type": "x"})
    page.connection.close()
    assert soon(lambda: SEEN == ["connect", "disconnect 1000"])


def test_it_is_refused_before_the_consumer_knows(chat):
    assert chat.refused("alice", path="/chat/8") == 403
    assert chat.refused("charlie", path="/chat/9") == 403
    assert chat.refused(path="/chat/9") == 403
    assert chat.refused("alice", path="/chat/9", origin="http://elsewhere.example") == 403
    assert chat.refused("alice", path="/chat/%20no%20resource") == 403
    assert chat.refused("bob", path="/none/9") == 503  # a guard without a permission gives no decision
    assert SEEN == []


def test_without_a_decision_it_is_refused_for_now(chat, monkeypatch):
    def away(*_args: Any, **_more: Any) -> Any:
        raise pdp.Unavailable("away")

    monkeypatch.setattr(pdp, "decide", away)
    assert chat.refused("alice", path="/chat/9") == 503
    assert SEEN == []


@pytest.mark.parametrize("path", ["/chat/9", "/old/9"])
def test_a_revoke_closes_it_at_once_and_the_consumer_ends_as_always(chat, path):
    page, other = chat.open("alice", path=path), chat.open("bob", path=path)
    page.say({"type": "x"})
    page.next()
    revoke("alice")
    assert page.closed() == (4403, "permission denied")
    assert soon(lambda: SEEN[2:] == ["disconnect 4403"])
    other.say({"type": "x"})
    other.next()


def test_without_news_it_is_closed_within_its_time(chat, monkeypatch):
    page = chat.open("alice", path="/old/9")
    assert soon(lambda: SEEN == ["connect"])
    monkeypatch.setattr("permissions.cache.events.telemetry.emit", lambda *_args, **_more: None)
    revoke("alice")
    assert page.closed()[0] == 4403


def test_it_fails_closed_when_no_decision_can_be_given_for_longer_than_its_bound(chat, monkeypatch):
    page = chat.open("alice", path="/unsure/9")
    assert soon(lambda: SEEN == ["connect"])

    def away(*_args: Any, **_more: Any) -> Any:
        raise pdp.Unavailable("away")

    monkeypatch.setattr(pdp, "decide", away)
    assert page.closed() == (1011, "no decision can be given")


def test_a_session_that_ends_closes_it(chat):
    page = chat.open(cookie=session_of("alice"), path="/chat/9")
    assert soon(lambda: SEEN == ["connect"])
    Session.objects.all().delete()
    ROOM.rights_changed(None, None)
    assert page.closed()[0] == 4401


def test_an_obligation_makes_a_yes_a_no(chat):
    apply(
        """
        version: 1
        realm: default
        roles: [{name: late, permissions: ["channel:late"], obligations: [{id: call_home, type: mfa}]}]
        bindings: [{subject: "user:charlie", role: late}]
        """
    )
    assert pdp.check("user:charlie", "channel:late")
    Chat.permission = "channel:late"
    try:
        assert chat.refused("charlie", path="/chat/9") == 403
    finally:
        Chat.permission = "channel:read"


def test_maintenance_closes_it_with_1013(chat):
    page = chat.open("alice", path="/chat/9")
    assert soon(lambda: SEEN == ["connect"])
    maintenance.enable("new disks", mode="full")
    assert page.closed()[0] == 1013
    maintenance.disable()


def test_a_stop_closes_it_with_1012(chat):
    page = chat.open("alice", path="/chat/9")
    assert soon(lambda: SEEN == ["connect"])
    chat.server._server.should_exit = True
    assert page.closed()[0] == 1012
    assert soon(lambda: SEEN == ["connect", "disconnect 1012"])


def test_it_is_for_sockets_alone():
    with pytest.raises(ValueError, match="Chat is for sockets, not for http"):
        asyncio.run(Chat.as_asgi()({"type": "http"}, None, None))
