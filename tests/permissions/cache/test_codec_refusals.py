"""A value that was not written by us, for this key and in this layout, is refused with its cause and raises nothing else."""

from __future__ import annotations

import dataclasses
import random
import uuid
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from permissions.cache import codec, codec_seal
from permissions.cache.codec import decode, encode
from permissions.cache.codec_seal import MAC_BYTES, SCHEMA, Rejected, key_of, seal
from permissions.engine.types import BindingFact, MembershipFact
from permissions.revisions import Head
from tests.permissions.cache.l2_cast import fields, head, resource, subject

REF = "user:alice"


def written(at: Head, ref: str = REF, **more: Any) -> tuple[bytes, bytes]:
    made = encode(at, "s", subject(ref, **more), 7, 99)
    assert made is not None
    return made


def cause(at: Head, key: bytes, value: bytes, ref: str = REF, kind: Any = "s") -> str:
    with pytest.raises(Rejected) as refused:
        decode(at, kind, ref, key, value)
    return str(refused.value.cause)


def body_of(at: Head, **more: Any) -> list[Any]:
    found: list[Any] = msgspec.msgpack.decode(written(at, **more)[1][MAC_BYTES:])
    return found


def forged(at: Head, body: Any, kind: Any = "s") -> str:
    """The cause for an array that carries a good MAC: as a fault of our own might write it."""
    key = key_of(at, kind, REF)
    return cause(at, key, seal(key, msgspec.msgpack.encode(body)), kind=kind)


def test_one_changed_bit_anywhere_is_refused():
    at = head()
    key, value = written(at)
    for place in range(len(value) * 8):
        changed = bytearray(value)
        changed[place // 8] ^= 1 << place % 8
        assert cause(at, key, bytes(changed)) == "mac"


def test_every_shorter_and_a_longer_value_is_refused():
    at = head()
    key, value = written(at)
    for size in range(len(value)):
        assert cause(at, key, value[:size]) == ("length" if size < MAC_BYTES + 2 else "mac")
    assert cause(at, key, value + b"\x00") == "mac"
    assert cause(at, key, value[:1] * (codec.MAX_VALUE_BYTES + 1)) == "length"


@settings(max_examples=300)
@given(st.binary(max_size=200))
def test_garbage_is_refused(value):
    at = head()
    assert cause(at, key_of(at, "s", REF), value) in {"length", "mac"}


def test_a_value_of_another_key_is_refused():
    """Of another id, kind, realm or epoch: the whole key is under the MAC."""
    at = head()
    _, value = written(at)
    places = [
        (at, "s", "user:bob"),
        (at, "r", REF),
        (dataclasses.replace(at, realm_id=at.realm_id + 1), "s", REF),
        (dataclasses.replace(at, epoch=uuid.uuid4().hex), "s", REF),
    ]
    for other, kind, ref in places:
        assert cause(other, key_of(other, kind, ref), value, ref, kind) == "mac"  # type: ignore[arg-type]


def test_the_end_of_a_key_is_never_taken_for_the_beginning_of_a_body():
    at = head()
    key, value = written(at)
    mac, body = value[:MAC_BYTES], value[MAC_BYTES:]
    for size in range(1, len(key)):
        assert cause(at, key[:-size], mac + key[-size:] + body) == "mac"
        assert cause(at, key + body[:size], mac + body[size:]) == "mac"


def test_a_value_of_another_secret_is_refused(settings):
    at = head()
    key, value = written(at)
    settings.SECRET_KEY = "another-" * 8
    assert cause(at, key, value) == "mac"


def test_values_of_an_older_secret_count_while_it_is_a_fallback(settings):
    at = head()
    key, value = written(at)
    settings.SECRET_KEY, settings.SECRET_KEY_FALLBACKS = "another-" * 8, ["not-this-" * 8, settings.SECRET_KEY]
    assert decode(at, "s", REF, key, value).snapshot.ref == REF
    _, newer = written(at)
    assert newer[:MAC_BYTES] != value[:MAC_BYTES]
    settings.SECRET_KEY_FALLBACKS = []
    assert cause(at, key, value) == "mac" and decode(at, "s", REF, key, newer).snapshot.ref == REF


def test_the_key_is_derived_for_this_purpose_alone(settings):
    """Nobody who has something else signed by the same secret can use it here."""
    import hashlib
    import hmac

    at = head()
    key, value = written(at)
    secret = settings.SECRET_KEY.encode()
    told = b"%d:%b%b" % (len(key), key, value[MAC_BYTES:])
    plain = hashlib.blake2b(told, key=secret[:64], digest_size=MAC_BYTES).digest()
    token = hmac.new(secret, b"permsite.permission-token.v1", hashlib.sha256).digest()
    assert value[:MAC_BYTES] not in {plain, hashlib.blake2b(told, key=token, digest_size=MAC_BYTES).digest()}


def test_another_schema_is_told_apart(monkeypatch):
    at = head()
    body = body_of(at)
    assert forged(at, [SCHEMA + 1, *body[1:]]) == "schema"
    assert forged(at, [SCHEMA + 1, "of", "another", "layout"]) == "schema"
    key, value = written(at)
    monkeypatch.setattr(codec_seal, "SCHEMA", SCHEMA + 1)
    assert key_of(at, "s", REF) != key and cause(at, key, value) == "schema"


def test_another_epoch_and_another_id_are_told_apart():
    """Where eight digits of two epochs are the same, the whole epoch in the value decides."""
    at = head()
    twin = dataclasses.replace(at, epoch=at.epoch[:8] + uuid.uuid4().hex[8:])
    key, value = written(at)
    assert key_of(twin, "s", REF) == key and cause(twin, key, value) == "epoch"
    assert forged(at, [*body_of(at)[:4], "user:bob", *body_of(at)[5:]]) == "id"


WRONG: list[Any] = [None, True, -1, 2**70, 1.5, "text", b"bytes", [], {}, [None], {"": None}, ["a", 1], {"a": [99]}, [[0]], [-1]]


@pytest.mark.parametrize("kind", ["s", "r"])
def test_no_wrong_field_raises_anything_but_a_refusal(kind):
    """Each field replaced by each kind of thing, under a good MAC. Accepted is only what the field could have held."""
    at = head()
    if kind == "s":
        bindings = (
            BindingFact(1, REF, "editor"),
            BindingFact(2, REF, allow=("a:r",)),
            BindingFact(3, REF, valid_from_us=9, role="x"),
        )
        made = encode(at, "s", subject(bindings=bindings, memberships=(MembershipFact(REF, "team:x"),)), 7, 99)
    else:
        made = encode(at, "r", resource(REF, attributes={"a": 1}), 7, 99)
    assert made is not None
    key = made[0]
    body = msgspec.msgpack.decode(made[1][MAC_BYTES:])
    refused = accepted = 0
    for place in range(len(body)):
        for wrong in WRONG:
            if place == 9 and isinstance(wrong, int):
                continue
            changed = [*body[:place], wrong, *body[place + 1 :]]
            try:
                value = seal(key, msgspec.msgpack.encode(changed))
            except OverflowError:
                continue
            try:
                found = decode(at, kind, REF, key, value)
            except Rejected:
                refused += 1
            else:
                accepted += 1
                assert fields(found.snapshot)
    assert refused > 8 * accepted


def test_arrays_of_another_length_are_refused():
    at = head()
    body = body_of(at)
    for changed in (body[:-1], [*body, None], [], [SCHEMA], {"schema": SCHEMA}, "text", None, 7):
        assert forged(at, changed) in {"shape", "length"}
    key = key_of(at, "s", REF)
    assert cause(at, key, seal(key, msgspec.msgpack.encode(body) + b"\xc0")) == "shape"  # a trailing object


def test_role_sets_that_are_not_ours_are_refused():
    """Names that are not in order would be a second object for one set."""
    at = head()
    body = body_of(at)
    assert body[6] == ["editor", "viewer"] and body[7] == [0]
    for places in ([2], [-1], [0, 0], [1, 0]):
        assert forged(at, [*body[:7], places, *body[8:]]) == "shape"
    assert forged(at, [*body[:8], {"": [0]}, *body[9:]]) == "shape"
    assert forged(at, [*body[:8], {"server:7": []}, *body[9:]]) == "shape"


def test_attributes_that_are_no_json_are_refused():
    at = head()
    body = body_of(at)
    deep: Any = 1
    for _ in range(200):
        deep = [deep]
    for odd in ({"a": b"bytes"}, {"a": msgspec.msgpack.Ext(4, b"x")}, {"a": {1: 2}}, {"a": deep}):
        assert forged(at, [*body[:10], odd, *body[11:]]) == "shape"
    assert forged(at, [*body[:10], {1: "a"}, *body[11:]]) == "shape"


def test_what_nests_without_end_is_refused_and_no_stack_overflows():
    at = head()
    key = key_of(at, "s", REF)
    bomb = b"\x9d\x01" + b"\x91" * 500_000
    assert cause(at, key, seal(key, bomb)) == "shape"


def test_random_arrays_under_a_good_mac_raise_nothing_else():
    rnd = random.Random("arrays")
    at = head()
    key = key_of(at, "s", REF)
    body = written(at)[1][MAC_BYTES:]
    for _ in range(3_000):
        changed = bytearray(body)
        for _ in range(rnd.randrange(1, 4)):
            changed[rnd.randrange(len(changed))] = rnd.randrange(256)
        try:
            found = decode(at, "s", REF, key, seal(key, bytes(changed)))
        except Rejected:
            continue
        assert found.snapshot.ref == REF
