"""What a line says, and what it never says."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from permissions.decision_log.buffer import LEFT_OUT, Entry
from permissions.decision_log.lines import hashed, line_of, lines_of
from permissions.decision_log.options import Options, options_of
from permissions.engine.types import Decision

AT_US = 1_767_225_600_123_456
PLAIN = options_of({"sink": "file"})


def entry(**more: Any) -> Entry:
    given: dict[str, Any] = {
        "realm": "default",
        "epoch": "e" * 32,
        "subject": "user:ann",
        "permission": "post:read",
        "resource": "post:7",
        "decision": Decision(True, "granted", 42, "redis"),
        "at_us": AT_US,
        "slack_us": 0,
        "asserted": "fill",
        "given": b"",
        "is_superuser_allowed": False,
        "is_uncommitted": False,
    }
    return Entry(**given | more)


def line(made: Entry, options: Options = PLAIN) -> dict[str, Any]:
    text = line_of(made, "id-1", options)
    assert text.endswith(b"\n") and text.count(b"\n") == 1
    found: dict[str, Any] = json.loads(text)
    return found


def given(**parts: Any) -> bytes:
    names = ("context", "subject_properties", "resource_properties", "action_properties")
    return json.dumps([parts.get(name, {}) for name in names]).encode()


def test_a_plain_decision_is_these_fields_and_no_more() -> None:
    assert line(entry()) == {
        "v": 1,
        "id": "id-1",
        "at": "2026-01-01T00:00:00.123456Z",
        "realm": "default",
        "subject": "user:ann",
        "permission": "post:read",
        "resource": "post:7",
        "allowed": True,
        "reason": "granted",
        "revision": 42,
        "epoch": "e" * 32,
        "source": "redis",
    }


def test_what_is_out_of_the_ordinary_is_said() -> None:
    made = entry(
        decision=Decision(False, "no_grant", 1, "live", stale=True),
        slack_us=9,
        asserted="override",
        is_superuser_allowed=True,
        is_uncommitted=True,
    )
    said = line(made)
    assert (said["stale"], said["slack_us"], said["asserted"], said["superuser_allowed"], said["uncommitted"]) == (
        True,
        9,
        "override",
        True,
        True,
    )


def test_names_to_redact_are_so_at_any_depth_and_in_any_case() -> None:
    context = {"a": {"PassWord": "hunter2", "list": [{"token": "t0ken"}]}, "api_key": ["k3y"], "mfa": True}
    said = line(entry(given=given(context=context, subject_properties={"secret": {"x": "s3cret"}})))
    assert said["context"] == {
        "a": {"PassWord": "[redacted]", "list": [{"token": "[redacted]"}]},
        "api_key": "[redacted]",
        "mfa": True,
    }
    assert said["redacted"] == ["context.a.PassWord", "context.a.list.token", "context.api_key", "subject_properties.secret"]
    assert not any(word in json.dumps(said) for word in ("hunter2", "t0ken", "k3y", "s3cret"))


def test_hashes_hide_who_and_what_but_not_that_it_is_the_same() -> None:
    options = replace(PLAIN, hash_subjects=True, hash_resources=True)
    made = entry(given=given(context={"n": 1}, subject_properties={"mail": "ann@x"}, resource_properties={"title": "ann's"}))
    said = line(made, options)
    assert said["hashed"] == ["subject", "resource"] and said["omitted"] == ["subject_properties", "resource_properties"]
    assert said["subject"].startswith("user:#") and said["resource"].startswith("post:#")
    assert "ann" not in json.dumps(said)
    assert line(made, options)["subject"] == said["subject"] == hashed("default", "subject", "user:ann")
    assert hashed("other", "subject", "user:ann") != said["subject"]
    assert hashed("default", "resource", "user:ann") != said["subject"]
    assert hashed("default", "subject", "user:ann", "another secret") != said["subject"]


def test_too_much_and_what_makes_no_json_is_left_out_and_said() -> None:
    assert line(entry(given=given(context={"text": "x" * 20_000})))["omitted"] == ["attributes"]
    assert line(entry(given=LEFT_OUT))["omitted"] == ["attributes"]


def test_one_that_makes_no_line_costs_no_other() -> None:
    lines, broken = lines_of([entry(), entry(subject="user:\ud800"), entry()], "p", 5, PLAIN)
    assert [json.loads(text)["id"] for text in lines] == ["p-5", "p-7"] and broken == 1


@pytest.mark.parametrize("text", ["line\nfeed", "\u2028", '"quote"', "\x1f", "名"])
def test_no_text_breaks_a_line(text: str) -> None:
    assert line(entry(subject=f"user:{text}"))["subject"] == f"user:{text}"


@pytest.mark.parametrize("name", ["größe", 'quo"te', "back\\slash", "İ", "a\nb"])
def test_a_name_of_any_spelling_is_redacted(name: str) -> None:
    options = options_of({"sink": "file", "redact": (name,)})
    for text in (json.dumps([{name: "s3cret"}, {}, {}, {}]), json.dumps([{name: "s3cret"}, {}, {}, {}], ensure_ascii=False)):
        assert "s3cret" not in json.dumps(line(entry(given=text.encode()), options))


def test_an_escaped_name_is_redacted_too() -> None:
    assert "s3cret" not in json.dumps(line(entry(given=b'[{"\\u0070assword": "s3cret"},{},{},{}]')))


def test_what_needs_no_redaction_is_the_same_either_way() -> None:
    context = {"n": 1.5, "big": 2**70, "text": 'a "quoted" ☃ \\ \n', "list": [{"x": None}]}
    plain = line(entry(given=given(context=context)), options_of({"sink": "file", "redact": ()}))
    assert plain["context"] == context == line(entry(given=given(context=context)))["context"]
    assert "subject_properties" not in plain
