"""How fresh an answer must be: the token of a caller's last write, from the header or the signed cookie that a write handed out.

So whoever took a permission away from themselves, or was given one, sees it in the next request, whichever process answers.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Final

from django.core.signing import BadSignature
from django.http import HttpRequest

from permissions import revisions

COOKIE: Final = "permission_token"


@dataclass(frozen=True, slots=True)
class Freshness:
    """`is_asked`: the caller asked for it by the header, so a bad token is their mistake; a stale cookie is nobody's."""

    token: str | None = None
    full: bool = False
    is_asked: bool = False


ANY: Final = Freshness()
_current: ContextVar[Freshness] = ContextVar("permissions_pep_freshness", default=ANY)


def of(request: HttpRequest, *, full: bool = False) -> Freshness:
    sent = request.META.get("HTTP_" + revisions.HEADER.upper().replace("-", "_"))
    if full or sent == revisions.FULL:
        return Freshness(full=True)
    if sent is not None:
        return Freshness(sent, is_asked=True)
    if COOKIE not in request.COOKIES:
        return ANY
    try:
        return Freshness(request.get_signed_cookie(COOKIE))
    except BadSignature:
        return ANY


def current() -> Freshness:
    """Of the request that is being answered, for questions that are given none: where the middleware is installed."""
    return _current.get()


def forgiving() -> Freshness:
    """As `current`, for what can only say yes or no: the newest state answers in the place of a token that is none."""
    found = current()
    return Freshness(found.token, found.full)


@contextmanager
def within(request: HttpRequest) -> Iterator[None]:
    """Inside, `has_perm`, the template tag and the queryset filter are as fresh as the request asks. A bad header is told by
    what reads it: a queryset raises, for a list of some other state would be a wrong answer."""
    reset = _current.set(of(request))
    try:
        yield
    finally:
        _current.reset(reset)
