"""Defaults of the domain that an environment setting may change; read through functions, never at import."""

from __future__ import annotations

from django.conf import settings


def setting(name: str, default: str) -> str:
    return str(getattr(settings, name, default) or default)


def secret_key() -> str:
    return str(settings.SECRET_KEY)


def secret_keys() -> tuple[str, ...]:
    """The signing key first, then those that still verify."""
    return (str(settings.SECRET_KEY), *map(str, settings.SECRET_KEY_FALLBACKS))


def audit_key() -> str:
    """The key of the audit chain; empty when it is to be derived from the secret key."""
    return str(getattr(settings, "AUDIT_KEY", "") or "")


def subject_attribute() -> str:
    return setting("SUBJECT_ATTRIBUTE", "username")


def django_realm() -> str:
    return setting("DJANGO_REALM", "default")


def superuser_on_wire() -> bool:
    return bool(getattr(settings, "SUPERUSER_ON_WIRE", False))


def decision_log_file() -> str:
    return setting("DECISION_LOG_FILE", "decisions.jsonl")


def row_history() -> bool:
    """Whether triggers keep what rows were before a change, so that decisions as of a past time can be answered."""
    return bool(getattr(settings, "ROW_HISTORY", True))
