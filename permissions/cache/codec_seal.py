"""Keys of the second cache layer, and the proof that a value was written by us and for the key it was found under."""

from __future__ import annotations

import hashlib
import hmac
from functools import lru_cache
from typing import Any, Final, Literal

from permissions import conf
from permissions.revisions import Head

# A new layout is a new number: processes of two versions then read past each other's values.
SCHEMA: Final = 1
MAC_BYTES: Final = 8

_PURPOSE: Final = b"permsite.permission-cache.v1"


class Rejected(Exception):
    """A value that does not prove itself. `cause`: the label under which it is counted."""

    def __init__(self, cause: Literal["length", "mac", "schema", "shape", "epoch", "id"]) -> None:
        super().__init__(cause)
        self.cause = cause


def key_of(head: Head, kind: Literal["s", "r", "m"], ident: str) -> bytes:
    """`{ps:<realm>:<kind>:<id>}:v<schema>:<epoch8>`: fixed before and behind, so that no two ids share one. Raises
    UnicodeEncodeError."""
    return b"{ps:%d:%s:%s}:v%d:%s" % (head.realm_id, kind.encode(), ident.encode(), SCHEMA, head.epoch[:8].encode())


@lru_cache(maxsize=8)
def _keyed(secret: str) -> Any:
    key = hmac.new(secret.encode(), _PURPOSE, hashlib.sha256).digest()
    return hashlib.blake2b(key=key, digest_size=MAC_BYTES)


def _mac(secret: str, key: bytes, body: bytes) -> bytes:
    # The length of the key goes first, so that no end of a key can be taken for the beginning of a body.
    digest = _keyed(secret).copy()
    digest.update(b"%d:%b" % (len(key), key))
    digest.update(body)
    mac: bytes = digest.digest()
    return mac


def seal(key: bytes, body: bytes) -> bytes:
    return _mac(conf.secret_key(), key, body) + body


def unseal(key: bytes, value: bytes, max_bytes: int) -> bytes:
    """The body of a value that this key was given by us. Raises Rejected."""
    if not MAC_BYTES + 2 <= len(value) <= max_bytes:
        raise Rejected("length")
    mac, body = value[:MAC_BYTES], value[MAC_BYTES:]
    if not any(hmac.compare_digest(mac, _mac(secret, key, body)) for secret in conf.secret_keys()):
        raise Rejected("mac")
    # Told before the layout is: another schema has another. The first byte says "array of up to 15", the second is the number.
    if body[0] & 0xF0 != 0x90 or body[1] > 0x7F:
        raise Rejected("shape")
    if body[1] != SCHEMA:
        raise Rejected("schema")
    return body
