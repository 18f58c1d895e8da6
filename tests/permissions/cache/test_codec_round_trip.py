"""A snapshot that went through the second layer is the one that was put in: field for field, decision for decision."""

from __future__ import annotations

import dataclasses
import pickle
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from permissions.cache import codec
from permissions.cache.codec_seal import key_of
from permissions.engine.attributes import MAX_DEPTH
from permissions.engine.compile import compile_table
from permissions.engine.evaluate import allowed_codes, evaluate
from permissions.engine.scopes import build_resource
from permissions.engine.types import BindingFact, ResourceFacts, ResourceNodeFact
from tests.permissions.cache.l2_cast import again, fields, head, of_world, random_world, resource, subject
from tests.properties import worlds

LANGUAGE = worlds.Language()
BLOCKS = 8
WORLDS_A_BLOCK = 250


@pytest.mark.timeout(300)
@pytest.mark.parametrize("block", range(BLOCKS))
def test_a_decoded_snapshot_decides_as_the_one_that_was_encoded(block):
    for number in range(WORLDS_A_BLOCK):
        world = random_world(f"second layer/{block}/{number}")
        table = compile_table(world.model, LANGUAGE)
        own, above = of_world(world)
        own_back = again(own)
        above_back = again(above) if above is not None else None
        assert fields(own_back) == fields(own), world
        assert above is None or above_back is None or fields(above_back) == fields(above), world
        last = world.now_us if own.until_us is None else own.until_us - 1
        for now_us in {world.now_us, last}:
            for code in {*world.codes, *worlds.QUESTIONS}:
                request = dataclasses.replace(world.request, permission=code)
                for superuser_allowed in (False, True):
                    asked = {"superuser_allowed": superuser_allowed}
                    expected = evaluate(table, own, above, request, now_us, **asked)
                    assert evaluate(table, own_back, above_back, request, now_us, **asked) == expected, world
            listed = allowed_codes(table, own, above, world.request, now_us)
            assert allowed_codes(table, own_back, above_back, world.request, now_us) == listed


def test_a_world_of_every_kind_was_among_them():
    """The property above says little about what its worlds never hold."""
    seen: dict[str, int] = {}
    for number in range(400):
        own, above = of_world(random_world(f"second layer/0/{number}"))
        held = [each for at_scope in own.lines.values() for each in at_scope]
        for name, is_there in {
            "team": bool(own.deps),
            "apart": bool(own.apart),
            "scoped": bool(own.scopes),
            "until": own.until_us is not None,
            "unknown": not own.known,
            "inactive": not own.is_active,
            "superuser": own.superuser,
            "condition": any(each.binding.condition for each in held),
            "obligation": any(each.binding.obligations for each in held),
            "direct": any(each.binding.role is None for each in held),
            "own": any(each.own for each in held),
            "of a team": any(not each.own for each in held),
            "not propagating": any(not each.binding.propagate for each in held),
            "standing": any(each.standing for each in own.apart),
            "private": above is not None and above.open_from > 0,
            "unknown resource": above is not None and not above.known,
        }.items():
            seen[name] = seen.get(name, 0) + is_there
    assert min(seen.values()) > 0, seen


TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
EXACT = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=12,
)


@settings(max_examples=300)
@given(st.dictionaries(TEXTS, EXACT, max_size=4))
def test_attributes_come_back_exactly(attributes):
    """repr tells 1, 1.0, True and -0.0 apart, and the order of keys."""
    assert repr(again(subject(attributes=attributes)).attributes) == repr(attributes)
    assert repr(again(resource(attributes=attributes)).attributes) == repr(attributes)


def nested(depth: int, leaf: Any = 1) -> dict[str, Any]:
    value = leaf
    for place in range(depth):
        value = {"in": value} if place % 2 else [value]
    return {"a": value}


@pytest.mark.parametrize(
    "attributes",
    [
        {"n": 2**64},
        {"n": -(2**63) - 1},
        {"n": [{"deep": 10**30}]},
        {"text": "\ud800"},
        {"\udfff": 1},
        {1: 2},
        {"a": (1, 2)},
        {"a": b"bytes"},
        {"a": {1, 2}},
        {"a": object()},
        nested(70),
        nested(5_000),
        {"a": type("Text", (str,), {})("x")},
        [1, 2],
        "text",
    ],
    ids=[str(number) for number in range(15)],
)
def test_what_an_array_cannot_hold_exactly_is_not_stored(attributes):
    at = head()
    assert codec.encode(at, "s", subject(attributes=attributes), 7, 99) is None
    assert codec.encode(at, "r", resource(attributes=attributes), 7, 99) is None


def test_what_a_condition_may_still_look_at_is_deep_enough_to_be_stored():
    for depth in (0, 1, MAX_DEPTH - 1, MAX_DEPTH, MAX_DEPTH + 1):
        assert again(subject(attributes=nested(depth))).attributes == nested(depth)


def test_a_row_that_the_database_holds_in_another_shape_is_not_stored():
    odd: list[Any] = [
        BindingFact(1, "user:alice", allow=("a:r", 7), condition="x"),  # type: ignore[arg-type]  # as raw SQL may leave it
        BindingFact(1, "user:alice", "editor", obligations=("duty",)),  # type: ignore[arg-type]  # the same
        BindingFact(1, "user:alice", "editor", condition="\ud800"),
        BindingFact(2**70, "user:alice", "editor", condition="x"),
    ]
    for binding in odd:
        assert codec.encode(head(), "s", subject(bindings=(binding,)), 7, 99) is None


def test_a_chain_that_was_cut_is_not_stored():
    cut = build_resource(ResourceFacts("message:3", chain=(ResourceNodeFact("", inherit=False), ResourceNodeFact("message:3"))))
    assert codec.encode(head(), "r", cut, 7, 99) is None


def test_a_value_above_the_bound_is_not_stored():
    large = {"text": "x" * codec.MAX_VALUE_BYTES}
    assert codec.encode(head(), "s", subject(attributes=large), 7, 99) is None
    fits = {"text": "x" * (codec.MAX_VALUE_BYTES - 500)}
    assert again(subject(attributes=fits)).attributes == fits


@pytest.mark.parametrize("ref", ["user:}:v1:00000000", "user:{x}", "用户:爱丽丝", "user:a b", "user:" + "é" * 500, "user:\x00"])
def test_any_id_that_is_unicode_has_a_key_of_its_own(ref):
    at = head()
    assert again(subject(ref), at).ref == ref
    assert again(resource(ref), at).ref == ref
    assert key_of(at, "s", ref) != key_of(at, "r", ref)


def test_one_role_set_is_one_object_after_decoding_too():
    own = subject()
    assert again(own).realm_roles is own.realm_roles


def test_a_value_is_a_hundredth_of_a_flattened_set_in_pickle():
    """The design's comparison: 5 roles, 5 scopes, against the pickled set of (code, scope) that they give."""
    ref = "user:1234567"
    bindings = [BindingFact(n, ref, f"role-{n:02}") for n in range(5)]
    bindings += [BindingFact(9 + n, ref, f"role-{n:02}", scope=f"server:{n}") for n in range(5)]
    made = codec.encode(head(), "s", subject(ref, bindings=tuple(bindings)), 7, 99)
    assert made is not None
    flattened = pickle.dumps({f"resource{n % 20}:action{n}" for n in range(1_000)})
    assert len(made[1]) * 100 <= len(flattened)
