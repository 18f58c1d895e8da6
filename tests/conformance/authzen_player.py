"""Plays the AuthZEN fact files through any transport; used by the tests and by `scripts/certify`."""

from __future__ import annotations

import http.client
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import jwt

FACTS: Final = Path(__file__).parent.parent / "facts"
LEVELS: Final = (
    "basic-core",
    "basic-properties",
    "batch-core",
    "batch-properties",
    "search-core",
    "search-properties",
    "discovery",
)
# Each scenario has its bundle beside this file, and a key that treats what a request asserts as its rules need it.
WORLDS: Final = {"authzen_certification": "override", "authzen_todo": "fill", "authzen_idp": "fill"}
JSON: Final = {"Content-Type": "application/json"}
MAX_PAGES: Final = 100  # more than any world here has results


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


def cases(levels: tuple[str, ...] = LEVELS) -> list[Case]:
    return [case for case in facts("authzen_certification")["cases"] if case["level"] in levels]


def over_http(address: str, key: str) -> Transport:
    """`address`: http://host:port."""
    host = address.removeprefix("http://")

    def send(method: str, path: str, headers: Mapping[str, str], body: bytes) -> Reply:
        connection = http.client.HTTPConnection(host, timeout=20)
        try:
            connection.request(method, path, body, {**headers, "Authorization": f"Bearer {key}"})
            response = connection.getresponse()
            text = response.read()
        finally:
            connection.close()
        try:
            value = json.loads(text)
        except ValueError:
            value = None
        return Reply(response.status, {name.lower(): value for name, value in response.getheaders()}, value)

    return send


def play(case: Case, send: Transport, base_url: str) -> str | None:
    """None, or what is wrong. A case that names `repeat` must say the same each time."""
    answers = set()
    for _ in range(case.get("repeat", 1)):
        reply = _ask(case, send)
        for mistake in _mistakes(case, reply, send, base_url):
            return mistake
        answers.add(json.dumps(reply.json, sort_keys=True))
    return None if len(answers) == 1 else "the same request was answered differently"


def _ask(case: Case, send: Transport) -> Reply:
    body = case["raw"].encode() if "raw" in case else json.dumps(case["body"]).encode() if "body" in case else b""
    return send(case["method"], case["path"], {**case.get("headers", {}), **case.get("send_header", {})}, body)


def _mistakes(case: Case, reply: Reply, send: Transport, base_url: str) -> Iterator[str]:
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
    if "/search/" in case["path"]:
        yield from _search(case, reply.json, send)
    if case["level"] == "discovery":
        yield from _document(reply.json, case["json_has"], send, base_url)


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


def _search(case: Case, answer: dict[str, Any], send: Transport) -> Iterator[str]:
    kind = case["path"].rpartition("/")[2]
    results = answer.get("results")
    if not isinstance(results, list):
        yield f"results must be a list, not {results!r}"
        return
    yield from _entities(results, kind, case["body"])
    if "page" in case["body"]:
        yield from _pages(case, answer, send)
        return
    found = _names(results)
    if "results_exact" in case:
        yield from _compare(sorted(found), sorted(case["results_exact"]))
    if not set(case.get("results_include", ())) <= found:
        yield f"answered {sorted(found)}, wanted {case['results_include']} among them"
    if "same_as" in case:
        [other] = [other for other in cases() if other["id"] == case["same_as"]]
        yield from _compare(sorted(found), sorted(_names(_ask(other, send).json["results"])))


def _entities(results: list[Any], kind: str, body: dict[str, Any]) -> Iterator[str]:
    """Runners compare whole items: nothing may stand beside what names the entity."""
    wanted = {"name"} if kind == "action" else {"type", "id"}
    for result in results:
        if not isinstance(result, dict) or set(result) != wanted or not all(isinstance(value, str) for value in result.values()):
            yield f"the result {result} must have {sorted(wanted)}, all texts, and nothing else"
        elif kind != "action" and result["type"] != body[kind]["type"]:
            yield f"the result {result} is of another type than {body[kind]['type']!r}"
        elif result.get("id") == "*":
            yield "a result is everyone, which is no subject"


def _names(results: list[dict[str, Any]]) -> set[str]:
    return {result["name"] if "name" in result else result["id"] for result in results}


def _pages(case: Case, first: dict[str, Any], send: Transport) -> Iterator[str]:
    """Walks to the end. A follow-up names no limit, as the specification's own example has it: that of the token holds."""
    limit = case["body"]["page"]["limit"]
    found: list[dict[str, Any]] = []
    answer = first
    for _ in range(MAX_PAGES):
        token = answer.get("page", {}).get("next_token")
        if not isinstance(token, str):
            yield f"page.next_token must be a text, not {token!r}"
            return
        if len(answer["results"]) > limit:
            yield f"a page holds {len(answer['results'])} results where {limit} were asked for"
        found += answer["results"]
        if not token:
            break
        answer = _ask({**case, "body": {**case["body"], "page": {"token": token}}}, send).json
    else:
        yield f"there is no end after {MAX_PAGES} pages"
    whole = {name: value for name, value in case["body"].items() if name != "page"}
    yield from _compare(sorted(_names(found)), sorted(_names(_ask({**case, "body": whole}, send).json["results"])))


def _document(document: dict[str, Any], names: list[str], send: Transport, base_url: str) -> Iterator[str]:
    for name in names:
        if name not in document:
            yield f"lacks {name}"
    if document.get("policy_decision_point") != base_url:
        yield f"policy_decision_point is {document.get('policy_decision_point')!r}, not {base_url!r}"
    for name, value in document.items():
        if value in (None, "", []):
            yield f"{name} has no value, and must be left out"
        if name.endswith(("_endpoint", "_uri")) and not str(value).startswith(f"{base_url}/"):
            yield f"{name} {value!r} is not below {base_url!r}"
    capabilities = document.get("capabilities", [])
    if not isinstance(capabilities, list) or not all(isinstance(name, str) for name in capabilities):
        yield "capabilities must be a list of strings"
    if "signed_metadata" in document:
        yield from _signed(document, send, base_url)


def _signed(document: dict[str, Any], send: Transport, base_url: str) -> Iterator[str]:
    keys = jwt.PyJWKSet.from_dict(send("GET", document["jwks_uri"].removeprefix(base_url), {}, b"").json)
    signed = document["signed_metadata"]
    try:
        key = keys[jwt.get_unverified_header(signed)["kid"]]
        claims = jwt.decode(signed, key.key, algorithms=[key.algorithm_name], issuer=base_url, options={"require": ["iss"]})
    except (jwt.PyJWTError, KeyError) as error:
        yield f"signed_metadata does not verify: {error}"
        return
    told = {name: value for name, value in document.items() if name != "signed_metadata"}
    yield from _compare(claims, {"iss": base_url, **told})


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
        reply = send("POST", path, JSON, json.dumps(request).encode())
        if (reply.status, reply.json) != (200, wanted):
            mistakes.append(f"{json.dumps(request)}: {reply.status} {reply.json}, wanted {wanted}")
    return mistakes


def idp_cases() -> Iterator[tuple[Any, list[dict[str, str]]]]:
    """(request, expected results in any order) of the identity provider's scenario."""
    for search in facts("authzen_idp")["searches"]:
        yield search["request"], [{"type": "record", "id": ident} for ident in search["expect"]]


def play_idp(send: Transport) -> list[str]:
    """What is wrong, a line a search. Its runner compares whole answers, but for the order of the results."""
    mistakes = []
    for request, wanted in idp_cases():
        reply = send("POST", "/access/v1/search/resource", JSON, json.dumps(request).encode())
        found = reply.json if isinstance(reply.json, dict) else {}
        in_order = sorted(found.get("results", []), key=json.dumps)
        if (reply.status, {**found, "results": in_order}) != (200, {"results": sorted(wanted, key=json.dumps)}):
            mistakes.append(f"{json.dumps(request)}: {reply.status} {reply.json}, wanted {wanted}")
    return mistakes
