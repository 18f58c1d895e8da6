"""Epoch, head and token: which revision a realm is at, and the proof of it that a caller carries.

Source: consistency, sections 3 and 6. A token is `v1.<realm id>.<epoch8>.<rev>.<mac>`; it is no secret, the MAC only keeps
invented futures from costing queries.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from django.db import connections

from permissions import conf
from permissions.errors import Conflict, Invalid, NotFound, Problem
from permissions.models import Realm

HEADER: Final = "X-Permission-Token"
FULL: Final = "full"

# One row, one statement: epoch, revision and stamp belong to the same database snapshot.
HEAD_SQL: Final = "SELECT id, epoch, rev, stamp FROM permissions_realm WHERE name = %s"


class TokenFromFuture(Conflict):
    """The token names a revision that the primary does not know (409); never ignored, a restore may have lost it."""

    code = "token_from_future"


@dataclass(frozen=True, slots=True)
class Head:
    """The newest revision of a realm. `stamp`: random bits drawn with it, so that a rolled-back or lost number is told apart."""

    realm_id: int
    name: str
    epoch: str
    rev: int
    stamp: int

    @property
    def key(self) -> tuple[int, str, int, int]:
        return (self.realm_id, self.epoch, self.rev, self.stamp)


@dataclass(frozen=True, slots=True)
class Token:
    realm_id: int
    epoch8: str
    rev: int


def head(realm: str, *, using: str = "default") -> Head:
    """The head of the realm as the current transaction sees it. Raises NotFound for a realm that does not exist."""
    with connections[using].cursor() as cursor:
        cursor.execute(HEAD_SQL, [realm])
        row = cursor.fetchone()
    if row is None:
        raise NotFound(f"there is no realm {realm!r}")
    return Head(row[0], realm, epoch_text(row[1]), row[2], row[3])


def epoch_text(value: object) -> str:
    """32 hex digits, however the driver gives a UUID."""
    return str(value).replace("-", "")


def head_of(realm: Realm) -> Head:
    return Head(realm.pk, realm.name, epoch_text(realm.epoch), realm.rev, realm.stamp)


@lru_cache(maxsize=8)
def _key(secret: str) -> bytes:
    return hmac.new(secret.encode(), b"permsite.permission-token.v1", hashlib.sha256).digest()


def _mac(body: str, secret: str) -> str:
    digest = hmac.new(_key(secret), body.encode(), hashlib.sha256).digest()[:15]
    return base64.urlsafe_b64encode(digest).decode()


def mint(at: Head) -> str:
    body = f"v1.{at.realm_id}.{at.epoch[:8]}.{at.rev}"
    return f"{body}.{_mac(body, conf.secret_key())}"


def parse(text: str) -> Token:
    """Raises Invalid for a text that no key of ours signed."""
    bad = Invalid([Problem(HEADER, "is not a token that this server gave out")])
    if len(text) > 200 or not text.isascii():
        raise bad
    body, _, mac = text.rpartition(".")
    parts = body.split(".")
    if len(parts) != 4 or parts[0] != "v1":
        raise bad
    if not any(hmac.compare_digest(mac, _mac(body, key)) for key in conf.secret_keys()):
        raise bad
    return Token(int(parts[1]), parts[2], int(parts[3]))
