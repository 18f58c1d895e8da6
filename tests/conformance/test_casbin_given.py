"""Examples of Casbin: those our law can express agree with it, and those it cannot are refused with a reason."""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest

from permissions import pdp
from permissions.bundle.reader import read
from permissions.services.bundles import bundle_apply
from permissions.writing import SYSTEM
from tests.conformance import casbin
from tests.conformance.casbin import NotOurLawError

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.both_databases]

EXAMPLES = {example["name"]: example for example in casbin.examples()}
REFUSED = {"priority": "the first rule that matches decides"}
EXPRESSED = {name: example for name, example in EXAMPLES.items() if name not in REFUSED}
PAGE = Path(__file__).resolve().parents[2] / "docs/reference/casbin.md"


def build(example: dict[str, Any]) -> None:
    pdp.reset()
    bundle_apply(actor=SYSTEM, bundle=read(json.dumps(casbin.bundle_of(example)), name="example.json"), prune=True)


def answers(example: dict[str, Any], requests: list[list[str]]) -> list[bool]:
    return [decision.allowed for decision in pdp.check_many([casbin.question_of(example, request) for request in requests])]


def answerable(example: dict[str, Any]) -> tuple[list[dict[str, Any]], list[str]]:
    """The checks that can be played, and why the others cannot."""
    played, refused = [], []
    for check in example["upstream_checks"]:
        try:
            casbin.refuse_untold_rules(example, check)
        except NotOurLawError as refusal:
            refused.append(str(refusal))
        else:
            played.append(check)
    return played, refused


def test_nothing_of_the_facts_is_left_unplayed() -> None:
    assert (len(EXAMPLES), len(EXPRESSED)) == (8, 7)
    assert sum(len(example["upstream_checks"]) for example in EXAMPLES.values()) == 53
    assert sum(len(example.get("table", [])) for example in EXAMPLES.values()) == 160
    played = sum(len(answerable(example)[0]) for example in EXPRESSED.values())
    assert played == 53 - 8 - 2
    assert sum(len(example.get("table", [])) for example in EXPRESSED.values()) == 160 - 20


@pytest.mark.parametrize("name", EXPRESSED)
def test_the_table_of_the_example_is_ours_too(name: str) -> None:
    example = EXPRESSED[name]
    build(example)
    rows = example.get("table", [])
    said = answers(example, [row[:-1] for row in rows])
    assert [row for row, answer in zip(rows, said, strict=True) if answer is not row[-1]] == []


@pytest.mark.parametrize("name", EXPRESSED)
def test_the_checks_of_upstream_are_answered_alike(name: str) -> None:
    example = EXPRESSED[name]
    by_steps: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for check in answerable(example)[0]:
        by_steps[json.dumps(check.get("after", []))].append(check)
    for steps, checks in by_steps.items():
        then = casbin.after(example, json.loads(steps))
        build(then)
        said = answers(then, [check["request"] for check in checks])
        assert [check for check, answer in zip(checks, said, strict=True) if answer is not check["expect"]] == []


@pytest.mark.parametrize(("name", "reason"), REFUSED.items())
def test_an_example_of_another_law_is_refused(name: str, reason: str) -> None:
    with pytest.raises(NotOurLawError, match=reason):
        casbin.bundle_of(EXAMPLES[name])


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"effect": casbin.NOT_DENY}, "here what nobody allows is denied"),
        ({"effect": "subjectPriority(p.eft) || deny"}, "the effect subjectPriority"),
        ({"matcher": "r.sub == p.sub || r.sub == 'root'"}, "the matcher"),
        ({"matcher": casbin.PATHS, "rules": [["alice", "/a", "G.*"]]}, "is a regular expression"),
    ],
)
def test_a_model_that_cannot_be_said_here_is_refused(change: dict[str, Any], reason: str) -> None:
    with pytest.raises(NotOurLawError, match=reason):
        casbin.bundle_of({**EXAMPLES["basic"], **change})


def test_two_checks_of_upstream_need_rules_that_the_file_does_not_hold() -> None:
    refused = [reason for example in EXPRESSED.values() for reason in answerable(example)[1]]
    assert len(refused) == 2
    assert all("no rule of the example names data3" in reason for reason in refused)


def test_an_order_of_rules_that_decides_there_decides_nothing_here() -> None:
    example = {**EXAMPLES["priority"], "effect": casbin.DENY_OVERRIDES}
    build(example)
    # alice's own allow comes first there, and wins; here the deny of her group does.
    assert answers(example, [["alice", "data1", "read"]]) == [False]


def test_every_refusal_is_listed_in_the_documentation() -> None:
    page = PAGE.read_text(encoding="utf-8")
    for name in EXAMPLES:
        assert f"`{name}`" in page
    for effect in (casbin.PRIORITY, casbin.NOT_DENY):
        assert f"`{effect}`" in page
    assert "data3" in page
