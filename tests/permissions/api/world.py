"""The cast at the API's door: alice administers, bob manages one server, charlie must be refused; and a key of each kind."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

import pytest
from django.contrib.auth.models import User
from django.test import Client

from permissions import pdp
from permissions.engine.keys import new_key
from permissions.identity import keys
from permissions.models import ApiKey, Realm, Subject
from permissions.writing import SYSTEM, permission_write
from tests.worlds import apply

WORLD = """
version: 1
realm: default
permissions:
  - {code: "post:read", title: "Read posts", menu: "content/posts"}
  - {code: "post:edit", requires: ["post:read"], menu: "content/posts"}
  - {code: "post:purge", menu: "content/danger"}
groups:
  - {name: content, permissions: ["post:read", "post:edit"]}
roles:
  - {name: administrator, permissions: ["*", "permsite.*:*"]}
  - {name: reader, permissions: ["post:read"]}
  - {name: editor, inherits: [reader], permissions: ["post:edit"]}
  - {name: caretaker, permissions: ["post:read", "permsite.binding:*", "permsite.resource:*", "permsite.decision:ask"]}
teams:
  - {id: "team:care", members: ["user:bob"]}
resources:
  - {id: "server:7"}
  - {id: "channel:9", parent: "server:7"}
  - {id: "server:8"}
bindings:
  - {subject: "user:alice", role: administrator}
  - {subject: "team:care", role: caretaker, scope: "server:7"}
  - {subject: "user:zed", role: reader, scope: "server:8"}
"""


@dataclass
class Answer:
    status: int
    headers: Any
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def problem(self) -> Any:
        """The answer as a problem document, held to its form."""
        assert self.headers["Content-Type"] == "application/problem+json", self.body[:300]
        document = self.json
        assert set(document) <= {"type", "title", "status", "detail", "errors"}
        assert document["status"] == self.status
        assert document["type"].startswith("/problems/")
        assert document["title"] and document["detail"]
        return document

    @property
    def code(self) -> str:
        code: str = self.problem["type"].removeprefix("/problems/")
        return code

    def places(self) -> dict[str, str]:
        return {error["where"]: error["message"] for error in self.problem["errors"]}


@dataclass
class Api:
    """One caller. `send` speaks JSON unless told otherwise; paths stand below /api/v1/."""

    client: Client = field(default_factory=lambda: Client(raise_request_exception=False))
    headers: dict[str, str] = field(default_factory=dict)

    def send(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        raw: Any = None,
        kind: str = "application/json",
        **headers: str,
    ) -> Answer:
        url = path if path.startswith(("/", "http")) else f"/api/v1/{path}"
        data = raw if raw is not None else (b"" if body is None else json.dumps(body).encode())
        sent = {**self.headers, **{name.replace("_", "-"): value for name, value in headers.items()}}
        found = self.client.generic(method, url, data, content_type=kind if data else "", headers=sent)
        assert found.status_code != 500, f"{method} {url} {data[:300]!r} -> 500"
        return Answer(found.status_code, found.headers, found.content)

    def get(self, path: str, **headers: str) -> Answer:
        return self.send("GET", path, **headers)

    def post(self, path: str, body: Any, **headers: str) -> Answer:
        return self.send("POST", path, body, **headers)

    def put(self, path: str, body: Any, **headers: str) -> Answer:
        return self.send("PUT", path, body, **headers)

    def patch(self, path: str, body: Any, **headers: str) -> Answer:
        return self.send("PATCH", path, body, **headers)

    def delete(self, path: str, **headers: str) -> Answer:
        return self.send("DELETE", path, **headers)

    def all(self, path: str) -> list[Any]:
        """Every row of a list, page after page."""
        rows: list[Any] = []
        following: str | None = path
        while following:
            page = self.get(following).json
            rows += page["results"]
            following = page["next"]
        return rows


def item(section: str, name: object) -> str:
    return f"{section}/{quote(str(name), safe='')}/"


def make_key(name: str, *, realm: str = "default", subject: str | None = None, **options: Any) -> str:
    made = new_key()
    with permission_write(realm, SYSTEM) as write:
        holder = None if subject is None else Subject.objects.get(realm=write.realm, ref=subject)
        ApiKey.objects.create(realm=write.realm, name=name, prefix=made.prefix, digest=made.digest, subject=holder, **options)
    return made.plain


def with_key(plain: str) -> Api:
    return Api(headers={"Authorization": f"Bearer {plain}"})


def person(name: str, *, csrf: bool = False) -> Api:
    client = Client(raise_request_exception=False, enforce_csrf_checks=csrf)
    client.force_login(User.objects.get(username=name))
    return Api(client)


@dataclass
class Cast:
    alice: Api
    bob: Api
    charlie: Api
    root: Api
    nobody: Api
    plain_key: Api
    admin_key: Api
    bobs_key: Api


def build() -> Cast:
    pdp.reset()
    keys.reset()
    if not Realm.objects.filter(name="default").exists():
        Realm.objects.create(name="default")
    for name in ("alice", "bob", "charlie"):
        User.objects.create_user(name)
    User.objects.create_superuser("root")
    apply(WORLD)
    return Cast(
        alice=person("alice"),
        bob=person("bob"),
        charlie=person("charlie"),
        root=person("root"),
        nobody=Api(),
        plain_key=with_key(make_key("plain")),
        admin_key=with_key(make_key("admin", is_admin=True)),
        bobs_key=with_key(make_key("bobs", subject="user:bob")),
    )


def refused(answer: Answer, status: int, code: str) -> None:
    assert (answer.status, answer.code) == (status, code), answer.body


__all__ = ["Answer", "Api", "Cast", "build", "item", "make_key", "person", "pytest", "refused", "with_key"]
