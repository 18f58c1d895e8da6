"""Who is behind a socket: its session and account, read anew each time; and whether the page that opened it is one of ours."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from io import BytesIO
from typing import Any, Final
from urllib.parse import urlsplit

from django.conf import settings
from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY, get_user_model, load_backend
from django.contrib.auth.models import AnonymousUser
from django.core.exceptions import DisallowedHost
from django.core.handlers.asgi import ASGIRequest
from django.utils.crypto import constant_time_compare

_SCHEMES: Final = {"ws": "http", "wss": "https"}


def request_of(scope: Mapping[str, Any]) -> ASGIRequest:
    """The handshake as Django sees a GET: host, cookies and scheme are read as for a page. Its `user` is nobody."""
    scheme = _SCHEMES.get(scope.get("scheme", "ws"), "http")
    request = ASGIRequest({**scope, "type": "http", "method": "GET", "scheme": scheme}, BytesIO())
    request.user = AnonymousUser()
    return request


def is_own_origin(request: ASGIRequest) -> bool:
    """Whether the Origin is this site's own, or one that its forms are taken from (PUBLIC_URL, CSRF_TRUSTED_ORIGINS).

    A browser sends the cookie with whatever page opens the socket, and asks no server before. None named: no browser of ours.
    """
    origin = request.META.get("HTTP_ORIGIN", "")
    if not origin or origin == "null":
        return False
    try:
        if origin == f"{request.scheme}://{request.get_host()}":
            return True
    except DisallowedHost:
        return False
    return any(_covers(trusted, origin) for trusted in settings.CSRF_TRUSTED_ORIGINS)


def _covers(trusted: str, origin: str) -> bool:
    if "*" not in trusted:
        return origin == trusted.rstrip("/")
    try:
        wanted, given = urlsplit(trusted), urlsplit(origin)
    except ValueError:
        return False
    return given.scheme == wanted.scheme and given.netloc.endswith(wanted.netloc.lstrip("*"))


def session_key(request: ASGIRequest) -> str:
    return str(request.COOKIES.get(settings.SESSION_COOKIE_NAME, ""))


def account_of(key: str) -> Any:
    """The active account of a session that is still valid, or None. Reads the rows, and writes none.

    Django's own would give a session that an old SECRET_KEY had signed a new key, which a socket can tell no browser: the page
    would be signed out.
    """
    if not key:
        return None
    session = import_module(settings.SESSION_ENGINE).SessionStore(key)
    try:
        pk = get_user_model()._meta.pk.to_python(session[SESSION_KEY])
        path, signed = session[BACKEND_SESSION_KEY], session[HASH_SESSION_KEY]
    except KeyError:  # ended, run out, or nobody's
        return None
    if path not in settings.AUTHENTICATION_BACKENDS:
        return None
    account: Any = load_backend(path).get_user(pk)
    if account is None or not account.is_active:
        return None
    hashes = [account.get_session_auth_hash(), *account.get_session_auth_fallback_hash()]
    return account if any(constant_time_compare(signed, one) for one in hashes) else None
