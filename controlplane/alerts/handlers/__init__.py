"""The kinds of handlers: those of permsite, and those that the setting ALERT_HANDLERS names as `package.module.Class`."""

from __future__ import annotations

import threading
from typing import Final

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.utils.module_loading import import_string

from controlplane.alerts.handlers.base import Handler
from controlplane.alerts.handlers.email import EmailHandler
from controlplane.alerts.handlers.event import EventHandler
from controlplane.alerts.handlers.log import LogHandler
from controlplane.alerts.handlers.webhook import WebhookHandler

__all__ = ["every", "find", "reset"]

OWN: Final[tuple[type[Handler], ...]] = (LogHandler, EventHandler, WebhookHandler, EmailHandler)

_kinds: dict[str, Handler] = {}
_lock = threading.Lock()


def every() -> dict[str, Handler]:
    """By kind; one object each, so that breakers last. Raises ImproperlyConfigured for a class that is none."""
    with _lock:
        if not _kinds:
            found: dict[str, Handler] = {}
            for given in (*OWN, *getattr(settings, "ALERT_HANDLERS", ())):
                kind = import_string(given) if isinstance(given, str) else given
                if not (isinstance(kind, type) and issubclass(kind, Handler) and hasattr(kind, "kind")):
                    raise ImproperlyConfigured(f"ALERT_HANDLERS: {given} is no class of an alert handler with a kind")
                if kind.kind in found:
                    raise ImproperlyConfigured(f"ALERT_HANDLERS: {given} has the kind {kind.kind!r}, which there is already")
                found[kind.kind] = kind()
            _kinds.update(found)
        return dict(_kinds)


def find(kind: str) -> Handler | None:
    return every().get(kind)


def reset() -> None:
    """Begins anew, with other settings: for tests."""
    with _lock:
        _kinds.clear()
