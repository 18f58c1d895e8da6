"""Batches: defaults, semantics, errors that stay with their item, errors of the whole."""

from __future__ import annotations

from typing import Any

import pytest

from tests.permissions.authzen.wire import (
    ALICE,
    CHARLIE,
    EVALUATIONS,
    QUESTION,
    READ,
    RECORD,
    Answer,
    Table,
    application,
    ask,
)

YES: dict[str, Any] = {"subject": ALICE}
NO: dict[str, Any] = {"subject": CHARLIE}
BROKEN: dict[str, Any] = {"subject": {"type": "user"}}


def ask_batch(body: object, pdp: Table | None = None, **options: Any) -> Answer:
    return ask(application(pdp), body, path=EVALUATIONS, **options)


def decisions(body: object, pdp: Table | None = None) -> list[bool]:
    answer = ask_batch(body, pdp)
    assert answer.status == 200, answer.body
    assert list(answer.json) == ["evaluations"]
    return [item["decision"] for item in answer.json["evaluations"]]


def batch(items: list[Any], semantic: str | None = None, **defaults: Any) -> dict[str, Any]:
    body: dict[str, Any] = {"action": READ, "resource": RECORD, **defaults, "evaluations": items}
    return body if semantic is None else {**body, "options": {"evaluations_semantic": semantic}}


def test_answers_come_in_the_order_of_the_request_and_hold_nothing_else():
    answer = ask_batch(batch([YES, NO, YES]))
    assert answer.body == b'{"evaluations":[{"decision":true},{"decision":false},{"decision":true}]}'


@pytest.mark.parametrize("evaluations", [{}, {"evaluations": []}], ids=["absent", "empty"])
def test_without_items_it_is_a_single_evaluation(evaluations):
    assert ask_batch({**QUESTION, **evaluations}).body == b'{"decision":true}'
    assert ask_batch({"action": READ, "resource": RECORD, **evaluations}).status == 400


def test_an_empty_item_inherits_everything():
    assert decisions(batch([{}, {}], **QUESTION)) == [True, True]


def test_an_item_replaces_a_default_whole_and_merges_nothing():
    pdp = Table()
    body = batch(
        [{"resource": {"type": "record", "id": "record-2"}, "context": {"b": 2}}, {}],
        subject=ALICE,
        resource={**RECORD, "properties": {"status": "archived"}},
        context={"a": 1},
    )
    assert decisions(body, pdp) == [True, True]
    first, second = pdp.asked
    assert (first.resource, first.resource_properties, first.context) == ("record:record-2", {}, {"b": 2})
    assert (second.resource_properties, second.context) == ({"status": "archived"}, {"a": 1})


@pytest.mark.parametrize("default", [{}, None, 5, "x", [], {"type": 5}], ids=repr)
def test_a_default_that_every_item_replaces_is_never_looked_at(default):
    body = {"subject": ALICE, "action": READ, "resource": default, "context": {}, "evaluations": [{"resource": RECORD}]}
    assert decisions(body) == [True]


def test_defaults_may_be_missing_where_every_item_has_its_own():
    assert decisions({"evaluations": [QUESTION, {**QUESTION, **NO}]}) == [True, False]


@pytest.mark.parametrize(
    ("item", "message"),
    [
        ({}, "evaluations[1].subject is missing"),
        ({"subject": None}, "evaluations[1].subject must be an object, not null"),
        ({"subject": {"type": "user"}}, "evaluations[1].subject.id is missing"),
        ({"subject": {"type": "user", "id": 1}}, "evaluations[1].subject.id must be a string, not a number"),
        ({**YES, "context": []}, "evaluations[1].context must be an object, not an array"),
        ({**YES, "context": None}, "evaluations[1].context must be an object, not null"),
        ({**YES, "action": {"name": "*"}}, "evaluations[1]."),
        ({**YES, "resource": {"type": "record", "id": "*"}}, "evaluations[1].resource.id"),
        ({**YES, "resource": {**RECORD, "properties": {"parent": 5}}}, "evaluations[1].resource.properties.parent"),
        ({**YES, "context": {"x": [0] * 1_001}}, "evaluations[1].context.x has 1001 entries"),
        (None, "evaluations[1] must be an object, not null"),
        ("x", "evaluations[1] must be an object, not a string"),
        ([], "evaluations[1] must be an object, not an array"),
    ],
)
def test_a_broken_item_is_denied_and_the_others_are_answered(item, message):
    answer = ask_batch(batch([YES, item, NO]))
    assert answer.status == 200
    first, broken, last = answer.json["evaluations"]
    assert (first, last) == ({"decision": True}, {"decision": False})
    assert broken["decision"] is False
    assert broken["context"]["error"]["status"] == 400
    assert broken["context"]["error"]["message"].startswith(message)


def test_a_batch_of_broken_items_is_still_answered():
    assert decisions(batch([BROKEN, 5])) == [False, False]


@pytest.mark.parametrize(
    ("semantic", "items", "expected"),
    [
        ("execute_all", [YES, NO, YES], [True, False, True]),
        ("execute_all", [BROKEN, YES], [False, True]),
        ("deny_on_first_deny", [YES, NO, YES], [True, False]),
        ("deny_on_first_deny", [NO, YES], [False]),
        ("deny_on_first_deny", [YES, YES], [True, True]),
        ("deny_on_first_deny", [YES, BROKEN, NO], [True, False]),
        ("deny_on_first_deny", [BROKEN], [False]),
        ("permit_on_first_permit", [NO, YES, NO], [False, True]),
        ("permit_on_first_permit", [YES, NO], [True]),
        ("permit_on_first_permit", [NO, NO], [False, False]),
        ("permit_on_first_permit", [NO, BROKEN, YES, YES], [False, False, True]),
        ("permit_on_first_permit", [BROKEN], [False]),
    ],
)
@pytest.mark.parametrize("is_warm", [True, False], ids=["warm", "cold"])
def test_the_semantics_cut_after_the_item_that_decides(semantic, items, expected, is_warm):
    assert decisions(batch(items, semantic), Table(is_warm=is_warm)) == expected


def test_nothing_after_a_broken_item_is_asked_when_the_first_deny_ends_it():
    pdp = Table()
    decisions(batch([YES, BROKEN, YES, YES], "deny_on_first_deny"), pdp)
    assert len(pdp.asked) == 1


def test_unknown_options_are_ignored():
    assert decisions({**batch([YES]), "options": {"evaluations_semantic": "execute_all", "parallel": {"x": 1}}}) == [True]
    assert decisions({**batch([YES]), "options": {}}) == [True]


@pytest.mark.parametrize("options", [None, [], "execute_all", 5, True], ids=repr)
def test_options_are_an_object(options):
    answer = ask_batch({**batch([YES]), "options": options})
    assert (answer.status, answer.json.startswith("options must be an object")) == (400, True)


@pytest.mark.parametrize("semantic", ["", "Execute_all", "execute-all", "first", None, 5, ["execute_all"], {}], ids=repr)
def test_an_unknown_semantic_is_an_error_of_the_whole(semantic):
    answer = ask_batch({**batch([YES]), "options": {"evaluations_semantic": semantic}})
    assert answer.status == 400
    assert "evaluations_semantic" in answer.json


@pytest.mark.parametrize("evaluations", [None, {}, "x", 5, False], ids=repr)
def test_evaluations_are_an_array(evaluations):
    answer = ask_batch({**QUESTION, "evaluations": evaluations})
    assert answer.status == 400
    assert answer.json.startswith("evaluations must be an array")


def test_a_thousand_items_pass_and_one_more_does_not():
    pdp = Table()
    assert len(decisions(batch([YES] * 1_000), pdp)) == 1_000
    answer = ask_batch(batch([YES] * 1_001), pdp)
    assert answer.status == 400
    assert "evaluations has 1001 items" in answer.json
    assert len(pdp.asked) == 1_000


def test_each_item_that_asks_for_reasons_gets_its_own():
    answer = ask_batch(batch([YES, {**NO, "context": {"explain": True}}, YES]))
    plain, explained, last = answer.json["evaluations"]
    assert (plain, last) == ({"decision": True}, {"decision": True})
    assert explained == {"decision": False, "context": {"reason": "no_grant", "path": [{"role": "reader"}]}}


def test_a_repeated_name_is_an_error_of_the_whole():
    body = b'{"action": {"name": "read"}, "evaluations": [{"subject": {"type": "user", "type": "user", "id": "x"}}]}'
    assert ask_batch(body).status == 400


def test_a_token_of_another_realm_is_an_error_of_the_whole():
    answer = ask_batch(batch([YES, YES]), headers=[("X-Permission-Token", "foreign")])
    assert answer.status == 400
