"""The rows of a role table through the second layer: the same facts, the same table, bounded in size."""

from __future__ import annotations

import dataclasses
import zlib
from typing import Any, cast

import msgspec
import pytest

from permissions.cache import codec_model
from permissions.cache.codec_model import decode_model, encode_model, model_key
from permissions.cache.codec_seal import MAC_BYTES, Rejected, seal
from permissions.engine.types import BindingFact, GroupFact, ModelFacts, PermissionFact, RoleFact, RoleLineFact
from permissions.revisions import Head
from tests.permissions.cache.l2_cast import head, random_world


def large(roles: int, lines: int) -> ModelFacts:
    return ModelFacts(
        "default",
        permissions=tuple(PermissionFact(f"service{n}:action{n}") for n in range(lines)),
        roles=tuple(
            RoleFact(f"role{n}", lines=tuple(RoleLineFact("allow", f"service{k}:action{n}") for k in range(lines)))
            for n in range(roles)
        ),
    )


def cause(at: Head, value: bytes) -> str:
    with pytest.raises(Rejected) as refused:
        decode_model(at, model_key(at), value)
    return str(refused.value.cause)


def sealed(at: Head, body: Any) -> bytes:
    return seal(model_key(at), msgspec.msgpack.encode(body))


def test_random_models_come_back_equal():
    for number in range(400):
        model = random_world(f"model/{number}").model
        at = head()
        made = encode_model(at, model, 7, 99)
        assert made is not None
        built_rev, stamp, back = decode_model(at, *made)
        assert (built_rev, stamp) == (7, 99) and back == model and repr(back) == repr(model)


def defaults(fact: Any) -> dict[str, Any]:
    """A line of a role is a named tuple, the other records are dataclasses."""
    if isinstance(fact, tuple):
        return cast("Any", fact)._field_defaults
    return {field.name: field.default for field in dataclasses.fields(fact)}


def test_every_field_of_the_facts_travels():
    """A field that is added to a record and forgotten here would come back as its default."""
    model = ModelFacts(
        "default",
        "overlay",
        {"channel": "deny_overrides"},
        "everyone",
        True,
        (PermissionFact("a:r", ("b:r",), True, True),),
        (GroupFact("g", ("a:*",)),),
        (RoleFact("r", ("p",), ("g",), (RoleLineFact("deny", "a:r", "x"),), 1, 2, ({"id": "d", "type": "t"},)),),
        (BindingFact(3, "user:*", None, ("a:r",), ("b:r",), "server:1", "x", 1, 2, False, ({"id": "d", "type": "t"},)),),
    )
    facts: tuple[Any, ...] = (model, *model.permissions, *model.groups, *model.roles, *model.roles[0].lines, *model.everyone)
    for fact in facts:
        for name, default in defaults(fact).items():
            if default is not dataclasses.MISSING and name != "role":
                assert getattr(fact, name) != default, name
    at = head()
    made = encode_model(at, model, 7, 99)
    assert made is not None and decode_model(at, *made)[2] == model


def test_a_large_one_is_compressed_and_a_small_one_is_not():
    at = head()
    made, small = encode_model(at, large(20, 200), 7, 99), encode_model(at, large(1, 1), 7, 99)
    assert made is not None and small is not None
    assert decode_model(at, *made)[2] == large(20, 200)
    assert len(made[1]) * 3 < len(msgspec.msgpack.encode(msgspec.to_builtins(large(20, 200)))) and b"role0" in small[1]


def test_one_above_the_bounds_is_not_stored(monkeypatch):
    at = head()
    monkeypatch.setattr(codec_model, "MAX_ROWS_BYTES", 10_000)
    assert encode_model(at, large(20, 200), 7, 99) is None
    monkeypatch.undo()
    monkeypatch.setattr(codec_model, "MAX_MODEL_BYTES", 1_000)
    assert encode_model(at, large(20, 200), 7, 99) is None


def test_a_value_that_inflates_beyond_the_bound_is_refused(monkeypatch):
    at = head()
    made = encode_model(at, large(20, 200), 7, 99)
    assert made is not None and len(made[1]) < 100_000
    monkeypatch.setattr(codec_model, "MAX_ROWS_BYTES", 100_000)
    assert cause(at, made[1]) == "shape"
    bomb = zlib.compress(b"\x00" * 10_000_000)
    assert cause(at, sealed(at, [1, bytes.fromhex(at.epoch), 7, 99, "model", True, bomb])) == "shape"


def test_compressed_rows_that_are_cut_or_followed_by_more_are_refused():
    at = head()
    made = encode_model(at, large(20, 200), 7, 99)
    assert made is not None
    body = msgspec.msgpack.decode(made[1][MAC_BYTES:])
    for rows in (body[6][:-1], body[6] + b"x", b"", b"garbage", zlib.compress(b"\xc0")):
        assert cause(at, sealed(at, [*body[:6], rows])) == "shape"


def test_forged_and_foreign_ones_are_refused():
    at = head()
    made = encode_model(at, large(2, 2), 7, 99)
    assert made is not None
    _, value = made
    assert cause(at, value[:-1] + bytes([value[-1] ^ 1])) == "mac"
    assert cause(dataclasses.replace(at, realm_id=at.realm_id + 1), value) == "mac"
    assert cause(dataclasses.replace(at, epoch=at.epoch[:8] + "0" * 24), value) == "epoch"
    assert cause(dataclasses.replace(at, name="renamed"), value) == "id"
    assert cause(at, b"") == "length"


def test_words_that_the_law_does_not_know_are_refused():
    at = head()
    made = encode_model(at, large(1, 1), 7, 99)
    assert made is not None
    body = msgspec.msgpack.decode(made[1][MAC_BYTES:])
    rows = msgspec.msgpack.decode(body[6])
    for place, wrong in ((1, "allow_all"), (2, {"channel": "x"}), (3, "maybe"), (4, 1), (4, None), (5, [["a:r", [], 1, False]])):
        odd = msgspec.msgpack.encode([*rows[:place], wrong, *rows[place + 1 :]])
        assert cause(at, sealed(at, [*body[:6], odd])) == "shape"
    rows[7][0][3][0][0] = "permit"
    assert cause(at, sealed(at, [*body[:6], msgspec.msgpack.encode(rows)])) == "shape"


def test_obligations_that_cannot_be_held_exactly_are_not_stored():
    for odd in (({"n": 2**64},), ({"t": "\ud800"},), ({"a": (1,)},), ("duty",)):
        model = ModelFacts("default", roles=(RoleFact("r", obligations=odd),))  # type: ignore[arg-type]  # as raw SQL may leave it
        assert encode_model(head(), model, 7, 99) is None
