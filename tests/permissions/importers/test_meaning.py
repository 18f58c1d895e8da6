"""An imported role gives what it gives at its source: on every known code, and where its publisher says so in words."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from permissions.bundle.document import parse_bundle
from permissions.bundle.fields import Problems
from permissions.bundle.writer import document
from permissions.importers import FORMATS, aws, azure
from tests.permissions.importers import catalogues
from tests.permissions.importers.spot_checks import CHECKS

ACTIONS = catalogues.excerpt("aws_actions")
DATA = {name: catalogues.excerpt(name) for name in FORMATS}


@pytest.fixture(scope="module")
def ours() -> dict[str, catalogues.Answers]:
    return {name: catalogues.given(name, catalogues.load(name, data, ACTIONS)) for name, data in DATA.items()}


@pytest.mark.parametrize("name", FORMATS)
def test_every_role_gives_what_it_gives_at_its_source(name: str, ours: dict[str, catalogues.Answers]) -> None:
    assert catalogues.differing(DATA[name], ours[name], catalogues.wanted(name, DATA[name], ACTIONS)) == []


@pytest.mark.parametrize(
    ("name", "check"), [(name, check) for name, checks in CHECKS.items() for check in checks], ids=lambda value: str(value)[:70]
)
def test_it_agrees_with_what_is_known_of_the_role(name: str, check: Any, ours: dict[str, catalogues.Answers]) -> None:
    assert catalogues.answer(name, ours[name], check) is check[2]


@pytest.mark.parametrize("name", FORMATS)
def test_what_is_imported_is_a_bundle_without_a_mistake(name: str) -> None:
    problems = Problems()
    parse_bundle(document(catalogues.load(name, DATA[name], ACTIONS)), problems)
    assert problems == []


@pytest.mark.parametrize("name", FORMATS)
def test_it_gives_nothing_to_anyone(name: str) -> None:
    bundle = catalogues.load(name, DATA[name], ACTIONS)
    assert (bundle.bindings, bundle.subjects, bundle.teams, bundle.resources) == (None, None, None, None)


@pytest.mark.parametrize("name", FORMATS)
def test_progress_is_told_up_to_the_last_role(name: str) -> None:
    told: list[tuple[int, int]] = []
    FORMATS[name](DATA[name], progress=lambda done, total: told.append((done, total)))
    assert told == [(n + 1, len(DATA[name]["roles"])) for n in range(len(DATA[name]["roles"]))]


def role(**keys: Any) -> dict[str, Any]:
    return {"roles": [{"name": "r", **keys}]}


def allowed(bundle: Any) -> list[str]:
    return [line.code for line in bundle.roles[0].permissions]


def test_codes_and_patterns_take_the_spelling_of_the_catalogue() -> None:
    data = role(permissions=["S3:getobject", "s3:list*", "iam:*user"])
    actions = ["s3:GetObject", "s3:ListBucket", "s3:ListParts", "iam:CreateUser", "iam:DeleteUser"]
    assert allowed(aws.load(data, catalogue=actions)) == ["s3:GetObject", "s3:List*", "iam:*User"]


def test_a_pattern_with_a_few_spellings_becomes_a_few_patterns() -> None:
    actions = ["s3:GetObject", "s3:getThing", "s3:PutObject"]
    assert allowed(aws.load(role(permissions=["S3:Get*"]), catalogue=actions)) == ["s3:Get*", "s3:get*"]


def test_a_pattern_with_many_spellings_is_expanded() -> None:
    actions = [f"s3:{verb}Object" for verb in ("get", "Get", "GEt", "GET", "gET")]
    actions = [code + str(number) for number, code in enumerate(actions)]
    assert sorted(allowed(aws.load(role(permissions=["s3:get*"]), catalogue=actions))) == sorted(actions)


def test_a_pattern_that_matches_nothing_today_is_kept_as_it_is_written() -> None:
    assert allowed(aws.load(role(permissions=["new:*"]), catalogue=["s3:GetObject"])) == ["new:*"]


def test_without_a_catalogue_the_most_frequent_spelling_of_the_file_wins() -> None:
    roles = [{"name": str(n), "permissions": [code]} for n, code in enumerate(["a:Get", "a:get", "a:Get"])]
    assert {line.code for r in aws.load({"roles": roles}).roles or () for line in r.permissions} == {"a:Get"}


def test_not_action_denies_whole_services_and_single_actions() -> None:
    actions = ["iam:GetUser", "iam:DeleteUser", "s3:GetObject", "s3:PutObject"]
    notes: Counter[str] = Counter()
    bundle = aws.load(role(permissions=[], not_actions=["iam:get*"]), catalogue=actions, notes=notes)
    assert [line.code for line in (bundle.roles or ())[0].deny] == ["iam:DeleteUser", "s3:*"]
    assert notes == {aws.NOT_ACTION_DENIES: 1}


def test_conditions_that_the_file_does_not_hold_are_told_of() -> None:
    notes: Counter[str] = Counter()
    bundle = aws.load(role(permissions=["s3:GetObject"], conditional_statements=2), notes=notes)
    assert notes == {aws.CONDITIONAL: 1}
    assert "wider than the policy: 2 of its statements have conditions" in (bundle.roles or ())[0].description


@pytest.mark.parametrize(
    ("text", "patterns"),
    [
        ("Microsoft.X/y/read", ["Microsoft.X/y:read"]),
        ("*", ["*"]),
        ("P/*", ["P:*", "P/*:*"]),
        ("*/read", ["*:read"]),
        ("P/*/read", ["P/*:read"]),
        ("P/*/y/*", ["P/*/y:*", "P/*/y/*:*"]),
        ("P/a*b", ["P:a*b", "P/a*:*b"]),
        ("P/*a*", ["P:*a*", "P/*:*a*", "P/*a*:*"]),
        ("P/faces:detect/action", ["P/faces%3Adetect:action"]),
        ("P/y/read ", ["P/y:read"]),
        ("P/alertRules/", []),
    ],
)
def test_an_azure_pattern_splits_wherever_its_last_slash_may_fall(text: str, patterns: list[str]) -> None:
    assert azure.patterns_of(text) == patterns


def azure_role(**keys: Any) -> dict[str, Any]:
    empty: dict[str, Any] = {key: [] for key in ("permissions", "excluded", "data_permissions", "data_excluded")}
    return {"name": "r", **empty, **keys}


def test_an_exclusion_stays_in_its_plane_and_role() -> None:
    other = azure_role(name="o", permissions=["P/a/read", "P/b/read"], data_permissions=["P/a/data/read", "P/b/data/read"])
    mine = azure_role(permissions=["P/*"], excluded=["P/a/*"], data_permissions=["P/a/data/read"])
    bundle = azure.load({"roles": [mine, other]})
    ours = catalogues.given("azure", bundle)
    assert ours["r"][0] == {"p/b:read", "p/a/data:read"}
    assert ours["o"][0] == {"p/a:read", "p/b:read", "p/a/data:read", "p/b/data:read"}


@pytest.mark.parametrize(
    ("condition", "left"),
    [
        ("(!(ActionMatches{'P/a/write'})) OR (@Request[x] StringEquals 'y')", {"p/a:read"}),
        ("((!(ActionMatches{'P/a/write'})) OR (A)) AND ((!(ActionMatches{'P/a/read'})) OR (B AND C))", set()),
        ("@Resource[x] boolEquals true", set()),
        ("((!(ActionMatches{'P/a/write'})) OR (A)) AND B", set()),
        ("(!(ActionMatches{'P/a/write'}))", set()),
        ("(ActionMatches{'P/a/write'}) OR A", set()),
        ("(!(ActionMatches{'P/*'})) OR A", set()),
        ("((!(ActionMatches{'P/a/write'})) OR (A)) && B", set()),
    ],
)
def test_what_a_condition_guards_is_left_out(condition: str, left: set[str]) -> None:
    bundle = azure.load({"roles": [azure_role(permissions=["P/a/read", "P/a/write"], condition=condition)]})
    assert catalogues.given("azure", bundle)["r"][0] == left


def test_an_aggregated_kubernetes_role_inherits_and_keeps_the_rest() -> None:
    roles = {r.name: r for r in catalogues.load("kubernetes", DATA["kubernetes"], None).roles or ()}
    assert roles["view"].inherits == ("system:aggregate-to-view",)
    assert roles["view"].permissions == ()


def test_a_kubernetes_role_does_not_inherit_more_than_it_lists() -> None:
    notes: Counter[str] = Counter()
    small = {"name": "small", "permissions": ["core/pods:get"], "includes": ["big"]}
    big = {"name": "big", "permissions": ["core/pods:get", "core/pods:delete"]}
    bundle = FORMATS["kubernetes"]({"roles": [small, big]}, notes=notes)
    assert (bundle.roles or ())[0].inherits == ()
    assert sum(notes.values()) == 1
