"""Random worlds over small alphabets, and random messages about them: right, odd and broken ones."""

from __future__ import annotations

import json
import random
from typing import Any

KINDS = ("doc", "box")
ACTIONS = ("read", "write", "purge", "lock")
SUBJECTS = ("alice", "bob", "carol", "dora", "erin")
RESOURCES = ("1", "2", "3")
CODES = tuple(f"{kind}:{action}" for kind in KINDS for action in ACTIONS)


def world(draw: random.Random, *, is_rich: bool) -> str:
    """A bundle in which every question is plain, or a rich one, with all that keeps some from being."""
    lines = ["realm: default", f"combining: {'overlay' if is_rich and draw.random() < 0.3 else 'deny_overrides'}", "permissions:"]
    for code in CODES:
        more = draw.choice([", critical: true", ', requires: ["doc:read"]']) if is_rich and draw.random() < 0.2 else ""
        lines.append(f'  - {{code: "{code}"{more if code != "doc:read" else ""}}}')
    lines.append("roles:")
    for number in range(3):
        given = [f'"{code}"' for code in (*draw.sample(CODES[:-1], 3), *draw.choice([(), ("doc:*",), ("*:read",)]))]
        more = ""
        if is_rich:
            given += draw.choice([[], ['{code: "box:lock", condition: "context.mfa == true"}']])
            more = draw.choice(["", ', deny: ["doc:write"]', ', exclude: ["doc:lock"]'])
        lines.append(f"  - {{name: r{number}, permissions: [{', '.join(given)}]{more}}}")
    lines.append("subjects:")
    for name in SUBJECTS[:4]:
        lines.append(f'  - {{id: "user:{name}"{", locked: true" if is_rich and draw.random() < 0.2 else ""}}}')
    lines.append("resources:")
    lines.append('  - {id: "box:1"}')
    for ident in RESOURCES[:2]:
        shut = ", inherit: false" if is_rich and draw.random() < 0.3 else ""
        lines.append(f'  - {{id: "doc:{ident}", parent: "box:1"{shut}}}')
    lines.append("bindings:")
    for name in SUBJECTS[:4]:
        scope = draw.choice(["", "", ', scope: "box:1"', ', scope: "doc:2"']) if is_rich else ""
        lines.append(f'  - {{subject: "user:{name}", role: r{draw.randrange(3)}{scope}}}')
    if is_rich and draw.random() < 0.5:
        lines.append('  - {subject: "user:*", allow: ["doc:lock"]}')
    return "\n".join(lines)


def entity(draw: random.Random, kinds: tuple[str, ...], ids: tuple[str, ...]) -> Any:
    value: Any = {"type": draw.choice(kinds), "id": draw.choice(ids)}
    match draw.randrange(48):
        case 0:
            value["id"] = draw.choice(["*", "", " 1", "1 ", "a:b", "Ω", "\u0007", "\ud800", "x" * 600, 1, True, None, [], "1\n"])
        case 1:
            value["type"] = draw.choice(["*", "", "a:b", "doc ", 7, None, "Ω", "u?"])
        case 2:
            value["properties"] = draw.choice(
                [{}, {"teams": []}, {"parent": "box:1"}, {"teams": 3}, {"parent": 1}, {"a": 1}, [], None]
            )
        case 3:
            value.pop(draw.choice(["type", "id"]))
        case 4:
            value["unknown"] = draw.choice([1, {"type": "x"}, "id"])
        case 5:
            value = draw.choice([None, [], "user:alice", 1, {}])
    return value


def subject(draw: random.Random) -> Any:
    return entity(draw, ("user",), (*SUBJECTS, "nobody"))


def resource(draw: random.Random) -> Any:
    return entity(draw, KINDS, (*RESOURCES, "unknown"))


def action(draw: random.Random) -> Any:
    value: Any = {"name": draw.choice(ACTIONS)}
    match draw.randrange(48):
        case 0:
            value["name"] = draw.choice(["*", "", "re?d", "a:b", " read", None, 3, "unknown", "Ω"])
        case 1:
            value["properties"] = draw.choice([{}, {"soft": True}, [], 3])
        case 2:
            value = draw.choice([None, [], "read", {}])
    return value


def evaluation(draw: random.Random, *, whole: bool = True) -> dict[str, Any]:
    """`whole`: mostly with all three; else with any of them."""
    makers = {"subject": subject, "action": action, "resource": resource}
    message = {name: make(draw) for name, make in makers.items() if draw.random() < (0.97 if whole else 0.6)}
    if draw.random() < 0.05:
        message["context"] = draw.choice([{}, {"mfa": True}, {"explain": False}, {"explain": 1}, None, [], {"a": 10**30}])
    if draw.random() < 0.05:
        message[draw.choice(["unknown", "page", "evaluations_"])] = draw.choice([1, {}, "x:y"])
    names = list(message)
    draw.shuffle(names)
    return {name: message[name] for name in names}


def batch(draw: random.Random) -> dict[str, Any]:
    """Half of the batches have items all of one form."""
    count = draw.choice([0, 1, 2, 3, 5, 8])
    message = evaluation(draw, whole=False) if draw.random() < 0.8 else {}
    if draw.random() < 0.5:
        brought = [name for name in ("subject", "action", "resource") if draw.random() < 0.6]
        makers = {"subject": subject, "action": action, "resource": resource}
        message |= {name: makers[name](draw) for name in ("subject", "action", "resource") if name not in brought}
        items: list[Any] = [{name: makers[name](draw) for name in brought} for _ in range(count)]
    else:
        items = [evaluation(draw, whole=draw.random() < 0.5) for _ in range(count)]
    if items and draw.random() < 0.1:
        items[draw.randrange(len(items))] = draw.choice([None, [], 3, "x", {}])
    message["evaluations"] = items if draw.random() < 0.97 else draw.choice([None, {}, 1])
    if draw.random() < 0.2:
        semantics = ["execute_all", "deny_on_first_deny", "permit_on_first_permit", "any", None]
        message["options"] = draw.choice([{}, {"evaluations_semantic": draw.choice(semantics)}, [], {"other": 1}])
    return message


def body(draw: random.Random, message: Any) -> bytes:
    """As clients write it: compact or spaced, escaped or not; one in twelve damaged afterwards."""
    separators = draw.choice([(",", ":"), (", ", ": "), (" , ", " : ")])
    text = json.dumps(message, separators=separators, ensure_ascii=draw.random() < 0.5)
    raw = bytearray(text.encode("utf-8", "surrogatepass"))
    match draw.randrange(36):
        case 0:
            raw[draw.randrange(len(raw))] = draw.randrange(256)
        case 1:
            del raw[draw.randrange(len(raw)) :]
        case 2:
            place = draw.randrange(len(raw))
            raw[place:place] = draw.choice(
                [b'"', b":", b"\\", b"\\u003a", b"{", b" ", b'"a":1,', b'"type":"user",', b'"id":"bob",', b"\xff"]
            )
    return bytes(raw)
