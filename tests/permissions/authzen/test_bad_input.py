"""Bad input: every wrong thing at every place is a 400 that names it, is asked of nobody, and is never a 500."""

from __future__ import annotations

import copy
import json
import random
from typing import Any

import pytest

from tests.permissions.authzen.wire import ALICE, QUESTION, READ, RECORD, Table, application, ask

WRONG: list[Any] = [None, True, 0, 1.5, "text", [], ["x"], {}, {"x": {}}]
FULL: dict[str, Any] = {
    "subject": {**ALICE, "properties": {"a": 1}},
    "action": {**READ, "properties": {"a": 1}},
    "resource": {**RECORD, "properties": {"a": 1}},
    "context": {"a": 1},
}
OBJECTS = ["subject", "action", "resource", "context", "subject.properties", "action.properties", "resource.properties"]
STRINGS = ["subject.type", "subject.id", "action.name", "resource.type", "resource.id"]


def put(place: str, value: Any) -> dict[str, Any]:
    body = copy.deepcopy(FULL)
    target = body
    *path, last = place.split(".")
    for name in path:
        target = target[name]
    target[last] = value
    return body


def refused(body: object, *words: str, **options: Any) -> str:
    pdp = Table()
    answer = ask(application(pdp), body, **options)
    assert answer.status == 400, answer.body
    assert answer.headers["content-type"] == "application/json"
    assert not pdp.asked
    message = answer.json
    assert isinstance(message, str)
    for word in words:
        assert word in message
    return message


@pytest.mark.parametrize("place", OBJECTS)
@pytest.mark.parametrize("value", [v for v in WRONG if not isinstance(v, dict)], ids=repr)
def test_what_must_be_an_object_is_nothing_else(place, value):
    refused(put(place, value), f"{place} must be an object")


@pytest.mark.parametrize("place", STRINGS)
@pytest.mark.parametrize("value", [v for v in WRONG if not isinstance(v, str)], ids=repr)
def test_what_must_be_a_string_is_nothing_else(place, value):
    refused(put(place, value), f"{place} must be a string")


@pytest.mark.parametrize("place", ["subject", "action", "resource", *STRINGS])
def test_what_is_needed_must_be_there(place):
    body = put(place, 0)
    target = body
    *path, last = place.split(".")
    for name in path:
        target = target[name]
    del target[last]
    refused(body, f"{place} is missing")


@pytest.mark.parametrize("place", STRINGS)
@pytest.mark.parametrize(
    "value",
    ["", " ", " a", "a ", "\t", "a\nb", "\x00", "a\x7f", "\u0085", "e\u0301", "x" * 513],
    ids=ascii,
)
def test_texts_that_no_row_can_hold_are_refused(place, value):
    refused(put(place, value), place)


@pytest.mark.parametrize("place", ["subject.type", "resource.type"])
@pytest.mark.parametrize("value", ["a:b", ":", "a:", "*", "us*", "u?er"])
def test_a_type_holds_no_colon_and_no_wildcard(place, value):
    refused(put(place, value), place)


@pytest.mark.parametrize("place", ["subject.id", "resource.id"])
def test_everybody_is_not_an_id(place):
    refused(put(place, "*"), f"{place} must name one")


@pytest.mark.parametrize("place", ["subject.id", "resource.id"])
@pytest.mark.parametrize("value", ["a*", "**", "a:b", ":", "?", "é", "日本", "a b"])
def test_any_other_text_is_an_id(place, value):
    assert ask(application(), put(place, value)).status == 200


@pytest.mark.parametrize("value", ["*", "re*", "r?ad", "read:*", ":", "read:", ":read", "a::b"])
def test_an_action_is_concrete(value):
    refused(put("action.name", value))


@pytest.mark.parametrize("body", [b"", b" ", b"\n"], ids=repr)
def test_an_empty_body_is_refused(body):
    refused(body)


@pytest.mark.parametrize("value", [None, True, 5, "text", [], [FULL]], ids=repr)
@pytest.mark.parametrize("path", ["/access/v1/evaluation", "/access/v1/evaluations"])
def test_the_body_is_an_object(value, path):
    refused(value, "must be a JSON object", path=path)


GOOD = json.dumps(QUESTION).encode()


@pytest.mark.parametrize(
    "body",
    [
        b'{"subject": {',
        GOOD[:-1],
        GOOD + b"x",
        GOOD + b"{}",
        GOOD + b"\x00",
        GOOD.replace(b"}", b",}"),
        GOOD.replace(b'"', b"'"),
        b"\xef\xbb\xbf" + GOOD,
        json.dumps(QUESTION).encode("utf-16"),
        b"/* */" + GOOD,
        b"\x1f\x8b\x08\x00",
        b"subject=alice",
        b"]" * 100_000,
        b'"' * 50_001,
        b"\\" * 1001,
    ],
    ids=lambda body: repr(body[:16]),
)
def test_what_is_not_json_is_refused(body):
    refused(body)


@pytest.mark.parametrize(
    "value",
    [
        b'"\xff"',
        b'"\xc0\x80"',
        b'"\xed\xa0\x80"',
        b'"\\ud800"',
        b'"\\udc00\\ud800"',
        b'"\\ud83d"',
        b"NaN",
        b"Infinity",
        b"-Infinity",
        b"1e400",
        b"-1e400",
        b"9223372036854775808",
        b"-9223372036854775809",
        b"9" * 4301,
        b"01",
        b"1.",
        b"+1",
        b'"a\nb"',
    ],
    ids=lambda value: repr(value[:24]),
)
@pytest.mark.parametrize("place", ["context", "subject.properties", "action.properties", "resource.properties"])
def test_texts_and_numbers_that_no_json_carries_safely_are_refused(place, value):
    refused(json.dumps(put(place, {"list": [{"x": "HERE"}]})).encode().replace(b'"HERE"', value))


@pytest.mark.parametrize("value", [9223372036854775807, -9223372036854775808, 1e300, 5e-324, 0], ids=repr)
def test_numbers_at_the_edge_pass(value):
    assert ask(application(), put("context", {"x": value})).status == 200


@pytest.mark.parametrize(
    "body",
    [
        GOOD.replace(b'"subject":', b'"subject": {"type": "user", "id": "bob"}, "subject":'),
        GOOD.replace(b'"id": "alice"', b'"id": "bob", "id": "alice"'),
        GOOD.replace(b'"id": "alice"', b'"id": "alice", "i\\u0064": "alice"'),
        GOOD[:-1] + b', "foo": {"x": 1, "x": 1}}',
        GOOD[:-1] + b', "context": {"list": [{"a:b": 1, "a:b": 2}]}}',
        GOOD[:-1] + b', "context": {"quote": "\\"", "x": 1, "x": 2}}',
        GOOD[:-1] + b', "context": {"": 1, "": 2}}',
    ],
    ids=lambda body: repr(body[-40:]),
)
def test_a_member_name_stands_once(body):
    refused(body, "stands twice")


def test_colons_and_quotes_in_texts_are_no_repeated_names():
    body = put("context", {"a:b": "::", "c": 'x":"y', "d": "\\", "e": '"a":1,"a":1', "é:": "\u2028:"})
    assert ask(application(), body).status == 200
    assert ask(application(), json.dumps(body, ensure_ascii=False).encode()).status == 200


def nested(depth: int, opening: bytes, closing: bytes, inner: bytes = b"1") -> bytes:
    return opening * depth + inner + closing * depth


@pytest.mark.parametrize(("opening", "closing"), [(b"[", b"]"), (b'{"a":', b"}"), (b'[{"a":', b"}]")], ids=repr)
@pytest.mark.parametrize("member", ["context", "foo"])
def test_thirty_two_levels_pass_and_one_more_does_not(opening, closing, member):
    step = opening.count(b"[") + opening.count(b"{")
    prefix = GOOD[:-1] + f', "{member}": {{"x": '.encode()
    if member == "foo":
        prefix = GOOD[:-1] + b', "foo": [{"x": 0}, '
    suffix = b"}}" if member == "context" else b"]}"
    fits = (32 - 2) // step
    assert ask(application(), prefix + nested(fits, opening, closing) + suffix).status == 200
    refused(prefix + nested(fits + 1, opening, closing) + suffix, "deeper than 32")


@pytest.mark.parametrize("text", ['"]]]]"', '"[[[["', r'"\"]\\"', r'"\\"', '"{}[]"'])
def test_brackets_in_texts_do_not_hide_depth(text):
    deep = GOOD[:-1] + b', "foo": ' + nested(40, b"[", b"]", text.encode()) + b"}"
    refused(deep, "deeper than 32")
    spread = GOOD[:-1] + b', "foo": ' + (b"[" + text.encode() + b",") * 40 + b"1" + b"]" * 40 + b"}"
    refused(spread, "deeper than 32")


def test_many_brackets_in_texts_are_no_depth():
    assert ask(application(), put("context", {"x": "[{" * 500, "y": '\\"[' * 50})).status == 200


@pytest.mark.parametrize(
    "body", [b"[" * 500_000, b'{"a":' * 200_000, nested(300_000, b"[", b"]")], ids=["open", "object", "closed"]
)
def test_endless_depth_does_not_hurt(body):
    refused(body)


@pytest.mark.parametrize("place", ["context", "subject.properties", "action.properties", "resource.properties"])
@pytest.mark.parametrize("key", ["list", "map"])
def test_lists_and_maps_hold_a_thousand_entries(place, key):
    def entries(count: int) -> Any:
        return list(range(count)) if key == "list" else {str(n): n for n in range(count)}

    assert ask(application(), put(place, {"inner": [entries(1_000)]})).status == 200
    refused(put(place, {"inner": [entries(1_001)]}), f"{place}.inner[0] has 1001 entries")


def test_a_map_of_attributes_holds_a_thousand_entries_itself():
    refused(put("context", {str(n): n for n in range(1_001)}), "context has 1001 entries")


@pytest.mark.parametrize("value", ["server", "server:", ":7", "", 7, None, [], {"type": "server"}, "server:*"], ids=repr)
def test_a_parent_is_an_entity(value):
    refused(put("resource.properties", {"parent": value}), "resource.properties.parent")


@pytest.mark.parametrize("value", ["team:eng", None, {}, [1], [None], [""], [["team:eng"]]], ids=repr)
def test_teams_are_a_list_of_ids(value):
    refused(put("subject.properties", {"teams": value}), "subject.properties.teams")


@pytest.mark.parametrize("value", ["", "text/plain", "text/json", "application/x-www-form-urlencoded", "application/jsonp"])
def test_another_content_type_is_a_400_and_not_a_415(value):
    refused(QUESTION, "Content-Type must be application/json", content_type=value)


def test_no_content_type_is_refused():
    refused(QUESTION, "Content-Type", content_type=None)


@pytest.mark.parametrize("value", ["application/json; charset=latin-1", 'application/json;charset="utf-16"'])
def test_another_charset_is_refused(value):
    refused(QUESTION, "charset", content_type=value)


@pytest.mark.parametrize(
    "value",
    [
        "application/json; charset=utf-8",
        "application/json;charset=UTF-8",
        'Application/JSON; charset="utf-8"',
        "application/json; profile=x",
        " application/json ",
    ],
)
def test_json_by_its_other_spellings_is_accepted(value):
    assert ask(application(), content_type=value).status == 200


@pytest.mark.parametrize("path", ["/access/v1/evaluation", "/access/v1/evaluations"])
def test_a_damaged_body_is_refused_or_answered_but_never_a_fault(path):
    chance = random.Random(5)
    whole = json.dumps({**FULL, "evaluations": [{}, {"subject": ALICE}]}).encode()
    app = application()
    for _ in range(1_500):
        body = bytearray(whole)
        for _ in range(chance.randint(1, 6)):
            place = chance.randrange(len(body))
            body[place : place + chance.randint(0, 2)] = bytes([chance.randrange(256)]) * chance.choice([0, 1, 1, 40])
        assert ask(app, bytes(body), path=path).status in (200, 400), bytes(body)
