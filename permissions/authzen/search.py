"""Search: who may, on what, and what one may do; results a page at a time, with signed tokens.

Source: AuthZEN 1.0, "Search APIs" and "Pagination". The searched entity's own id is ignored, whatever it is; everything else is
read as for an evaluation. A page is told of only where it was asked for, or where the answer is not whole: clients exist that
compare whole answers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from permissions.authzen import messages
from permissions.authzen.messages import Json
from permissions.authzen.ports import Call, Found
from permissions.engine import names
from permissions.engine.reasons import InvalidRequestError
from permissions.engine.types import Request
from permissions.lookup import paging

Direction = Literal["subject", "resource", "action"]
# Stands in for what is searched, so that one reader reads all questions; no answer depends on it.
_ANY: Final = "any"


@dataclass(frozen=True, slots=True)
class Asked:
    """`digest`: of all that an answer depends on. `limit`: as it came, 0 where none did. `is_paged`: a page is told of."""

    request: Request
    kind: str
    digest: str
    limit: int
    after: str | None
    is_paged: bool


async def subject(call: Call, message: Json) -> bytes:
    asked = _asked(call, message, "subject")
    page = await call.pdp.asearch_subjects(
        asked.request,
        asked.kind,
        limit=asked.limit,
        after=asked.after,
        realm=call.caller.realm,
        token=call.token,
        superuser=call.superuser,
    )
    return _answer(call, asked, page, [_entity(ref) for ref in page.results])


async def resource(call: Call, message: Json) -> bytes:
    asked = _asked(call, message, "resource")
    page = await call.pdp.asearch_resources(
        asked.request,
        asked.kind,
        limit=asked.limit,
        after=asked.after,
        realm=call.caller.realm,
        token=call.token,
        superuser=call.superuser,
    )
    return _answer(call, asked, page, [_entity(ref) for ref in page.results])


async def action(call: Call, message: Json) -> bytes:
    asked = _asked(call, message, "action")
    page = await call.pdp.asearch_actions(
        asked.request,
        limit=asked.limit,
        after=asked.after,
        realm=call.caller.realm,
        token=call.token,
        superuser=call.superuser,
    )
    return _answer(call, asked, page, [{"name": name} for name in page.results])


def _asked(call: Call, message: Json, direction: Direction) -> Asked:
    kind, request = _request_of(message, direction, call)
    wanted = _page_of(message)
    # All that the engine sees, and by whom it is asked: neither may change between two pages.
    digest = paging.digest_of(
        [
            direction,
            call.caller.realm,
            request.asserted,
            call.superuser,
            kind,
            [request.subject, request.permission, request.resource],
            [request.context, request.subject_properties, request.resource_properties, request.action_properties],
        ]
    )
    limit, token = wanted.get("limit", 0), wanted.get("token")
    if token is None:
        return Asked(request, kind, digest, limit, None, "page" in message)
    place = paging.unseal(token, digest)
    if "limit" in wanted and limit != place.limit:
        raise InvalidRequestError(f"page.limit is {limit} here and was {place.limit}: with a token, nothing else may change")
    return Asked(request, kind, digest, place.limit, place.after, is_paged=True)


def _request_of(message: Json, direction: Direction, call: Call) -> tuple[str, Request]:
    """The type that is searched for, and the question with a stand-in for what is searched."""
    if direction == "action":
        request = messages.request_of({**message, "action": {"name": _ANY}}, call.caller.asserted)
        return "", request
    searched = message.get(direction)
    if searched is None and direction not in message:
        raise InvalidRequestError(f"{direction} is missing")
    if type(searched) is not dict:
        raise InvalidRequestError(f"{direction} must be an object, not {messages.kind_of(searched)}")
    request = messages.request_of({**message, direction: {**searched, "id": _ANY}}, call.caller.asserted)
    ref = request.subject if direction == "subject" else request.resource or ""
    return names.split_ref(ref)[0], request


def _page_of(message: Mapping[str, Any]) -> Json:
    page = message.get("page", {})
    if type(page) is not dict:
        raise InvalidRequestError(f"page must be an object, not {messages.kind_of(page)}")
    if "token" in page and type(page["token"]) is not str:
        raise InvalidRequestError(f"page.token must be a string, not {messages.kind_of(page['token'])}")
    if "limit" in page:
        limit = page["limit"]
        if type(limit) is not int:
            raise InvalidRequestError(f"page.limit must be a whole number, not {messages.kind_of(limit)}")
        if limit < 0:
            raise InvalidRequestError("page.limit must not be negative")
        # What is more than a page may hold is all one, and a token has no room for a number without end.
        page = {**page, "limit": min(limit, paging.MAX_LIMIT)}
    return page


def _entity(ref: str) -> Json:
    kind, ident = names.split_ref(ref)
    return {"type": kind, "id": ident}


def _answer(call: Call, asked: Asked, page: Found, results: list[Json]) -> bytes:
    call.revisions.append(page.revision)
    if page.next_after is None and not asked.is_paged:
        return messages.encode({"results": results})
    token = ""
    if page.next_after is not None:
        token = paging.seal(asked.digest, paging.Place(page.next_after, page.revision, asked.limit))
    return messages.encode({"page": {"next_token": token}, "results": results})
