"""Callers over HTTP: keys of each kind and people, at /api/v1 through Django, at /access/v1 through the ASGI application."""

from __future__ import annotations

import asyncio
import io
import json
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from django.contrib.auth.models import User
from django.core.management import call_command
from django.test import Client

from permissions import pdp
from permissions.identity import keys
from permsite.asgi import build
from tests.permissions.authzen.wire import Answer, call
from tests.worlds import apply

TOKEN = "X-Permission-Token"


def key(name: str, *options: str) -> Api:
    out = io.StringIO()
    call_command("api_key", "create", name, *options, stdout=out)
    return Api({"Authorization": f"Bearer {out.getvalue().strip()}"})


def person(name: str) -> Api:
    client = Client(raise_request_exception=False)
    client.force_login(User.objects.get(username=name))
    return Api({}, client)


def reset(bundle: str) -> None:
    pdp.reset()
    keys.reset()
    apply(bundle)


def path_of(section: str, name: object) -> str:
    return f"{section}/{quote(str(name), safe='/:')}/"


@dataclass
class Api:
    headers: dict[str, str]
    client: Client = field(default_factory=lambda: Client(raise_request_exception=False))

    def __call__(self, method: str, path: str, body: Any = None, **headers: str) -> Any:
        sent = {**self.headers, **{name.replace("_", "-"): value for name, value in headers.items()}}
        data = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
        kind = "application/json" if data else ""
        answer = self.client.generic(method, f"/api/v1/{path}", data, content_type=kind, headers=sent)
        if answer.status_code >= 400:
            assert answer["Content-Type"].startswith("application/problem+json"), answer.content
            problem = json.loads(answer.content)
            assert problem["status"] == answer.status_code
            assert problem["type"]
            assert problem["title"]
        return answer

    def refused(self, status: int, kind: str, method: str, path: str, body: Any = None, **headers: str) -> dict[str, Any]:
        answer = self(method, path, body, **headers)
        assert answer.status_code == status, (method, path, body, answer.status_code, answer.content)
        problem: dict[str, Any] = json.loads(answer.content)
        assert problem["type"].rsplit("/", 1)[-1].rsplit(":", 1)[-1] == kind, problem
        return problem

    def done(self, status: int, method: str, path: str, body: Any = None, **headers: str) -> Any:
        answer = self(method, path, body, **headers)
        assert answer.status_code == status, (method, path, body, answer.status_code, answer.content)
        return json.loads(answer.content) if answer.content else None

    def check(self, subject: str, permission: str, resource: str | None = None, **more: Any) -> str:
        body = {"subject": subject, "permission": permission, **({"resource": resource} if resource else {}), **more}
        reason: str = self.done(200, "POST", "check", body)["reason"]
        return reason

    def wire(self, body: Any, path: str = "/access/v1/evaluation", method: str = "POST", **headers: str) -> Answer:
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        pairs = [("Content-Type", "application/json"), *self.headers.items()]
        pairs += [(name.replace("_", "-"), value) for name, value in headers.items()]
        return asyncio.run(call(build(), method, path, pairs, [raw]))
