"""The document's signature: verified by a library that is not ours, from the published keys alone."""

from __future__ import annotations

import base64
import json

import jwt
import pytest

from permissions.authzen.signing import Signer
from tests.permissions.authzen.wire import METADATA, PUBLIC_URL, Answer, application, ask

KEY_SET = "/.well-known/jwks.json"


def read(path: str, *secrets: str) -> Answer:
    return ask(application(signer=Signer(secrets)), b"", path=path, method="GET", authorization=None, content_type=None)


def verified(signed: str, key_set: bytes) -> dict[str, object]:
    key_id = jwt.get_unverified_header(signed)["kid"]
    key = jwt.PyJWKSet.from_json(key_set.decode())[key_id].key
    claims: dict[str, object] = jwt.decode(signed, key, algorithms=["ES256"], options={"require": ["iss"]})
    return claims


def test_what_is_signed_is_what_is_told():
    told = read(METADATA, "one").json
    claims = verified(told.pop("signed_metadata"), read(KEY_SET, "one").body)
    assert claims.pop("iss") == PUBLIC_URL
    assert claims == told
    assert told["jwks_uri"] == f"{PUBLIC_URL}{KEY_SET}"


def test_a_signature_never_holds_itself():
    assert "signed_metadata" not in verified(read(METADATA, "one").json["signed_metadata"], read(KEY_SET, "one").body)


def test_every_process_says_the_same_bytes():
    assert read(METADATA, "one").body == read(METADATA, "one").body
    assert read(KEY_SET, "one", "two").body == read(KEY_SET, "one", "two").body


def test_a_document_of_before_the_secret_was_turned_still_verifies():
    before = read(METADATA, "old").json["signed_metadata"]
    after = read(KEY_SET, "new", "old").body
    assert verified(before, after)["iss"] == PUBLIC_URL
    now = read(METADATA, "new", "old").json["signed_metadata"]
    assert verified(now, after)["iss"] == PUBLIC_URL
    with pytest.raises(KeyError):
        verified(before, read(KEY_SET, "new").body)


def test_a_changed_claim_is_noticed():
    header, body, signature = read(METADATA, "one").json["signed_metadata"].split(".")
    claims = json.loads(base64.urlsafe_b64decode(body + "=="))
    claims["access_evaluation_endpoint"] = "https://evil.example/"
    forged = base64.urlsafe_b64encode(json.dumps(claims).encode()).rstrip(b"=").decode()
    with pytest.raises(jwt.InvalidSignatureError):
        verified(f"{header}.{forged}.{signature}", read(KEY_SET, "one").body)


def test_the_set_holds_public_keys_alone_with_their_names():
    answer = read(KEY_SET, "one", "two")
    assert (answer.status, answer.headers["content-type"]) == (200, "application/json")
    assert answer.headers["cache-control"].startswith("public, max-age=")
    keys = answer.json["keys"]
    assert [set(key) for key in keys] == [{"kty", "crv", "x", "y", "use", "alg", "kid"}] * 2
    assert len({key["kid"] for key in keys}) == 2
    assert [(key["kty"], key["crv"], key["alg"], key["use"]) for key in keys] == [("EC", "P-256", "ES256", "sig")] * 2


def test_the_key_is_derived_for_this_purpose_and_is_not_the_secret():
    signer = Signer(["one"])
    assert signer.key_id == Signer(["one", "two"]).key_id != Signer(["two", "one"]).key_id
    assert b"one" not in signer.key_set


@pytest.mark.parametrize("secrets", [[], [""], ["one", ""]])
def test_without_a_secret_nothing_is_signed(secrets):
    with pytest.raises(ValueError, match="secret"):
        Signer(secrets)


def test_without_a_signer_neither_signature_nor_keys_are_told_of():
    document = ask(application(), b"", path=METADATA, method="GET").json
    assert not {"signed_metadata", "jwks_uri"} & document.keys()
    assert ask(application(), b"", path=KEY_SET, method="GET").status == 404


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
def test_the_keys_are_only_read(method):
    answer = ask(application(signer=Signer(["one"])), path=KEY_SET, method=method)
    assert (answer.status, answer.headers["allow"]) == (405, "GET, HEAD")
