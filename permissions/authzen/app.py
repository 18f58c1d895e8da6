"""AuthZEN as one raw ASGI application: route, caller, body, decision, answer.

It stands before Django, since a Django view costs more than the whole decision. `permsite.asgi` builds it with
`create_application` and gives it the paths in `Application.paths`; every other path is Django's.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from permissions.authzen import batch, http, messages, metadata, plain, search
from permissions.authzen.http import Disconnected, Header, HttpError, Receive, Scope, Send
from permissions.authzen.messages import Json
from permissions.authzen.ports import Call, Caller, Callers, DecisionPoint, Endpoint, Signer
from permissions.engine.reasons import InvalidRequestError, Unavailable
from permissions.engine.types import Request
from permissions.errors import Refused
from resilience import trace

log = logging.getLogger("permissions.authzen")

MAX_BODY: Final = 1_048_576  # interfaces, wire limits: 1 MiB


# The answer to a body that is a plain question of a realm; None for every other body.
Plainly = Callable[[bytes, str, DecisionPoint], "bytes | None"]
# Endpoints of modules of their own, by path; the metadata document tells of exactly what stands here and in `Application`.
FURTHER: Final[Mapping[str, Endpoint]] = {
    metadata.SEARCH_SUBJECT: search.subject,
    metadata.SEARCH_RESOURCE: search.resource,
    metadata.SEARCH_ACTION: search.action,
}


class Application:
    """`paths`: what it answers, exactly; it holds no state of a request, so one serves all."""

    def __init__(
        self, pdp: DecisionPoint, callers: Callers, public_url: str, *, superuser: bool, max_body: int, signer: Signer | None
    ) -> None:
        self._pdp = pdp
        self._callers = callers
        self._superuser = superuser
        self._max_body = max_body
        self._digits = len(str(max_body))
        self._endpoints: dict[str, Endpoint] = {
            metadata.EVALUATION: self._evaluation,
            metadata.EVALUATIONS: self._evaluations,
            **FURTHER,
        }
        # A superuser's yes comes before all else, which a plain question knows nothing of.
        self._plain: dict[str, Plainly] = (
            {} if superuser else {metadata.EVALUATION: plain.evaluation, metadata.EVALUATIONS: plain.evaluations}
        )
        self._documents = metadata.documents(public_url, self._endpoints.keys(), signer)
        self.paths: Final = frozenset(self._documents.keys() | self._endpoints.keys())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            raise ValueError(f"the AuthZEN application speaks http, not {scope['type']}")
        pairs: list[Header] = scope["headers"]
        headers = dict(pairs)
        echo = http.echo_of(headers) if b"x-request-id" in headers else ()
        more: Sequence[Header] = ()
        message = body = None
        try:
            if len(headers) != len(pairs):
                http.refuse_doubles(pairs)
            plainly = self._plain.get(scope["path"])
            if plainly is not None and headers.get(b"content-type") == http.JSON_TYPE and scope["method"] == "POST":
                caller = self._callers.warm(headers.get(b"authorization", b"").decode("latin-1"))
                # A number with fewer digits than the limit is below it.
                is_short = len(headers.get(b"content-length", b"")) < self._digits
                if caller is not None and is_short and b"x-permission-token" not in headers:
                    event = await receive()
                    message = event.get("body")
                    if not message or event.get("more_body") or len(message) > self._max_body:
                        message = await http.rest_of_body(event, receive, self._max_body)
                    body = plainly(message, caller.realm, self._pdp)
            if body is None:
                body, more = await self._respond(scope, headers, receive, message)
        except Disconnected:
            return
        except asyncio.CancelledError:
            # The server ends, and has waited for this request as long as it does: no fault, and somebody else may answer.
            again = ((b"retry-after", b"1"), *echo)
            await http.answer(send, 503, http.error_body("the server is ending"), again)
            raise
        except Exception as error:  # noqa: BLE001 - the outermost handler: the client gets an answer, the log the fault
            status, said, more = _refusal(error, scope)
        else:
            length = (b"content-length", b"%d" % len(body))
            await send({"type": "http.response.start", "status": 200, "headers": [http.JSON, length, *more, *echo]})
            await send({"type": "http.response.body", "body": body if scope["method"] != "HEAD" else b""})
            return
        await http.answer(send, status, http.error_body(said), (*more, *echo), with_body=scope["method"] != "HEAD")

    @property
    def plain_paths(self) -> frozenset[str]:
        """Where `plainly` may have an answer."""
        return frozenset(self._plain)

    def plainly(self, path: str, pairs: Sequence[Header], message: bytes) -> tuple[Sequence[Header], bytes] | None:
        """Further headers and the body of the answer to a POST, if that is a plain question of a caller in memory; None: call the
        application. For a server that has the whole request and would answer it without a task."""
        answer = self._plain.get(path)
        headers = dict(pairs)
        if (
            answer is None
            or len(headers) != len(pairs)
            or headers.get(b"content-type") != http.JSON_TYPE
            or b"x-permission-token" in headers
            or len(message) > self._max_body
        ):
            return None
        caller = self._callers.warm(headers.get(b"authorization", b"").decode("latin-1"))
        body = None if caller is None else answer(message, caller.realm, self._pdp)
        if body is None:
            return None
        return (http.echo_of(headers) if b"x-request-id" in headers else ()), body

    async def _respond(
        self, scope: Scope, headers: dict[bytes, bytes], receive: Receive, message: bytes | None
    ) -> tuple[bytes, Sequence[Header]]:
        """`message`: the body, where it was read already."""
        path, method = scope["path"], scope["method"]
        # A plain question, answered before this, tells nobody anything: whatever can, is traced.
        http.begin_trace(headers)
        endpoint = self._endpoints.get(path)
        if endpoint is None:
            document = self._documents.get(path)
            if document is None:
                raise HttpError(404, "there is nothing at this path")
            if method not in ("GET", "HEAD"):
                raise HttpError(405, "this document is read with GET", (b"allow", b"GET, HEAD"))
            return document, [(b"cache-control", metadata.CACHE_CONTROL.encode())]
        if method != "POST":
            raise HttpError(405, "an evaluation is asked for with POST", (b"allow", b"POST"))
        header = headers.get(b"authorization", b"").decode("latin-1")
        caller = self._callers.warm(header) or await self._find_caller(header)
        trace.note(realm=caller.realm)
        if headers.get(b"content-type") != http.JSON_TYPE:
            http.check_content_type(headers)
        token = headers.get(b"x-permission-token", b"").decode("latin-1").strip()
        call = Call(caller, token or None, [], self._pdp, self._superuser)
        if message is None:
            message = await http.read_body(headers, receive, self._max_body)
        body = await endpoint(call, messages.read_json(message))
        if not token or not call.revisions:
            return body, ()
        # The oldest of them, should an explained item have been answered later than the rest: the claim must hold for all.
        answered_at = await self._pdp.atoken_at(caller.realm, min(call.revisions))
        return body, [(b"x-permission-token", answered_at.encode())]

    async def _find_caller(self, header: str) -> Caller:
        caller = await self._callers.aresolve(header)
        if caller is None:
            known = b', error="invalid_token"' if header else b""
            challenge = (b"www-authenticate", b'Bearer realm="permsite"' + known)
            raise HttpError(401, "an API key is needed: Authorization: Bearer <key>", challenge)
        return caller

    async def _evaluation(self, call: Call, message: Json) -> bytes:
        request = messages.request_of(message, call.caller.asserted)
        if messages.wants_reasons(request):
            return messages.encode(await self._explain(call, request))
        realm, token = call.caller.realm, call.token
        decision = None if token is not None else self._pdp.warm(request, realm, superuser=self._superuser)
        if decision is None:
            decision = await self._pdp.adecide(request, realm=realm, token=token, superuser=self._superuser)
        call.revisions.append(decision.revision)
        if decision.obligations:
            return messages.encode(messages.answer_of(decision))
        return plain.YES if decision.allowed else plain.NO

    async def _evaluations(self, call: Call, message: Json) -> bytes:
        asked = batch.batch_of(message, call.caller.asserted)
        if asked is None:
            return await self._evaluation(call, message)
        decided = await self._decide_all(call, asked.requests)
        return messages.encode({"evaluations": batch.answers(asked, decided)})

    async def _explain(self, call: Call, request: Request) -> Json:
        """The path is told by the walk that decides, so that the two cannot contradict each other."""
        explanation = await self._pdp.aexplain_request(
            request, realm=call.caller.realm, token=call.token, superuser=self._superuser
        )
        call.revisions.append(explanation.decision.revision)
        return messages.answer_of(explanation.decision, explanation.to_dict())

    async def _decide_all(self, call: Call, requests: Sequence[Request]) -> list[Json]:
        realm, token = call.caller.realm, call.token
        # What is to be explained is decided where it is told, once.
        others = [request for request in requests if not messages.wants_reasons(request)]
        decisions = None if token is not None else self._pdp.warm_many(others, realm, superuser=self._superuser)
        if decisions is None:
            decisions = await self._pdp.adecide_many(others, realm=realm, token=token, superuser=self._superuser)
        call.revisions.extend(decision.revision for decision in decisions)
        following = iter(decisions)
        return [
            await self._explain(call, request) if messages.wants_reasons(request) else messages.answer_of(next(following))
            for request in requests
        ]


def _refusal(error: Exception, scope: Scope) -> tuple[int, str, Sequence[Header]]:
    match error:
        case HttpError():
            return error.status, str(error), error.headers
        case InvalidRequestError():
            return 400, str(error), ()
        case Refused():
            return error.status, error.detail, ()
        case Unavailable():
            return 503, str(error), ((b"retry-after", str(max(1, math.ceil(error.retry_after_s))).encode()),)
    log.error("a fault while answering %s %s", scope["method"], scope["path"], exc_info=error)
    return 500, "internal error", ()


def create_application(
    pdp: DecisionPoint,
    callers: Callers,
    public_url: str,
    *,
    superuser: bool = False,
    max_body: int = MAX_BODY,
    signer: Signer | None = None,
) -> Application:
    """Raises BadPublicUrlError. `superuser`: whether step 6 of the order of a decision holds on the wire. `signer` None: the
    metadata document is not signed."""
    return Application(pdp, callers, public_url, superuser=superuser, max_body=max_body, signer=signer)
