"""One question of an enforcement point to the PDP, as fresh as its caller asks, on a thread or on the event loop."""

from __future__ import annotations

from collections.abc import Collection

from permissions import pdp
from permissions.cache.transactions import waits_with_writes
from permissions.engine.types import Decision, Request
from permissions.errors import Refused
from permissions.lookup.queryset import Rule
from permissions.pep.freshness import Freshness

_in_thread = pdp.adecide


def decide(request: Request, *, realm: str, fresh: Freshness, superuser: bool = True) -> Decision:
    """Raises what a check raises; a bad token only where the caller sent it."""
    try:
        return pdp.decide(request, realm=realm, token=fresh.token, full=fresh.full, superuser=superuser)
    except (Refused, pdp.InvalidRequestError) as error:
        full = _instead(error, fresh)
    return pdp.decide(request, realm=realm, full=full, superuser=superuser)


async def adecide(request: Request, *, realm: str, fresh: Freshness, superuser: bool = True) -> Decision:
    if fresh.token is None and not fresh.full and not waits_with_writes():
        decision = pdp.warm(request, realm, superuser=superuser)
        if decision is not None:
            return decision
    try:
        return await _in_thread(request, realm=realm, token=fresh.token, full=fresh.full, superuser=superuser)
    except (Refused, pdp.InvalidRequestError) as error:
        full = _instead(error, fresh)
    return await _in_thread(request, realm=realm, full=full, superuser=superuser)


def rule(
    request: Request, kind: str, *, realm: str, fresh: Freshness, superuser: bool = True, obligations: Collection[str] = ()
) -> Rule:
    """`pdp.permitted`, as fresh as the caller asks."""
    try:
        return pdp.permitted(
            request, kind, realm=realm, token=fresh.token, full=fresh.full, superuser=superuser, obligations=obligations
        )
    except (Refused, pdp.InvalidRequestError) as error:
        full = _instead(error, fresh)
    return pdp.permitted(request, kind, realm=realm, full=full, superuser=superuser, obligations=obligations)


def _instead(error: Exception, fresh: Freshness) -> bool:
    """Whether to ask for the newest state instead. Raises `error` where it is no fault of a cookie."""
    if fresh.token is None or fresh.is_asked:
        raise error
    # Of a state that this server does not know (a restored database): the newest answers. Of another realm: it says nothing here.
    return isinstance(error, Refused)
