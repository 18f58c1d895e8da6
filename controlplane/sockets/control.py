"""What the person behind a socket of the control plane may see: asked when it opens, each minute, and when rights change."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from django.contrib import admin
from django.core.handlers.asgi import ASGIRequest

from controlplane.services import rights
from controlplane.sockets import people
from controlplane.sockets.messages import FORBIDDEN, SIGNED_OUT
from controlplane.sockets.watch import Ending
from permissions import pdp
from permissions.admin.asker import actor_of
from permissions.engine.types import Request
from permissions.writing import Actor

EVENTS_PAGE: Final = "events"
OVERVIEW_PAGE: Final = "overview"

NO_SESSION: Final = Ending(SIGNED_OUT, "no session: sign in")
NO_RIGHT: Final = Ending(FORBIDDEN, "the right to see this page is gone")


@dataclass(frozen=True, slots=True)
class Standing:
    """`topics`: what may be subscribed to."""

    actor: Actor
    topics: frozenset[str]

    @property
    def subject(self) -> str:
        return self.actor.subject or self.actor.name


def standing_of(scope: Mapping[str, Any], key: str, page: str, code: str) -> Standing | Ending:
    """Reads session, account and rights anew. Raises pdp.Unavailable."""
    account = people.account_of(key)
    if account is None:
        return NO_SESSION
    request: ASGIRequest = people.request_of(scope)
    request.user = account
    if not admin.site.has_permission(request):
        return NO_SESSION
    actor = actor_of(request)
    try:
        if not rights.may(actor, code, rights.on_page(page)):
            return NO_RIGHT
        # The overview shows the last events, and the processes.
        sees_all = rights.may(actor, rights.VIEW, rights.on_page(OVERVIEW_PAGE))
        topics = {"frame", *(("events", "nodes") if sees_all else ())}
        if sees_all or rights.may(actor, rights.VIEW, rights.on_page(EVENTS_PAGE)):
            topics.add("events")
    except pdp.InvalidRequestError:  # an account whose name is no subject's, or a realm that is gone
        return NO_RIGHT
    return Standing(actor, frozenset(topics))


def may_see_realm(actor: Actor, realm: str) -> bool:
    """Events of another realm are its people's to give. No decision is a no: the event stays in the stream to be asked for."""
    if actor.administrator or realm == rights.control_realm():
        return True
    if actor.subject is None:
        return False
    request = Request(actor.subject, rights.VIEW, rights.on_page(EVENTS_PAGE), asserted="ignore")
    try:
        return bool(pdp.decide(request, realm=realm, full=True))
    except (pdp.Unavailable, pdp.InvalidRequestError):
        return False
