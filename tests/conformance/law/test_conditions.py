"""Section "Conditions"."""

from __future__ import annotations

import datetime as dt
import json
from typing import Any

import pytest

from permissions import pdp
from tests.conformance.law.world import FUTURE, holds, law, malformed, refuses

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.both_databases]


def world(*conditions: str) -> str:
    """user:u<n> holds doc:read:all under condition n."""
    lines = [f'{{subject: "user:u{n}", allow: ["doc:*"], condition: {json.dumps(text)}}}' for n, text in enumerate(conditions)]
    return (
        'permissions: [{code: "doc:read:all"}]\n'
        'resources: [{id: "doc:a:b", attributes: {owner: "user:u0", n: 3, tags: [x, y], deep: {k: [1, 2]}}}]\n'
        f"bindings: [{', '.join(lines)}]\n"
    )


def outcomes(conditions: dict[str, str], resource: str | None = "doc:a:b", **options: Any) -> None:
    """Each condition gives its reason; every other door agrees."""
    law(world(*conditions))
    table = "\n".join(f"user:u{n} doc:read:all {resource or '-'} = {reason}" for n, reason in enumerate(conditions.values()))
    holds(table, **options)


def test_a_condition_speaks_of_who_asks_what_for_and_where() -> None:
    outcomes(
        {
            "subject.type == 'user' && subject.id == 'u0' && subject.ref == 'user:u0'": "granted",
            "resource.type == 'doc' && resource.id == 'a:b' && resource.ref == 'doc:a:b'": "granted",
            "permission == 'doc:read:all'": "granted",
            "action.name == 'read:all'": "granted",
            "resource.attributes.owner == 'user:u0'": "granted",
            "resource.attributes.owner == subject.ref": "condition_false",
            "context.ip.startsWith('10.')": "granted",
            "'x' in resource.attributes.tags": "granted",
            "resource.attributes.deep.k[1] == 2": "granted",
            "has(resource.attributes.nothing)": "condition_false",
            "context.list.exists(item, item == 2)": "granted",
            "context.list.all(item, item > 0) && context.list.map(item, item + 1)[0] == 2": "granted",
            "context.list.filter(item, item > 1).size() == 1": "granted",
            "context.list.exists_one(item, item == 1)": "granted",
            "context.list.all(item, item > 1)": "condition_false",
            "size(context.ip) == 8": "granted",
            "now > timestamp('2020-01-01T00:00:00Z')": "granted",
            "true": "granted",
            "false": "condition_false",
        },
        context={"ip": "10.0.0.1", "list": [1, 2]},
    )


def test_without_a_resource_it_speaks_of_the_realm() -> None:
    outcomes(
        {
            "resource.type == 'realm' && resource.id == 'default' && resource.ref == 'realm:default'": "granted",
            "resource.attributes.owner == 'x'": "condition_error",
        },
        None,
    )


def test_whole_numbers_are_ints_and_other_types_are_never_equal() -> None:
    outcomes(
        {
            "context.one == 1": "granted",
            "context.one == '1'": "condition_false",
            "context.half == 0.5": "granted",
            "context.yes == 1": "condition_false",
            "context.yes == true": "granted",
            "context.nil == null": "granted",
            "context.nil == false": "condition_false",
            "context.big == 9007199254740993": "granted",
            "resource.attributes.n == 3": "granted",
            "context.one + 1 == 2": "granted",
            "context.one + 1.0 == 2.0": "condition_error",
            "context.one in [1, 2]": "granted",
            "context.map == {'a': 1}": "granted",
            "context.neg == -1": "granted",
        },
        context={"one": 1, "half": 0.5, "yes": True, "nil": None, "big": 9007199254740993, "map": {"a": 1}, "neg": -1},
    )


def test_an_error_gives_no_allow() -> None:
    outcomes(
        {
            "context.missing == 1": "condition_error",
            "context.text > 1": "condition_error",
            "context.text": "condition_error",
            "context.one": "condition_error",
            "context.nothing": "condition_error",
            "context.one / 0 == 1": "condition_error",
            "context.list[9] == 1": "condition_error",
            "subject.attributes.dept == 'x'": "condition_error",
            "context.text.matches('[')": "condition_error",
            "false && context.missing == 1": "condition_false",
            "true || context.missing == 1": "granted",
            "context.missing == 1 || true": "granted",
            "timestamp(context.text) < now": "condition_error",
        },
        context={"text": "yes", "one": 1, "list": [1], "nothing": None},
    )


def test_an_error_in_a_denys_condition_denies() -> None:
    law(
        """
        roles: [{name: barring, deny: [{code: "p:a", condition: "context.missing == 1"}]}]
        bindings:
          - {subject: "user:*", allow: ["p:*"]}
          - {subject: "user:direct", deny: ["p:a"], condition: "context.missing == 1"}
          - {subject: "user:role", role: barring}
          - {subject: "user:text", deny: ["p:a"], condition: "context.text"}
          - {subject: "user:false", deny: ["p:a"], condition: "context.text == 'no'"}
          - {subject: "user:true", deny: ["p:a"], condition: "context.text == 'yes'"}
          - {subject: "user:both", deny: ["p:a"], condition: "context.missing == 1"}
          - {subject: "user:both", deny: ["p:a"]}
        """,
    )
    holds(
        """
        user:direct p:a - = condition_error
        user:role p:a - = condition_error
        user:text p:a - = condition_error
        user:false p:a - = granted
        user:true p:a - = explicit_deny
        user:both p:a - = explicit_deny
        """,
        context={"text": "yes"},
    )


def test_one_good_allow_is_enough_beside_erring_and_false_ones() -> None:
    law(
        """
        bindings:
          - {subject: "user:u", allow: ["p:a"], condition: "context.missing == 1"}
          - {subject: "user:u", allow: ["p:a"], condition: "false"}
          - {subject: "user:u", allow: ["p:a"], condition: "true"}
        """,
        "user:u p:a - = granted",
    )


LONG = "context.a == '" + "x" * (1024 - len("context.a == ''")) + "'"


BAD_CONDITIONS = [
    "1 +",
    "nobody.id == 'x'",
    "user == 'x'",
    "resources.id == 'x'",
    "nofunction(context.a)",
    "context.a.nofunction()",
    "context.a == 'unclosed",
    "[1, 2].all(x, [1].all(y, y == x))",
    "[1].map(x, [2].filter(y, y == x).size()).size() == 1",
    "context.a.exists(x, context.b.exists_one(y, x == y))",
    "x.all(y, y)",
    "__import__('os')",
    LONG + " ",
    "(" * 600 + "true" + ")" * 400,
    "(" * 500 + "true" + ")" * 500,
    "!" * 1000 + "true",
    "[" * 500 + "]" * 500 + " == []",
    "   ",
]


def test_a_bad_condition_cannot_be_saved() -> None:
    for text in BAD_CONDITIONS:
        for line in (
            f'bindings: [{{subject: "user:u", allow: ["p:a"], condition: {json.dumps(text)}}}]',
            f'roles: [{{name: r, permissions: [{{code: "p:a", condition: {json.dumps(text)}}}]}}]',
            f'roles: [{{name: r, deny: [{{code: "p:a", condition: {json.dumps(text)}}}]}}]',
        ):
            refuses(line, "condition")
        assert pdp.check("user:u", "p:a").reason == "unknown_subject"


def test_a_condition_of_just_the_longest_length_and_macros_side_by_side_can_be_saved() -> None:
    assert len(LONG) == 1024
    outcomes(
        {
            LONG: "condition_false",
            "context.l.all(x, x > 0) && context.l.exists(y, y == 1)": "granted",
            "'all(x, map(y, z))' == context.a": "condition_false",
            "context.l.exists(x, has(context.a) && x == 1)": "granted",
        },
        context={"a": "b", "l": [1]},
    )


def test_lists_and_maps_of_a_caller_hold_at_most_a_thousand_entries() -> None:
    law(world("context.l.size() == 1000", "size(context) > 0"))
    holds("user:u0 doc:read:all doc:a:b = granted", context={"l": list(range(1000))})
    for context in (
        {"l": list(range(1001))},
        {"deep": [{"l": list(range(1001))}]},
        {"m": {str(n): n for n in range(1001)}},
        {str(n): n for n in range(1001)},
    ):
        malformed("user:u0", "doc:read:all", "doc:a:b", context=context)
        for kind in ("subject", "resource", "action"):
            malformed("user:u0", "doc:read:all", "doc:a:b", **{f"{kind}_properties": context})


ATTRIBUTES = """
subjects: [{id: "user:u", attributes: {dept: sales}}]
resources: [{id: "doc:1", attributes: {state: open}}]
bindings:
  - {subject: "user:u", allow: ["doc:dept"], condition: "subject.attributes.dept == 'it'"}
  - {subject: "user:u", allow: ["doc:own"], condition: "subject.attributes.dept == 'sales'"}
  - {subject: "user:u", allow: ["doc:level"], condition: "subject.attributes.level == 9"}
  - {subject: "user:u", allow: ["doc:state"], condition: "resource.attributes.state == 'closed'"}
  - {subject: "user:u", allow: ["doc:size"], condition: "resource.attributes.size == 1"}
  - {subject: "user:u", allow: ["doc:soft"], condition: "action.attributes.soft == true"}
"""
ASSERTED: dict[str, Any] = {
    "subject_properties": {"dept": "it", "level": 9},
    "resource_properties": {"state": "closed", "size": 1},
    "action_properties": {"soft": True},
}


def test_stored_attributes_win_unless_the_key_overrides_and_ignore_takes_none() -> None:
    law(ATTRIBUTES)
    holds(
        """
        user:u doc:dept doc:1 = condition_false
        user:u doc:own doc:1 = granted
        user:u doc:level doc:1 = granted
        user:u doc:state doc:1 = condition_false
        user:u doc:size doc:1 = granted
        user:u doc:soft doc:1 = granted
        user:u doc:size doc:2 = granted
        user:u doc:state doc:2 = granted
        """,
        asserted="fill",
        **ASSERTED,
    )
    holds(
        """
        user:u doc:dept doc:1 = granted
        user:u doc:own doc:1 = condition_false
        user:u doc:level doc:1 = granted
        user:u doc:state doc:1 = granted
        user:u doc:size doc:1 = granted
        """,
        asserted="override",
        **ASSERTED,
    )
    holds(
        """
        user:u doc:dept doc:1 = condition_false
        user:u doc:own doc:1 = granted
        user:u doc:level doc:1 = condition_error
        user:u doc:state doc:1 = condition_false
        user:u doc:size doc:1 = condition_error
        """,
        asserted="ignore",
        **ASSERTED,
    )


def test_now_is_the_instant_of_the_question() -> None:
    law(
        world("now < timestamp('2090-01-01T00:00:00Z')", "now == timestamp('2090-06-01T00:00:00Z')", "now.getFullYear() == 2090"),
        "user:u0 doc:read:all - = granted",
    )
    holds(
        """
        user:u0 doc:read:all - = condition_false
        user:u1 doc:read:all - = granted
        user:u2 doc:read:all - = granted
        """,
        at=FUTURE,
    )
    holds("user:u1 doc:read:all - = condition_false", at=FUTURE + dt.timedelta(microseconds=1))


def test_answers_that_depend_on_context_are_not_remembered_for_another() -> None:
    law(world("context.ok == true"))
    for ok in (True, False, True, None, 1, "true"):
        assert pdp.check("user:u0", "doc:read:all", "doc:a:b", context={"ok": ok}).allowed is (ok is True)
    assert pdp.check("user:u0", "doc:read:all", "doc:a:b").reason == "condition_error"


def test_a_number_that_no_condition_can_hold_is_refused_before_it_is_stored() -> None:
    for number in ("9223372036854775808", "-9223372036854775809", "1" + "0" * 400):
        for attributes in (f"{{n: {number}}}", f"{{deep: [{{n: {number}}}]}}"):
            refuses(f'subjects: [{{id: "user:u", attributes: {attributes}}}]', "attributes", "64 bits")
            refuses(f'resources: [{{id: "doc:1", attributes: {attributes}}}]', "attributes", "64 bits")
    law(
        """
        subjects: [{id: "user:u", attributes: {max: 9223372036854775807, min: -9223372036854775808}}]
        bindings: [{subject: "user:u", allow: ["p:a"], condition: "subject.attributes.max - 1 > subject.attributes.min"}]
        """,
        "user:u p:a - = granted",
    )
