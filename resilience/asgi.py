"""A rate limit in front of any ASGI application, HTTP and WebSocket, with the limiter's headers. Imports no framework."""

from __future__ import annotations

import inspect
import json
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any, Final

from resilience import registry
from resilience.errors import ExecutionRejected
from resilience.fallback import degraded, degraded_scope
from resilience.rate_limiter import headers
from resilience.rate_limiter.headers import Decision, Fields, Problem
from resilience.rate_limiter.limiter import RateLimiter

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]
Key = Callable[[Scope], "str | Awaitable[str | None] | None"]

Body = Callable[[Problem], tuple[bytes, str]]

MAX_ADDRESS: Final = 64  # characters; the longest IPv6 address with a zone has fewer
TRY_AGAIN_LATER: Final = 1013  # of a WebSocket (IANA registry of close codes)


class RateLimitMiddleware:
    """Limits each request and each new WebSocket of `app`.

    `rule`: a RateLimiter, or the name of one in the registry; `key(scope)`: whom to count for, None for nobody: such a request is
    not limited. It may be a coroutine function. `legacy`: also send X-RateLimit-*. `body(problem)`: what a refusal says, and its
    media type, where that is not problem+json.

    Refused: 429 as problem+json; a WebSocket gets the same where the server can send it (extension websocket.http.response), else
    it is closed with 1013. A rejection that leaves `app` before it has answered becomes 503 in the same way.
    """

    def __init__(
        self, app: Application, rule: str | RateLimiter, key: Key, *, legacy: bool = False, body: Body | None = None
    ) -> None:
        if not isinstance(rule, str | RateLimiter):
            raise ValueError(f"rule is {rule!r}; it takes a RateLimiter or the name of one")
        if not callable(key):
            raise ValueError(f"key is {key!r}; it takes a function of the scope")
        self._app = app
        self._rule = rule
        self._key = key
        self._legacy = legacy
        self._body = body or as_problem

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in {"http", "websocket"}:
            await self._app(scope, receive, send)
            return
        # One record a request: a name that an earlier request of this connection's task left behind is not this one's.
        with degraded_scope():
            await self._limited(scope, receive, send)

    async def _limited(self, scope: Scope, receive: Receive, send: Send) -> None:
        decisions = await self._decide(scope)
        if not all(decision.verdict.allowed for decision in decisions):
            # A WebSocket's server may only be told once the handshake has been read.
            if scope["type"] == "http" or (await receive())["type"] == "websocket.connect":
                await self._refuse(scope, send, headers.limited(decisions, legacy=self._legacy))
            return
        extra = headers.fields(decisions, legacy=self._legacy)
        is_answered = is_heard = False

        async def heard() -> Message:
            nonlocal is_heard
            is_heard = True
            return await receive()

        async def marked(message: Message) -> None:
            nonlocal is_answered
            if not is_answered:
                is_answered = True
                if message["type"] in _WITH_HEADERS:
                    more = _raw([*extra, *headers.degraded_field(degraded())])
                    message = {**message, "headers": [*message.get("headers", ()), *more]}
            await send(message)

        try:
            await self._app(scope, heard, marked)
        except ExecutionRejected as error:
            if is_answered:
                raise
            if scope["type"] == "http" or is_heard or (await receive())["type"] == "websocket.connect":
                problem = headers.rejected(error)
                await self._refuse(scope, send, problem._replace(fields=_merged(extra, problem.fields)))

    async def _decide(self, scope: Scope) -> list[Decision]:
        key = self._key(scope)
        if inspect.isawaitable(key):
            key = await key
        if key is None:
            return []
        limiter = registry.limiter(self._rule) if isinstance(self._rule, str) else self._rule
        return headers.decided(limiter, key, await limiter.aacquire(key))

    async def _refuse(self, scope: Scope, send: Send, problem: Problem) -> None:
        kind = "http.response"
        if scope["type"] == "websocket":
            if "websocket.http.response" not in (scope.get("extensions") or {}):
                await send({"type": "websocket.close", "code": TRY_AGAIN_LATER, "reason": "try again later"})
                return
            kind = "websocket.http.response"
        body, media_type = self._body(problem)
        fields = [("Content-Type", media_type), ("Content-Length", str(len(body))), ("Cache-Control", "no-store")]
        await send({"type": f"{kind}.start", "status": problem.status, "headers": _raw([*fields, *problem.fields])})
        await send({"type": f"{kind}.body", "body": body, "more_body": False})


_WITH_HEADERS: Final = frozenset({"http.response.start", "websocket.accept", "websocket.http.response.start"})


def as_problem(problem: Problem) -> tuple[bytes, str]:
    return json.dumps(problem.document).encode(), headers.MEDIA_TYPE


def client_address(scope: Scope, num_proxies: int) -> str:
    """Who calls: the connection's other end, or behind `num_proxies` of our own proxies the address the outermost of them saw.

    Empty when unknown (a unix socket). What stands further left in X-Forwarded-For was written by the client.
    """
    client = scope.get("client")
    if num_proxies > 0:
        hops = [
            hop.strip()
            for name, value in scope.get("headers", ())
            if name == b"x-forwarded-for"
            for hop in value.decode("latin-1").split(",")
        ]
        if hops:
            return str(hops[-min(num_proxies, len(hops))])[:MAX_ADDRESS]
    return str(client[0])[:MAX_ADDRESS] if client else ""


def _merged(fields: Fields, over: Fields) -> Fields:
    names = {name.lower() for name, _ in over}
    return [*((name, value) for name, value in fields if name.lower() not in names), *over]


def _raw(fields: Iterable[tuple[str, str]]) -> list[tuple[bytes, bytes]]:
    return [(name.lower().encode("ascii"), value.encode("ascii")) for name, value in fields]
