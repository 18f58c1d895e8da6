"""Every side over HTTP is asked the same, and what it answers is compared with plain sets."""

from __future__ import annotations

import http.server
import json
import threading
from collections import Counter
from collections.abc import Iterator

import pytest

from benchmarks.peers import cerbos
from benchmarks.wire import asking
from benchmarks.wire.asking import VoidError
from benchmarks.workloads import w1
from benchmarks.workloads.world import World


@pytest.fixture(scope="module")
def world() -> World:
    return w1.build(subjects=300, checks=500, resources=asking.RESOURCES)


def test_what_is_asked_is_about_stored_resources(world: World) -> None:
    stored = set(world.resources)
    assert len(stored) == 50 * asking.RESOURCES
    asked = asking.singles(world) + [q for batch in asking.batches(world, 20, 30) for q in batch.questions]
    assert {f"{question.kind}:{question.resource}" for question in asked} <= stored


def test_stored_resources_change_nothing_else_of_the_world() -> None:
    bare, stored = w1.build(subjects=50, checks=50), w1.build(subjects=50, checks=50, resources=3)
    assert (bare.model, bare.held, bare.checks) == (stored.model, stored.held, stored.checks)


def test_the_answers_that_are_expected_are_those_of_plain_sets(world: World) -> None:
    assert [question.allowed for question in asking.singles(world)] == world.answers(500)
    given = world.codes_by_role()
    for batch in asking.batches(world, 10, 50) + asking.grids(world, 10, 50):
        held = world.held[batch.number]
        assert batch.answers == [any(q.code in given[role] for role in held) for q in batch.questions]
        assert len(batch.questions) == 50


def test_a_grid_asks_every_action_of_each_resource_once(world: World) -> None:
    for batch in asking.grids(world, 10, 200):
        assert set(Counter(q.resource for q in batch.questions).values()) == {20}
        assert len(json.loads(asking.cerbos_batch(world, batch)[1])["resources"]) == 10


def test_cerbos_has_a_rule_for_every_code_that_a_role_gives(world: World) -> None:
    """Its policies, read as Cerbos reads them, answer as the sets do."""
    rules = {policy["resourcePolicy"]["resource"]: policy["resourcePolicy"]["rules"] for policy in cerbos.policies(world)}
    for question in asking.singles(world):
        held = set(world.held[question.number])
        allowed = any(
            held & set(rule["roles"]) and {question.action, "*"} & set(rule["actions"]) for rule in rules[question.kind]
        )
        assert allowed is question.allowed, question


def test_answers_of_cerbos_are_put_into_the_order_of_the_questions(world: World) -> None:
    batch = asking.grids(world, 1, 40)[0]
    _, body = asking.cerbos_batch(world, batch)
    right = {(q.resource, q.action): "EFFECT_ALLOW" if q.allowed else "EFFECT_DENY" for q in batch.questions}
    results = [
        {"actions": {action: right[entry["resource"]["id"], action] for action in sorted(entry["actions"], reverse=True)}}
        for entry in json.loads(body)["resources"]
    ]
    assert asking.read_cerbos({"results": results}, body) == batch.answers


def test_a_stranger_is_another_one_each_time_and_the_body_stays_as_long(world: World) -> None:
    question = asking.singles(world)[0]
    where, body = asking.stranger(question)
    told = json.loads(body)
    assert where == asking.EVALUATION
    assert told["subject"] == {"type": "user", "id": "nobody-@@@@@@@@@@"}
    assert told["resource"]["id"] == question.resource


class _Always(http.server.BaseHTTPRequestHandler):
    """A decision point that allows everything, or fails."""

    protocol_version = "HTTP/1.1"
    status = 200

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        body = b'{"decision":true}'
        self.send_response(self.status)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


class _Failing(_Always):
    status = 503


@pytest.fixture(params=[_Always, _Failing])
def server(request: pytest.FixtureRequest) -> Iterator[tuple[type, str]]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), request.param) as serving:
        thread = threading.Thread(target=serving.serve_forever)
        thread.start()
        yield request.param, f"http://127.0.0.1:{serving.server_address[1]}"
        serving.shutdown()
        thread.join()


def test_a_side_that_allows_what_is_denied_voids_the_comparison(world: World, server: tuple[type, str]) -> None:
    kind, address = server
    asked = [(asking.evaluation(q), [q.allowed]) for q in asking.singles(world)]
    reason = "decides otherwise than the sets do" if kind is _Always else "answers 503"
    with pytest.raises(VoidError, match=reason):
        asking.agree("a side", address, asked, asking.read_evaluation)
