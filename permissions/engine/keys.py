"""What an API key looks like: `ps_<prefix>_<secret>`, its digest, and how it is read out of an Authorization header.

The prefix is public and finds the row; the secret carries 256 random bits, so a plain SHA-256 of the whole is a safe thing to
store: there is nothing to guess, hence nothing to stretch.
"""

from __future__ import annotations

import hashlib
import re
import secrets
import string
from typing import Final, NamedTuple

PREFIX_LENGTH: Final = 8
SECRET_BYTES: Final = 32
_PREFIX_LETTERS: Final = string.ascii_lowercase + string.digits
# The secret's alphabet holds "_" itself, so the parts are told apart by their lengths, never by splitting.
_KEY: Final = re.compile(r"ps_(?P<prefix>[a-z0-9]{8})_[A-Za-z0-9_-]{43}", re.ASCII)
_BEARER: Final = "bearer "


class NewKey(NamedTuple):
    """`plain` is shown once and never stored."""

    plain: str
    prefix: str
    digest: str


class Presented(NamedTuple):
    plain: str
    prefix: str


def new_key() -> NewKey:
    prefix = "".join(secrets.choice(_PREFIX_LETTERS) for _ in range(PREFIX_LENGTH))
    plain = f"ps_{prefix}_{secrets.token_urlsafe(SECRET_BYTES)}"
    return NewKey(plain, prefix, digest_of(plain))


def digest_of(plain: str) -> str:
    """SHA-256 of the whole key, 64 hex digits."""
    return hashlib.sha256(plain.encode("utf-8", "surrogatepass")).hexdigest()


def parse(header_value: str) -> Presented | None:
    """The key in an Authorization header: `Bearer <key>` (the scheme in any case) or a bare key. None for anything else."""
    text = header_value.strip()
    if text[: len(_BEARER)].lower() == _BEARER:
        text = text[len(_BEARER) :].strip()
    match = _KEY.fullmatch(text)
    return None if match is None else Presented(text, match["prefix"])
