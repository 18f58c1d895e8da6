"""The same questions in the words of each side, and whether it answers them as plain sets do."""

from __future__ import annotations

import http.client
import json
import random
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from benchmarks.workloads.world import World, ref

EVALUATION = "/access/v1/evaluation"
EVALUATIONS = "/access/v1/evaluations"
CHECK = "/api/v1/check"
CERBOS = "/api/check/resources"
# Stored resources of each type. W1 has none: its questions are about codes, and HTTP must name a resource.
RESOURCES = 20


class Question(NamedTuple):
    """May the subject of this number do `type:action` to the resource?"""

    number: int
    code: str
    resource: str
    allowed: bool

    @property
    def kind(self) -> str:
        return self.code.partition(":")[0]

    @property
    def action(self) -> str:
        return self.code.partition(":")[2]


class Batch(NamedTuple):
    """Many questions about one subject."""

    number: int
    questions: tuple[Question, ...]

    @property
    def answers(self) -> list[bool]:
        return [question.allowed for question in self.questions]


class VoidError(RuntimeError):
    """A side gave another answer: then nothing it took means anything."""


def resource(kind: str, number: int) -> str:
    return f"{kind}-{number}"


def singles(world: World, seed: int = 7) -> list[Question]:
    """All questions of the world."""
    draw = random.Random(seed)
    answers = world.answers(len(world.checks))
    return [
        Question(number, code, resource(code.partition(":")[0], draw.randrange(RESOURCES)), allowed)
        for (number, code), allowed in zip(world.checks, answers, strict=True)
    ]


def batches(world: World, count: int, size: int, seed: int = 8) -> list[Batch]:
    """Of each subject, `size` codes and resources at random."""
    draw = random.Random(seed)
    given = world.codes_by_role()
    codes = [fact.code for fact in world.model.permissions]
    found = []
    for _ in range(count):
        number = draw.randrange(len(world.held))
        held = frozenset[str]().union(*(given[role] for role in world.held[number]))
        asked = [draw.choice(codes) for _ in range(size)]
        found.append(Batch(number, tuple(_question(number, code, code in held, draw) for code in asked)))
    return found


def grids(world: World, count: int, size: int, seed: int = 9) -> list[Batch]:
    """Of each subject, every action on some resources: what an engine can ask that takes many actions of one resource."""
    draw = random.Random(seed)
    given = world.codes_by_role()
    by_kind: dict[str, list[str]] = {}
    for fact in world.model.permissions:
        by_kind.setdefault(fact.code.partition(":")[0], []).append(fact.code)
    kinds = sorted(by_kind)
    found = []
    for _ in range(count):
        number = draw.randrange(len(world.held))
        held = frozenset[str]().union(*(given[role] for role in world.held[number]))
        asked: list[Question] = []
        # No resource twice in one batch: an answer would stand for both.
        for kind in draw.sample(kinds, min(len(kinds), -(-size // len(by_kind[kinds[0]])))):
            place = resource(kind, draw.randrange(RESOURCES))
            asked += [Question(number, code, place, code in held) for code in by_kind[kind]]
        found.append(Batch(number, tuple(asked[:size])))
    return found


def _question(number: int, code: str, allowed: bool, draw: random.Random) -> Question:
    return Question(number, code, resource(code.partition(":")[0], draw.randrange(RESOURCES)), allowed)


def _body(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


# AuthZEN, as ours speaks it.


def _subject(number: int) -> dict[str, str]:
    return {"type": "user", "id": str(number)}


def _entity(question: Question) -> dict[str, str]:
    return {"type": question.kind, "id": question.resource}


def evaluation(question: Question) -> tuple[str, bytes]:
    named = {"subject": _subject(question.number), "action": {"name": question.action}, "resource": _entity(question)}
    return EVALUATION, _body(named)


def evaluations(batch: Batch) -> tuple[str, bytes]:
    items = [{"action": {"name": asked.action}, "resource": _entity(asked)} for asked in batch.questions]
    return EVALUATIONS, _body({"subject": _subject(batch.number), "evaluations": items})


def many(numbers: Sequence[int], action: str, kind: str, places: Sequence[str]) -> tuple[str, bytes]:
    """One action, of as many subjects, each on a resource."""
    items = [
        {"subject": _subject(number), "resource": {"type": kind, "id": place}}
        for number, place in zip(numbers, places, strict=True)
    ]
    return EVALUATIONS, _body({"action": {"name": action}, "evaluations": items})


def stranger(question: Question) -> tuple[str, bytes]:
    """The same question about a subject that nobody knows, another one each time it is sent."""
    where, body = evaluation(question)
    return where, body.replace(b'"id":"%d"' % question.number, b'"id":"nobody-@@@@@@@@@@"', 1)


def read_evaluation(told: Any, _: bytes = b"") -> list[bool]:
    return [told["decision"]]


def read_evaluations(told: Any, _: bytes = b"") -> list[bool]:
    return [one["decision"] for one in told["evaluations"]]


# Our own interface, on Django REST framework.


def check(question: Question) -> tuple[str, bytes]:
    named = {"subject": ref(question.number), "permission": question.code, "resource": f"{question.kind}:{question.resource}"}
    return CHECK, _body(named)


def read_check(told: Any, _: bytes = b"") -> list[bool]:
    return [told["allowed"]]


# Cerbos, which is told the roles of a subject with each question; it keeps none.


def _principal(world: World, number: int) -> dict[str, Any]:
    return {"id": str(number), "roles": list(world.held[number])}


def cerbos(world: World, question: Question) -> tuple[str, bytes]:
    asked = [{"actions": [question.action], "resource": {"kind": question.kind, "id": question.resource}}]
    return CERBOS, _body({"principal": _principal(world, question.number), "resources": asked})


def cerbos_batch(world: World, batch: Batch) -> tuple[str, bytes]:
    """Neighbours that ask about one resource share it: its actions are a list."""
    asked: list[dict[str, Any]] = []
    for question in batch.questions:
        entity = {"kind": question.kind, "id": question.resource}
        if asked and asked[-1]["resource"] == entity and question.action not in asked[-1]["actions"]:
            asked[-1]["actions"].append(question.action)
        else:
            asked.append({"actions": [question.action], "resource": entity})
    return CERBOS, _body({"principal": _principal(world, batch.number), "resources": asked})


def read_cerbos(told: Any, asked: bytes) -> list[bool]:
    """In the order of the question, whose actions are not in an order in the answer."""
    named = [entry["actions"] for entry in json.loads(asked)["resources"]]
    return [
        entry["actions"][action] == "EFFECT_ALLOW"
        for actions, entry in zip(named, told["results"], strict=True)
        for action in actions
    ]


# Agreement.


def agree(
    who: str,
    address: str,
    asked: Iterable[tuple[tuple[str, bytes], Sequence[bool]]],
    read: Callable[[Any, bytes], list[bool]],
    key: str = "",
) -> int:
    """How many answers were looked at; raises VoidError at the first side that decides otherwise than the sets do."""
    parts = urlsplit(address)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=30)
    headers = {"Content-Type": "application/json", **({"Authorization": f"Bearer {key}"} if key else {})}
    looked_at = 0
    try:
        for (where, body), right in asked:
            connection.request("POST", where, body, headers)
            answer = connection.getresponse()
            text = answer.read()
            if answer.status != 200:
                raise VoidError(f"{who} answers {answer.status} to {body[:300]!r}: {text[:300]!r}")
            given = read(json.loads(text), body)
            if given != list(right):
                raise VoidError(
                    f"{who} decides otherwise than the sets do: {body[:300]!r} gives {given[:5]}, not {list(right)[:5]}"
                )
            looked_at += len(given)
    finally:
        connection.close()
    return looked_at
