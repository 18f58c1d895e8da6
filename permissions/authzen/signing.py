"""Signatures of what the decision point says of itself: one ES256 key derived from each secret, JWS out, public keys as a set.

Source: RFC 7515 (JWS, compact form), 7517 and 7638 (keys and their names), 7519 (JWT), 6979 (signatures without a random number).

A derived key needs no place to be kept, and every worker on every host has the same one. Signatures without a random number make
each of them answer the same bytes, so that a cache in front never sees the document change. It is turned with SECRET_KEY: what is
signed then names the new key, and the set goes on to list those of SECRET_KEY_FALLBACKS, so that what was signed before verifies.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

ALGORITHM: Final = "ES256"
_PURPOSE: Final = b"permsite.authzen-signature.v1"
_ORDER: Final = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551  # of P-256
_WIDTH: Final = 32  # bytes of a coordinate and of each half of a signature (RFC 7518, 3.4)

# Members in a fixed order: the name of a key is the digest of them (RFC 7638, 3.3).
_encode: Final = msgspec.json.Encoder(order="sorted").encode


class Signer:
    """Signs with the key of the first secret; `key_set` has the public keys of all of them, the signing one first."""

    def __init__(self, secrets: Sequence[str]) -> None:
        if not secrets or not all(secrets):
            raise ValueError("a signer needs at least one secret, and none of them may be empty")
        keys = [_key_of(secret) for secret in secrets]
        self._key: Final = keys[0]
        published = [_published(key.public_key()) for key in keys]
        self.key_id: Final = published[0]["kid"]
        self.key_set: Final = _encode({"keys": published})

    def sign(self, claims: Mapping[str, Any]) -> str:
        """The claims as a JWT."""
        header = {"alg": ALGORITHM, "kid": self.key_id, "typ": "JWT"}
        body = f"{_text(_encode(header))}.{_text(_encode(claims))}"
        der = self._key.sign(body.encode(), ec.ECDSA(hashes.SHA256(), deterministic_signing=True))
        return f"{body}.{_text(b''.join(half.to_bytes(_WIDTH, 'big') for half in decode_dss_signature(der)))}"


def _key_of(secret: str) -> ec.EllipticCurvePrivateKey:
    """512 bits taken modulo the order: what that favours is below 2^-256 (FIPS 186-5, A.2.1)."""
    digest = hmac.new(secret.encode(), _PURPOSE, hashlib.sha512).digest()
    return ec.derive_private_key(int.from_bytes(digest, "big") % (_ORDER - 1) + 1, ec.SECP256R1())


def _published(key: ec.EllipticCurvePublicKey) -> dict[str, str]:
    point = key.public_numbers()
    x, y = (_text(number.to_bytes(_WIDTH, "big")) for number in (point.x, point.y))
    named = {"crv": "P-256", "kty": "EC", "x": x, "y": y}
    return {**named, "alg": ALGORITHM, "kid": _text(hashlib.sha256(_encode(named)).digest()), "use": "sig"}


def _text(value: bytes) -> str:
    return base64.urlsafe_b64encode(value).rstrip(b"=").decode()
