"""Notes who is logged in with which browser: at the first answer after a login, and at most once a minute afterwards."""

from __future__ import annotations

import threading
import time
from typing import Final

from django.conf import settings
from django.contrib.auth import SESSION_KEY, get_user_model
from django.db import DatabaseError, InterfaceError
from django.http import HttpRequest
from django.utils import timezone

from controlplane.models import BrowserSession
from resilience import telemetry
from resilience.asgi import Scope, client_address

EACH_S: Final = 60.0
# Of this process's memory of what it has noted lately; past it the memory starts anew, which costs one statement a session.
MAX_REMEMBERED: Final = 10_000
MAX_BROWSER: Final = 200
MAX_ADDRESS: Final = 64

_noted_s: dict[str, float] = {}
_lock: Final = threading.Lock()


def is_due(request: HttpRequest) -> bool:
    """Whether `note` has something to do; without I/O. A yes is given once: who hears it notes."""
    session = getattr(request, "session", None)
    # Untouched: nobody asked who is calling, as for a file or a probe; looking would cost a statement.
    return session is not None and session.accessed and bool(session.session_key) and _is_due(str(session.session_key))


def note(request: HttpRequest) -> None:
    """Raises nothing: a page that could be drawn is not to fail over its footnote."""
    session = request.session
    key = str(session.session_key)
    try:
        user_id = session.get(SESSION_KEY)
        if user_id is not None:
            _write(key, user_id, request)
    except (DatabaseError, InterfaceError) as error:
        # Ended meanwhile by somebody else, mostly: its row is gone, and ours could not be written.
        telemetry.internal_error("sessions", "note", error)


def forget(key: str) -> None:
    """It is noted anew at its next request; for tests, and for one that ends."""
    with _lock:
        _noted_s.pop(key, None)


def reset() -> None:
    with _lock:
        _noted_s.clear()


def _is_due(key: str) -> bool:
    now_s = time.monotonic()
    with _lock:
        last_s = _noted_s.get(key)
        if last_s is not None and now_s - last_s < EACH_S:
            return False
        if len(_noted_s) >= MAX_REMEMBERED:
            _noted_s.clear()
        _noted_s[key] = now_s
        return True


def _write(key: str, user_id: str, request: HttpRequest) -> None:
    """An update first: all but the first of a session's notes are one. Several processes may write; the newest stays."""
    now = timezone.now()
    pk = get_user_model()._meta.pk.to_python(user_id)
    seen = {"last_seen_at": now, "address": address_of(request), "browser": browser_of(request)}
    rows = BrowserSession.objects.filter(session_id=key)
    if rows.filter(user_id=pk).update(**seen):
        return
    rows.delete()  # the session went on with another account
    BrowserSession.objects.bulk_create([BrowserSession(session_id=key, user_id=pk, begun_at=now, **seen)], ignore_conflicts=True)


def address_of(request: HttpRequest) -> str:
    """As the limits see it: a header is believed as far as NUM_PROXIES says."""
    forwarded = request.META.get("HTTP_X_FORWARDED_FOR", "")
    scope: Scope = {
        "client": (request.META.get("REMOTE_ADDR") or "", 0),
        "headers": [(b"x-forwarded-for", forwarded.encode("latin-1", "replace"))] if forwarded else [],
    }
    return client_address(scope, settings.NUM_PROXIES)[:MAX_ADDRESS]


def browser_of(request: HttpRequest) -> str:
    """What the browser calls itself, on one line."""
    told = request.META.get("HTTP_USER_AGENT", "")
    return "".join(c for c in str(told)[: MAX_BROWSER * 2] if c.isprintable())[:MAX_BROWSER].strip()
