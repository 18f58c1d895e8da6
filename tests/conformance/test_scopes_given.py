"""Five worlds of another engine: its 293 checks, 88 lists of what someone can, 59 lists of who can, answered alike."""

from __future__ import annotations

import json
from typing import Any

import pytest

from permissions import pdp
from permissions.bundle.reader import read
from permissions.services.bundles import bundle_apply
from permissions.writing import SYSTEM
from tests.conformance.scopes import bundle_of, scenarios

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.both_databases]

SCENARIOS = scenarios()


@pytest.fixture(params=SCENARIOS, ids=lambda scenario: scenario["name"])
def world(request: pytest.FixtureRequest) -> dict[str, Any]:
    pdp.reset()
    bundle_apply(actor=SYSTEM, bundle=read(json.dumps(bundle_of(request.param)), name="scenario.json"))
    scenario: dict[str, Any] = request.param
    return scenario


def context_of(world: dict[str, Any], index: int) -> dict[str, Any]:
    return world["contexts"][index] or {}


def test_nothing_of_the_facts_is_left_unplayed() -> None:
    assert [sum(len(s[key]) for s in SCENARIOS) for key in ("checks", "what_can", "who_can")] == [293, 88, 59]


def test_every_check_is_answered_alike(world: dict[str, Any]) -> None:
    asked = [
        {"subject": subject, "permission": code, "resource": resource, "context": context_of(world, index)}
        for subject, code, resource, index, _ in world["checks"]
    ]
    said = [decision.allowed for decision in pdp.check_many(asked)]
    wrong = [(q, expect) for q, answer, (*_, expect) in zip(asked, said, world["checks"], strict=True) if answer is not expect]
    assert wrong == []


def test_a_single_check_is_answered_like_a_batch(world: dict[str, Any]) -> None:
    wrong = [
        check
        for check in world["checks"]
        if pdp.check(check[0], check[1], check[2], context=context_of(world, check[3])).allowed is not check[4]
    ]
    assert wrong == []


def test_every_list_of_what_someone_can_is_the_same(world: dict[str, Any]) -> None:
    wrong = []
    for case in world["what_can"]:
        found = pdp.what_can(case["subject"], case["permission"], context=context_of(world, case["context"]))
        resources = sorted(access.resource for access in found if access.resource is not None)
        if resources != sorted(case["expect"]):
            wrong.append((case, resources))
    assert wrong == []


def test_every_list_of_who_can_is_the_same(world: dict[str, Any]) -> None:
    wrong = []
    for case in world["who_can"]:
        found = pdp.who_can(case["permission"], case["resource"], type="user", context=context_of(world, case["context"]))
        if sorted(found) != sorted(case["expect"]):
            wrong.append((case, found))
    assert wrong == []
