"""A raw ASGI client, and a decision point and callers that answer from a table: the application's ports, filled by tests."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from permissions.authzen.app import Application, create_application
from permissions.engine.reasons import GRANTED, NO_GRANT, InvalidRequestError, Unavailable
from permissions.engine.types import Asserted, Decision, Request
from permissions.errors import Conflict, Invalid, Problem
from permissions.lookup.paging import Page

T = TypeVar("T")

PUBLIC_URL = "https://pdp.example.org"
EVALUATION = "/access/v1/evaluation"
EVALUATIONS = "/access/v1/evaluations"
METADATA = "/.well-known/authzen-configuration"

ALICE = {"type": "user", "id": "alice"}
CHARLIE = {"type": "user", "id": "charlie"}
READ = {"name": "read"}
RECORD = {"type": "record", "id": "record-1"}
QUESTION: dict[str, Any] = {"subject": ALICE, "action": READ, "resource": RECORD}


@dataclass(frozen=True)
class Key:
    realm: str = "default"
    asserted: Asserted = "override"


class Callers:
    """`known` without I/O; `cold` only through `aresolve`."""

    def __init__(self) -> None:
        self.known: dict[str, Key] = {"Bearer good": Key()}
        self.cold: dict[str, Key] = {"Bearer cold": Key()}

    def warm(self, header: str) -> Key | None:
        return self.known.get(header)

    async def aresolve(self, header: str) -> Key | None:
        if header == "Bearer unavailable":
            raise Unavailable("the database does not answer", retry_after_s=2.2)
        return self.known.get(header) or self.cold.get(header)


@dataclass
class Explained:
    decision: Decision

    def to_dict(self) -> dict[str, Any]:
        reason = self.decision.reason
        return {"allowed": self.decision.allowed, "reason": reason, "path": [{"role": "reader"}], "obligations": []}


class Table:
    """Says yes to whoever is not charlie. `is_warm` false: nothing is warm; `is_plain`: every question that may be is plain."""

    def __init__(self, *, is_warm: bool = True, is_plain: bool = False) -> None:
        self.is_warm = is_warm
        self.is_plain = is_plain
        self.asked: list[Request] = []
        self.tokens: list[str | None] = []
        self.superusers: list[bool] = []
        self.obligations: tuple[dict[str, Any], ...] = ()
        self.found: list[str] = []
        self.fault: BaseException | None = None

    def _decide(self, request: Request) -> Decision:
        if self.fault is not None:
            raise self.fault
        self.asked.append(request)
        allowed = request.subject != "user:charlie"
        return Decision(allowed, GRANTED if allowed else NO_GRANT, 7, obligations=self.obligations)

    def plain_one(self, subject: str, permission: str, resource: str, realm: str) -> Decision | None:
        return self._decide(Request(subject, permission, resource)) if self.is_plain else None

    def plain_batch(
        self, subjects: Sequence[str], permissions: Sequence[str], resources: Sequence[str], realm: str, answers: tuple[T, T]
    ) -> list[T] | None:
        asked = zip(subjects, permissions, resources, strict=True)
        return [answers[self._decide(Request(*one)).allowed] for one in asked] if self.is_plain else None

    def warm(self, request: Request, realm: str, *, superuser: bool = False) -> Decision | None:
        self.superusers.append(superuser)
        return self._decide(request) if self.is_warm else None

    def warm_many(self, requests: Sequence[Request], realm: str, *, superuser: bool = False) -> list[Decision] | None:
        return [self._decide(request) for request in requests] if self.is_warm else None

    async def adecide(self, request: Request, *, realm: str, token: str | None = None, superuser: bool = False) -> Decision:
        self._take(token)
        return self._decide(request)

    async def adecide_many(
        self, requests: Sequence[Request], *, realm: str, token: str | None = None, superuser: bool = False
    ) -> list[Decision]:
        self._take(token)
        return [self._decide(request) for request in requests]

    async def aexplain_request(
        self, request: Request, *, realm: str, token: str | None = None, superuser: bool = False
    ) -> Explained:
        self._take(token)
        return Explained(self._decide(request))

    async def asearch_subjects(self, request: Request, kind: str, **options: Any) -> Page:
        return self._found(request, **options)

    async def asearch_resources(self, request: Request, kind: str, **options: Any) -> Page:
        return self._found(request, **options)

    async def asearch_actions(self, request: Request, **options: Any) -> Page:
        return self._found(request, **options)

    def _found(self, request: Request, *, limit: int | None, after: str | None, token: str | None = None, **_: Any) -> Page:
        """Of `self.found`, which must be in order."""
        self._take(token)
        self.asked.append(request)
        left = [name for name in self.found if after is None or name > after]
        page = left[: limit or None]
        return Page(page, page[-1] if len(page) < len(left) else None, 7)

    async def atoken_at(self, realm: str, revision: int) -> str:
        return f"v1.{realm}.{revision}"

    def _take(self, token: str | None) -> None:
        self.tokens.append(token)
        if token == "garbage":
            raise Invalid([Problem("X-Permission-Token", "is not a token that this server gave out")])
        if token == "future":
            raise Conflict("the token names a revision that this realm has not reached")
        if token == "foreign":
            raise InvalidRequestError("the token belongs to another realm")


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes
    header_names: list[str] = field(default_factory=list)

    @property
    def json(self) -> Any:
        return json.loads(self.body)


def application(pdp: Table | None = None, **options: Any) -> Application:
    return create_application(pdp or Table(), Callers(), PUBLIC_URL, **options)


def ask(
    app: Application,
    body: object = QUESTION,
    *,
    path: str = EVALUATION,
    method: str = "POST",
    headers: Iterable[tuple[str, str | bytes]] = (),
    authorization: str | None = "Bearer good",
    content_type: str | None = "application/json",
    chunks: Sequence[bytes] | None = None,
    leaves: bool = False,
) -> Answer:
    """One request. `body`: bytes as they are, anything else as JSON. `leaves`: the client goes before the body is whole."""
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    parts = [raw] if chunks is None else list(chunks)
    pairs: list[tuple[str, str | bytes]] = list(headers)
    if authorization is not None:
        pairs.append(("Authorization", authorization))
    if content_type is not None:
        pairs.append(("Content-Type", content_type))
    return asyncio.run(call(app, method, path, pairs, parts, leaves=leaves))


async def call(
    app: Callable[[Any, Any, Any], Awaitable[None]],
    method: str,
    path: str,
    pairs: Iterable[tuple[str, str | bytes]],
    parts: Sequence[bytes],
    *,
    leaves: bool = False,
) -> Answer:
    events: list[dict[str, Any]] = [
        {"type": "http.request", "body": part, "more_body": leaves or n + 1 < len(parts)} for n, part in enumerate(parts)
    ]
    if leaves:
        events.append({"type": "http.disconnect"})
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        return events.pop(0)

    async def send(event: Any) -> None:
        sent.append(event)

    scope = {
        "type": "http",
        "method": method,
        "path": path,
        "headers": [(n.lower().encode("latin-1"), v if isinstance(v, bytes) else v.encode("latin-1")) for n, v in pairs],
    }
    await app(scope, receive, send)
    if not sent:
        return Answer(0, {}, b"")
    names = [name.decode() for name, _ in sent[0]["headers"]]
    headers = {name.decode(): value.decode("latin-1") for name, value in sent[0]["headers"]}
    return Answer(sent[0]["status"], headers, b"".join(event["body"] for event in sent[1:]), names)
