"""The whole of an enforcement point for a view: ask, comply, or answer in its place. For threads, and for the event loop."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from inspect import isawaitable
from typing import Any, Final

from asgiref.sync import sync_to_async
from django.core.exceptions import ImproperlyConfigured
from django.http import HttpRequest, HttpResponseBase

from permissions import revisions
from permissions.engine.reasons import InvalidRequestError, Unavailable
from permissions.engine.types import Attributes, Decision
from permissions.errors import Refused
from permissions.pep import decisions, refusals
from permissions.pep.requirement import Denied, Handler, NeedsRow, NotAuthenticated, Requirement

log = logging.getLogger("permissions.pep")

REFUSALS: Final = (NotAuthenticated, Denied, Unavailable, Refused, InvalidRequestError)


class Guard:
    """`login_url`: where nobody in particular is sent (default: LOGIN_URL); `raise_exception`: they are refused like others."""

    def __init__(self, requirement: Requirement, *, login_url: str | None = None, raise_exception: bool = False) -> None:
        self.requirement = requirement
        self.login_url = login_url
        self.raise_exception = raise_exception

    def answer(self, request: HttpRequest, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> HttpResponseBase | None:
        """What is answered in the view's place; None lets it run. Raises PermissionDenied for the 403 page of people."""
        needed = self.requirement
        try:
            user = _user(request)
            needed.subject(user)  # first: nobody in particular must not make the site look for rows
            try:
                named = needed.given(request, args, kwargs)
            except NeedsRow as row:
                named = row.row()
            resource = needed.named(_settled(named))
            context = _settled(needed.context(request, *args, **kwargs)) if callable(needed.context) else needed.context
            asked, realm, fresh = needed.asks(user, request, resource, context)
            decision = decisions.decide(asked, realm=realm, fresh=fresh)
            for handler, obligation in self._duties(request, decision):
                response = _settled(handler(request, obligation))
                if response is not None:
                    return _as_response(response)
        except REFUSALS as error:
            return self.refused(request, error)
        return None

    async def aanswer(self, request: HttpRequest, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> HttpResponseBase | None:
        needed = self.requirement
        try:
            user = await _auser(request)
            needed.subject(user)
            try:
                named = needed.given(request, args, kwargs)
            except NeedsRow as row:
                named = await sync_to_async(row.row)()
            resource = needed.named(await _awaited(named))
            context = await _awaited(needed.context(request, *args, **kwargs)) if callable(needed.context) else needed.context
            asked, realm, fresh = needed.asks(user, request, resource, context)
            decision = await decisions.adecide(asked, realm=realm, fresh=fresh)
            for handler, obligation in self._duties(request, decision):
                response = await _awaited(handler(request, obligation))
                if response is not None:
                    return _as_response(response)
        except REFUSALS as error:
            return self.refused(request, error)
        return None

    def _duties(self, request: HttpRequest, decision: Decision) -> list[tuple[Handler, Attributes]]:
        # For the view: the obligations that it said it would comply with itself, and the revision.
        request.permission_decision = decision  # type: ignore[attr-defined]
        return self.requirement.duties(decision)

    def refused(self, request: HttpRequest, error: Exception) -> HttpResponseBase:
        if isinstance(error, NotAuthenticated):
            if self.raise_exception and not refusals.wants_json(request):
                return refusals.forbidden(request, self.requirement.permission)
            return refusals.not_authenticated(request, self.login_url)
        if isinstance(error, Denied):
            return refusals.forbidden(request, error.permission)
        if isinstance(error, Unavailable):
            return refusals.unavailable(request, error)
        if isinstance(error, Refused):
            return refusals.bad_token(request, error.status, error.code, error.detail)
        if isinstance(error, InvalidRequestError) and revisions.HEADER in request.headers:
            return refusals.bad_token(request, 400, "invalid", str(error))
        # A realm that is gone, or the like: no caller's fault, and no reason to let anyone in.
        log.error("%s cannot be asked about: %s", self.requirement.permission, error)
        return refusals.forbidden(request, self.requirement.permission)


def _user(request: HttpRequest) -> Any:
    if not hasattr(request, "user"):
        raise ImproperlyConfigured("permissions are asked about request.user: install AuthenticationMiddleware before")
    return request.user


async def _auser(request: HttpRequest) -> Any:
    auser = getattr(request, "auser", None)
    return _user(request) if auser is None else await auser()


def _settled(value: Any) -> Any:
    """A coroutine in a view that does not await would be a truthy anything."""
    if isawaitable(value):
        close = getattr(value, "close", None)
        if close is not None:
            close()
        raise TypeError("an asynchronous function cannot guard a view that is not asynchronous")
    return value


async def _awaited(value: Any) -> Any:
    return await value if isawaitable(value) else value


def _as_response(response: Any) -> HttpResponseBase:
    if not isinstance(response, HttpResponseBase):
        raise TypeError(f"what complies with an obligation gives None or a response, not {type(response).__name__}")
    return response
