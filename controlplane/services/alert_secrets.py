"""Secrets that must sign again, sealed with a key of the platform: whoever reads the database alone cannot use them."""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
from typing import Final

from cryptography.fernet import Fernet, InvalidToken, MultiFernet

from permissions import conf

# Shown once, where it is made. The prefix lets scanners of repositories recognise one that leaked.
PREFIX: Final = "pswh_"
MIN_LENGTH: Final = 16
MAX_LENGTH: Final = 200


class Unreadable(ValueError):
    """Sealed with a key that is no longer among SECRET_KEY and SECRET_KEY_FALLBACKS."""


def new_secret() -> str:
    return PREFIX + secrets.token_urlsafe(32)


def seal(secret: str) -> str:
    return _keys().encrypt(secret.encode()).decode() if secret else ""


def unseal(sealed: str) -> str:
    """Raises Unreadable."""
    if not sealed:
        return ""
    try:
        return _keys().decrypt(sealed.encode()).decode()
    except (InvalidToken, UnicodeDecodeError):
        raise Unreadable("the secret was sealed with another SECRET_KEY: set it anew") from None


def _keys() -> MultiFernet:
    """Derived, so that who learns one learns nothing of SECRET_KEY; the first seals, all open."""
    derived = (hmac.new(key.encode(), b"permsite.alert-secrets.v1", hashlib.sha256).digest() for key in conf.secret_keys())
    return MultiFernet([Fernet(base64.urlsafe_b64encode(key)) for key in derived])
