"""Conditions: what they see, what their errors mean, whose attributes win."""

from __future__ import annotations

from typing import Any

import pytest

from permissions.conditions import cel
from permissions.engine.types import ConditionError, ConditionSyntaxError
from tests.permissions.engine.asking import ALICE, NOW, Realm, role

EDIT = "post:edit:own"


def reason(condition: str, *, resource: str | None = "post:7", stored: dict[str, Any] | None = None, **asked) -> str:
    realm = Realm(role("editor", EDIT)).bind(ALICE, "editor", condition=condition).tree("post:7", **asked.pop("of_resource", {}))
    return realm.subject(ALICE, attributes=stored or {}).reason(ALICE, EDIT, resource, **asked)


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        # empty, true, negated, false, error
        ("", "granted"),
        ("true", "granted"),
        ("!false", "granted"),
        ("!true", "condition_false"),
        ("context.mfa", "condition_error"),
        ("has(context.mfa) && context.mfa", "condition_false"),
        # a result that is not true or false is an error
        ("1", "condition_error"),
        ("'true'", "condition_error"),
        ("null", "condition_error"),
        ("subject", "condition_error"),
        # the names
        ("subject.type == 'user' && subject.id == 'alice' && subject.ref == 'user:alice'", "granted"),
        ("resource.type == 'post' && resource.id == '7' && resource.ref == 'post:7'", "granted"),
        ("permission == 'post:edit:own'", "granted"),
        ("action.name == 'edit:own'", "granted"),
        ("now == timestamp('2026-06-01T12:00:00Z')", "granted"),
        ("now.getHours() == 12 && now < timestamp('2026-06-01T12:00:01Z')", "granted"),
        # types do not mix
        ("1 == '1'", "condition_false"),
        ("1 < '2'", "condition_error"),
        ("1 + '1' == '11'", "condition_error"),
        ("9223372036854775807 + 1 > 0", "condition_error"),
        ("1 / 0 == 1", "condition_error"),
        # CEL's and, or take an error as undecided
        ("context.x || true", "granted"),
        ("true || context.x", "granted"),
        ("context.x && false", "condition_false"),
        ("[1, 2, 3].exists(v, v > 2)", "granted"),
        ("[1, 2, 3].all(v, v > 2)", "condition_false"),
        ("'edit' in ['edit', 'view']", "granted"),
    ],
)
def test_what_a_condition_says(condition, expected):
    assert reason(condition) == expected


def test_without_a_resource_it_is_the_realm():
    assert (
        reason("resource.type == 'realm' && resource.id == 'default' && resource.ref == 'realm:default'", resource=None)
        == "granted"
    )


def test_an_id_may_have_colons():
    realm = Realm(role("r", "repo:read")).bind(ALICE, "r", condition="resource.type == 'repo' && resource.id == 'openfga/x:1'")
    assert realm.ask(ALICE, "repo:read", "repo:openfga/x:1")


@pytest.mark.parametrize(
    ("asserted", "level", "badge"),
    [("fill", "1", "granted"), ("override", "9", "granted"), ("ignore", "1", "condition_error")],
)
def test_whose_attributes_win(asserted, level, badge):
    """Stored ones, unless the key says override; ignore drops what the caller brings."""
    brought = {"subject_properties": {"level": 9, "badge": "b"}, "asserted": asserted}
    assert reason(f"subject.attributes.level == {level}", stored={"level": 1}, **brought) == "granted"
    assert reason("subject.attributes.badge == 'b'", stored={"level": 1}, **brought) == badge
    resource = {"of_resource": {"level": 1}, "resource_properties": {"level": 9, "badge": "b"}, "asserted": asserted}
    assert reason(f"resource.attributes.level == {level}", **resource) == "granted"
    assert reason("resource.attributes.badge == 'b'", **resource) == badge
    assert reason("action.attributes.badge == 'b'", action_properties={"badge": "b"}, asserted=asserted) == badge


def test_a_nested_value_is_taken_whole_from_one_side():
    brought = {"address": {"city": "Rome"}}
    assert reason("has(subject.attributes.address.city)", stored={"address": {}}, subject_properties=brought) == "condition_false"


def test_whole_numbers_of_json_are_ints_up_to_64_bits():
    assert reason("context.n == 9223372036854775807", context={"n": 2**63 - 1}) == "granted"
    assert reason("context.n == -9223372036854775808", context={"n": -(2**63)}) == "granted"
    # Beyond, CEL would compare rounded doubles, and different numbers would be equal.
    assert reason("context.n == context.m", context={"n": 2**64, "m": 2**64 + 1}) == "condition_error"


@pytest.mark.parametrize("value", [{1, 2}, object(), "\ud800"])
def test_a_value_cel_cannot_hold_is_an_error(value):
    assert reason("has(context.v)", context={"v": value}) == "condition_error"


def test_a_value_nested_very_deep_is_an_error():
    deep: dict[str, Any] = {}
    for _ in range(500):
        deep = {"a": deep}
    assert reason("has(context.a)", context=deep) == "condition_error"


def test_conditions_of_binding_and_line_must_both_hold():
    for line, binding, expected in (
        ("true", "true", "granted"),
        ("true", "false", "condition_false"),
        ("context.x", "true", "condition_error"),
        ("context.x", "false", "condition_false"),
        ("false", "context.x", "condition_false"),
    ):
        realm = Realm(role("editor", (EDIT, line))).bind(ALICE, "editor", condition=binding)
        assert realm.reason(ALICE, EDIT) == expected


def test_a_stored_condition_that_no_longer_compiles_gives_nothing_and_breaks_nothing():
    realm = Realm(role("editor", (EDIT, "oops(")), role("viewer", "post:view")).bind(ALICE, "editor").bind(ALICE, "viewer")
    assert realm.reason(ALICE, EDIT) == "condition_error"
    assert realm.ask(ALICE, "post:view")


def test_the_instant_is_that_of_the_question():
    realm = Realm(role("r", ("post:view", "now >= timestamp('2026-06-01T12:00:00Z')"))).bind(ALICE, "r")
    assert realm.ask(ALICE, "post:view", now=NOW)
    assert realm.reason(ALICE, "post:view", now=NOW - 1) == "condition_false"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "empty"),
        ("true" + " " * 1_021, "1025 characters; at most 1024"),
        ("user.id == 'a'", "unknown name 'user'"),
        ("subject.id == 'a' && x", "unknown name 'x'"),
        ("[1].exists(x, true) && x == 1", "unknown name 'x'"),
        ("matches(subject.id, 'a')", "unknown function 'matches'"),
        ("subject.id.lower() == 'a'", "unknown function 'lower'"),
        ("max(1, 2) == 2", "unknown function 'max'"),
        ("[1].exists(x, [2].all(y, y > x))", "'all' stands inside 'exists'; a macro cannot hold another"),
        ("[[1]].map(x, x.filter(y, true)) == [[1]]", "'filter' stands inside 'map'"),
        ("[1].existsOne(x, [1].exists_one(y, true))", "'exists_one' stands inside 'existsOne'"),
        ("[1].all(subject, true)", "needs a name of its own, not 'subject'"),
        ("[1].all(x, y, true)", "unknown name 'y'"),
        ("[1].all(true)", "takes a variable and an expression"),
        ("context.l.map(x, context.l) == []", "inside map only its own variable"),
        ("context.l.map(x, [x]) == []", "inside map no list or map"),
        ("context.l.all(x, x.matches(context.p))", "inside a macro, matches takes one text"),
        ("context.l.all(x, x.matches('a{99}'))", "inside a macro, matches takes one text"),
        ("context.l.all(x, x in context.l + context.l + context.l + context.l + context.l + context.l)", "at most 4 '+'"),
        ("Point{x: 1} == 1", "unknown name 'Point'"),
        ("subject{x: 1} == 1", "messages such as Name{…} are not known"),
        ("true // always", "no comments"),
        ("'''a''' == 'a'", "triple quotes"),
        ("'a", "not closed"),
        ("'a\nb' == 'a'", "not closed"),
        ("(true", "not closed"),
        ("true)", "closes nothing"),
        ("[true)", "closes nothing"),
        (".subject.id == 'a'", "'.' must follow a value"),
        ("true true", "not a CEL expression"),
        ("true &", "cannot stand here"),
        ("a ß b", "cannot stand here"),
        ("true\x00", "cannot stand here"),
        ("(" * 13 + "true" + ")" * 13, "more than 12 brackets"),
        ("1" + "+1" * 101 + " > 0", "more than 100 operators"),
        ("!" * 101 + "true", "more than 100 operators"),
        ("context" + ".a" * 13, "more than 12 steps"),
        ("context" + "[0]" * 13, "more than 12 steps"),
    ],
)
def test_a_condition_that_cannot_be_saved_says_why(text, said):
    with pytest.raises(ConditionSyntaxError) as refusal:
        cel.language().compile(text)
    assert said in str(refusal.value)


@pytest.mark.parametrize(
    "text",
    [
        "true" + " " * 1_020,
        "[1].exists(x, x > 0) && [2].all(x, x > 0)",
        "context.l.filter(x, x.n > 1).exists(y, y.n == 2)",
        "context.l.map(x, x.id).exists(i, i == subject.id)",
        "has(resource.attributes.owner) && resource.attributes.owner == subject.id",
        "subject.id.matches('^a{1,3}.*$')",
        "subject.attributes['a b'].c[0] == -1",
        "type(context.n) == int && int('1') == 1 && double(1) == 1.0",
        "now - duration('1h') < now",
        r"subject.id != 'it\'s // \"no\" comment' && subject.id != r'\d'",
        'subject.id in ["a", "b"] ? true : false',
        "{'a': 1}.a == 1 && 0x1F == 31 && 1u == 1u && b'a' == b'a'",
        "(" * 12 + "true" + ")" * 12,
        "subject.map == 1 || subject.all == 2",
    ],
)
def test_a_condition_that_can_be_saved(text):
    assert cel.language().compile(text).text == text


def test_a_condition_is_compiled_once():
    assert cel.language().compile("subject.id == 'x'") is cel.language().compile("subject.id == 'x'")


def test_an_evaluation_without_its_names_is_an_error():
    with pytest.raises(ConditionError):
        cel.language().compile("subject.id == 'x'").evaluate({})


class PanicException(BaseException):
    """As the Rust library raises one: beside Exception, so that nothing catches it by chance."""


class _Failing:
    def __init__(self, error: BaseException) -> None:
        self.error = error

    def execute(self, names: object) -> bool:
        raise self.error


def test_a_panic_of_the_evaluator_is_an_error_of_the_condition():
    with pytest.raises(ConditionError, match="the evaluator failed"):
        cel.CelCondition("x", _Failing(PanicException("overflow"))).evaluate({})


def test_an_interrupt_is_not_swallowed():
    with pytest.raises(KeyboardInterrupt):
        cel.CelCondition("x", _Failing(KeyboardInterrupt())).evaluate({})
