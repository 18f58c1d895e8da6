"""Plays the AuthZEN fact files through any transport; used by the tests and by `scripts/certify`. Standard library only."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

FACTS: Final = Path(__file__).parent.parent / "facts"
# The levels of the certification scenario; those of search belong to endpoints that are not offered yet.
OFFERED: Final = ("basic-core", "basic-properties", "batch-core", "batch-properties", "discovery")
LATER: Final = ("search-core", "search-properties")


@dataclass(frozen=True)
class Reply:
    """`headers`: names in lower case. `json` None: the body is not JSON."""

    status: int
    headers: Mapping[str, str]
    json: Any


# (method, path, headers, body) → reply; the transport adds the key.
Transport = Callable[[str, str, Mapping[str, str], bytes], Reply]
Case = dict[str, Any]


def facts(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((FACTS / f"{name}.json").read_text(encoding="utf-8"))
    return found


def cases(levels: tuple[str, ...] = OFFERED) -> list[Case]:
    return [case for case in facts("authzen_certification")["cases"] if case["level"] in levels]


def play(case: Case, send: Transport, base_url: str) -> str | None:
    """None, or what is wrong. A case that names `repeat` must say the same each time."""
    body = case["raw"].encode() if "raw" in case else json.dumps(case["body"]).encode() if "body" in case else b""
    headers = {**case.get("headers", {}), **case.get("send_header", {})}
    answers = set()
    for _ in range(case.get("repeat", 1)):
        reply = send(case["method"], case["path"], headers, body)
        for mistake in _mistakes(case, reply, base_url):
            return mistake
        answers.add(json.dumps(reply.json, sort_keys=True))
    return None if len(answers) == 1 else "the same request was answered differently"


def _mistakes(case: Case, reply: Reply, base_url: str) -> Iterator[str]:
    if reply.status != case["status"]:
        yield f"status {reply.status}, wanted {case['status']}: {reply.json}"
        return
    if "echo_header" in case and reply.headers.get(case["echo_header"].lower()) != case["send_header"][case["echo_header"]]:
        yield f"{case['echo_header']} is not echoed"
    if reply.status != 200:
        if not isinstance(reply.json, str):
            yield f"the body of an error must be a message string, not {reply.json!r}"
        return
    if reply.headers.get("content-type", "").partition(";")[0] != "application/json" or not isinstance(reply.json, dict):
        yield "the answer is no JSON object"
        return
    if "decision" in case:
        yield from _compare(reply.json, {"decision": case["decision"]})
    if "evaluations" in case:
        yield from _evaluations(reply.json, case["evaluations"])
    if case["level"] == "discovery":
        yield from _document(reply.json, case["json_has"], base_url)


def _compare(found: object, wanted: object) -> Iterator[str]:
    if found != wanted:
        yield f"answered {found}, wanted {wanted}"


def _evaluations(answer: dict[str, Any], wanted: list[bool | None]) -> Iterator[str]:
    items = answer.get("evaluations")
    if "decision" in answer or not isinstance(items, list) or len(items) != len(wanted):
        yield f"answered {answer}, wanted {len(wanted)} evaluations"
        return
    for item, decision in zip(items, wanted, strict=True):
        if not isinstance(item.get("decision"), bool) or decision not in (None, item["decision"]):
            yield f"answered {[item.get('decision') for item in items]}, wanted {wanted}"


def _document(document: dict[str, Any], names: list[str], base_url: str) -> Iterator[str]:
    for name in names:
        if name not in document:
            yield f"lacks {name}"
    if document.get("policy_decision_point") != base_url:
        yield f"policy_decision_point is {document.get('policy_decision_point')!r}, not {base_url!r}"
    for name, value in document.items():
        if name.endswith("_endpoint") and not str(value).startswith(f"{base_url}/"):
            yield f"{name} {value!r} is not below {base_url!r}"
    capabilities = document.get("capabilities", [])
    if not isinstance(capabilities, list) or not all(isinstance(name, str) for name in capabilities):
        yield "capabilities must be a list of strings"


def todo_cases() -> Iterator[tuple[str, Any, Any]]:
    """(path, request, expected answer, to the letter) of the todo scenario: its runner compares whole answers."""
    scenario = facts("authzen_todo")
    for check in scenario["checks"]:
        yield "/access/v1/evaluation", check["request"], {"decision": check["expect"]}
    for batch in scenario["batches"]:
        yield "/access/v1/evaluations", batch["request"], {"evaluations": [{"decision": wanted} for wanted in batch["expect"]]}


def play_todo(send: Transport) -> list[str]:
    """What is wrong, a line a case; empty when all is right."""
    mistakes = []
    for path, request, wanted in todo_cases():
        reply = send("POST", path, {"Content-Type": "application/json"}, json.dumps(request).encode())
        if (reply.status, reply.json) != (200, wanted):
            mistakes.append(f"{json.dumps(request)}: {reply.status} {reply.json}, wanted {wanted}")
    return mistakes
