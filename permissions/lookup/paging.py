"""Pages: how many results, how much work, and signed tokens that say where the next page begins.

A token is `n1.<body>.<mac>`; its body holds a hash of the question, the place reached, the revision of the page, the limit and
an end. It is no secret: the MAC keeps invented places from costing queries, and a token from being used for another question.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import time
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final, NamedTuple

import msgspec

from permissions import conf
from permissions.engine.reasons import InvalidRequestError

# Chosen: as many as a batch may ask about, so that whoever reads a page can check all of it at once.
DEFAULT_LIMIT: Final = 1_000
MAX_LIMIT: Final = 1_000
# Seconds. Whoever turns pages takes seconds; a token found in an old log is of no use.
TOKEN_TTL_S: Final = 3_600
MAX_TOKEN: Final = 4_096
_PREFIX: Final = "n1"

_sorted: Final = msgspec.json.Encoder(order="sorted").encode
_decode: Final = msgspec.json.Decoder(tuple[str, str, int, int, int]).decode


@dataclass(frozen=True, slots=True)
class Page:
    """`results` in order; `next_after`: where the next page goes on, None at the end. All of one revision."""

    results: list[str]
    next_after: str | None
    revision: int


class Place(NamedTuple):
    """What a token says: the last entity that was looked at, the revision and the limit of its page."""

    after: str
    revision: int
    limit: int


def limit_of(limit: object) -> int:
    """None and 0: the server's default; more than the most is the most, for a page may always be short."""
    if limit is None:
        return DEFAULT_LIMIT
    if type(limit) is not int:
        raise InvalidRequestError(f"limit must be a whole number, not {type(limit).__name__}")
    if limit < 0:
        raise InvalidRequestError("limit must not be negative")
    return min(limit, MAX_LIMIT) or DEFAULT_LIMIT


def digest_of(question: Any) -> str:
    """Of everything that an answer depends on; members in any order are the same question."""
    return hashlib.sha256(_sorted(question)).hexdigest()[:32]


@lru_cache(maxsize=8)
def _key(secret: str) -> bytes:
    return hmac.new(secret.encode(), b"permsite.search-page.v1", hashlib.sha256).digest()


def _mac(body: str, secret: str) -> str:
    digest = hmac.new(_key(secret), f"{_PREFIX}.{body}".encode(), hashlib.sha256).digest()[:18]
    return base64.urlsafe_b64encode(digest).decode()


def seal(question: str, place: Place) -> str:
    """`question` is its `digest_of`."""
    end_s = int(time.time()) + TOKEN_TTL_S
    text = msgspec.json.encode((question, place.after, place.revision, place.limit, end_s))
    body = base64.urlsafe_b64encode(text).decode().rstrip("=")
    return f"{_PREFIX}.{body}.{_mac(body, conf.secret_key())}"


def unseal(token: str, question: str) -> Place:
    """Raises InvalidRequestError for a token that is not ours, that has ended, or that belongs to another question."""
    prefix, _, rest = token.partition(".")
    body, _, mac = rest.rpartition(".")
    well_formed = len(token) <= MAX_TOKEN and token.isascii() and prefix == _PREFIX
    if not well_formed or not any(hmac.compare_digest(mac, _mac(body, key)) for key in conf.secret_keys()):
        raise InvalidRequestError("page.token is not one that this server gave out")
    asked, after, revision, limit, end_s = _decode(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
    if time.time() >= end_s:
        raise InvalidRequestError("page.token has expired: ask for the first page again")
    if asked != question:
        raise InvalidRequestError("page.token belongs to another question: with a token, nothing else may change")
    return Place(after, revision, limit)
