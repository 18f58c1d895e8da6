"""The walk of one check over HTTP, step by step: which modules a warm one enters, and that it does no I/O."""

from __future__ import annotations

import asyncio
import json
import sys
from types import FrameType
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from permissions import pdp
from permissions.models import Realm, RoleBinding
from permissions.services.keys import key_create
from permissions.writing import SYSTEM, permission_write
from permsite.asgi import build
from tests.aging import never_age
from tests.worlds import OFFICE, apply

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.both_databases]

BODY = {"subject": {"type": "user", "id": "alice"}, "action": {"name": "edit"}, "resource": {"type": "post", "id": "7"}}


@pytest.fixture
def key() -> str:
    pdp.reset()
    apply(OFFICE)
    _, plain = key_create(actor=SYSTEM, realm=Realm.objects.get(name="default"), name="walk")
    return plain


async def ask(site: Any, key: str, *headers: tuple[bytes, bytes]) -> tuple[int, dict[str, Any], dict[bytes, bytes]]:
    sent: list[dict[str, Any]] = []
    body = json.dumps(BODY).encode()

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "method": "POST",
        "path": "/access/v1/evaluation",
        "raw_path": b"/access/v1/evaluation",
        "query_string": b"",
        "headers": [(b"content-type", b"application/json"), (b"authorization", f"Bearer {key}".encode()), *headers],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 80),
        "scheme": "http",
        "http_version": "1.1",
    }
    await site(scope, receive, send)
    return sent[0]["status"], json.loads(sent[1]["body"]), dict(sent[0]["headers"])


def entered(names: set[str]) -> Any:
    def note(frame: FrameType, event: str, _: object) -> None:
        name = frame.f_globals.get("__name__", "")
        if event == "call" and name.startswith(("permissions.", "permsite.", "resilience.", "django.db.backends")):
            names.add(name)

    return note


def test_a_warm_check_enters_few_modules_and_does_no_io(key: str) -> None:
    modules: set[str] = set()

    async def walk() -> tuple[int, dict[str, Any], dict[bytes, bytes]]:
        site = build()
        await ask(site, key)
        await ask(site, key)
        never_age()
        sys.setprofile(entered(modules))
        try:
            return await ask(site, key)
        finally:
            sys.setprofile(None)

    before = pdp.stats()["l1"]
    status, body, _ = asyncio.run(walk())
    assert (status, body) == (200, {"decision": True})
    assert pdp.stats()["l1"] > before
    deciding = {m for m in modules if m.startswith("permissions.") and not m.startswith("permissions.authzen")}
    assert "permissions.selectors" not in modules
    assert deciding <= {
        "permissions.pdp",
        "permissions.warm",
        "permissions.cache.reader",
        "permissions.cache.reading",
        "permissions.cache.memory",
        "permissions.cache.realm",
        "permissions.cache.l1",
        "permissions.engine.questions",
        "permissions.engine.evaluate",
        "permissions.engine.walk",
        "permissions.engine.names",
        "permissions.engine.scopes",
        "permissions.engine.table",
        "permissions.engine.types",
        "permissions.engine.keys",
        "permissions.identity.keys",
        "permissions.revisions",  # the key of a head it holds already; asking for a head would enter the selectors' connection
    }
    assert not any(m.startswith("django.db") for m in modules)


def test_a_warm_check_from_python_makes_no_query(key: str) -> None:
    assert pdp.check("user:alice", "post:edit", "post:7")
    never_age()
    with CaptureQueriesContext(connection) as queries:
        assert pdp.check("user:alice", "post:edit", "post:7").source == "l1"
    assert len(queries) == 0


def test_a_revoke_reaches_the_wire_at_once_and_its_token_is_answered(key: str) -> None:
    async def twice() -> tuple[dict[str, Any], dict[str, Any], dict[bytes, bytes]]:
        site = build()
        _, first, _ = await ask(site, key)
        token = await asyncio.to_thread(revoke)
        _, second, headers = await ask(site, key, (b"x-permission-token", token.encode()))
        return first, second, headers

    def revoke() -> str:
        with permission_write("default", SYSTEM) as write:
            RoleBinding.objects.filter(subject__ref="user:alice").delete()
        connection.close()
        return write.token

    first, second, headers = asyncio.run(twice())
    assert (first, second) == ({"decision": True}, {"decision": False})
    assert headers[b"x-permission-token"].startswith(b"v1.")
