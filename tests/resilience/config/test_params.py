"""Parameter tables: what a value may be, and how a wrong one is told, with its path."""

from __future__ import annotations

import math
from typing import Any

import pytest

from resilience import params, sections
from resilience.errors import ConfigInvalid
from resilience.params import Param, Section


def refused(section: str, values: Any) -> tuple[str, str]:
    with pytest.raises(ConfigInvalid) as caught:
        params.validate(section, values)
    return caught.value.path, caught.value.problem


def test_typed_values_come_back_and_only_what_was_given() -> None:
    found = params.validate("limiters", {"login": {"limit": 10, "period_s": 60, "burst": None}})
    assert found == {"login": {"limit": 10, "period_s": 60.0, "burst": None}}
    assert type(found["login"]["period_s"]) is float


@pytest.mark.parametrize(
    ("values", "path", "told"),
    [
        (None, "limiters", "must be an object, not null"),
        ([], "limiters", "must be an object, not a list"),
        ({"": {}}, "limiters.", "1 to 100 of the characters"),
        ({"a b": {}}, "limiters.a b", "1 to 100 of the characters"),
        ({"x" * 101: {}}, "limiters.xxxxx", "1 to 100 of the characters"),
        ({"naïve": {}}, "limiters.naïve", "1 to 100 of the characters"),
        ({"login\n": {}}, "limiters.'login\\n'", "1 to 100 of the characters"),
        ({7: {}}, "limiters.7", "1 to 100 of the characters"),
        ({"login": 3}, "limiters.login", "must be an object, not a number"),
        ({"login": {"limt": 3}}, "limiters.login.limt", "there is no such parameter; known are algorithm, limit"),
        ({"login": {"limit": True}}, "limiters.login.limit", "must be a whole number, not a boolean"),
        ({"login": {"limit": "10"}}, "limiters.login.limit", "must be a whole number, not a text"),
        ({"login": {"limit": 10.0}}, "limiters.login.limit", "must be a whole number, not 10.0"),
        ({"login": {"limit": None}}, "limiters.login.limit", "must not be null"),
        ({"login": {"limit": 0}}, "limiters.login.limit", "must be 1 to 90000000, not 0"),
        ({"login": {"limit": -1}}, "limiters.login.limit", "must be 1 to 90000000, not -1"),
        ({"login": {"limit": 10**30}}, "limiters.login.limit", "is too large"),
        ({"login": {"period_s": math.nan}}, "limiters.login.period_s", "must be a finite number, not nan"),
        ({"login": {"period_s": math.inf}}, "limiters.login.period_s", "must be a finite number, not inf"),
        ({"login": {"period_s": 10**400}}, "limiters.login.period_s", "must be a finite number"),
        ({"login": {"period_s": 0}}, "limiters.login.period_s", "must be 0.001 to 2592000, not 0"),
        ({"login": {"period_s": False}}, "limiters.login.period_s", "must be a number, not a boolean"),
        ({"login": {"aligned": 1}}, "limiters.login.aligned", "must be true or false, not a number"),
        ({"login": {"algorithm": "leaky"}}, "limiters.login.algorithm", "must be one of gcra, fixed_window"),
        ({"login": {"algorithm": ["gcra"]}}, "limiters.login.algorithm", "not a list"),
        ({"login": {"algorithm": "sliding_log", "burst": 3}}, "limiters.login", "burst is only for gcra and token_bucket"),
        ({"login": {"algorithm": "gcra", "aligned": True}}, "limiters.login", "aligned is only for fixed_window"),
        ({"login": {"algorithm": "sliding_log", "limit": 1001}}, "limiters.login", "at most 1000 for sliding_log"),
        ({"login": {"algorithm": "fixed_window", "coalesce": True}}, "limiters.login", "coalesce is only for gcra"),
    ],
)
def test_a_wrong_limiter_is_refused_with_its_path(values: Any, path: str, told: str) -> None:
    where, problem = refused("limiters", values)
    assert where.startswith(path)
    assert told in problem


@pytest.mark.parametrize(
    ("values", "path", "told"),
    [
        ({"mode": "on"}, "maintenance.mode", "must be one of off, read_only, full, not on"),
        ({"mode": "full"}, "maintenance", "a reason is needed"),
        ({"mode": "full", "reason": "  "}, "maintenance", "a reason is needed"),
        ({"reason": "x" * 501}, "maintenance.reason", "has 501 characters; at most 500"),
        ({"reason": "a\r\nSet-Cookie: b"}, "maintenance.reason", "control character"),
        ({"reason": "\ud800"}, "maintenance.reason", "half of a surrogate pair"),
        ({"reason": 3}, "maintenance.reason", "must be a text, not a number"),
        ({"until": "tomorrow"}, "maintenance.until", "must be a time such as"),
        ({"until": "2030-01-01T00:00:00"}, "maintenance.until", "must name its zone"),
        ({"until": -1}, "maintenance.until", "between the years 1970 and 9999"),
        ({"until": 1e15}, "maintenance.until", "between the years 1970 and 9999"),
        ({"until": True}, "maintenance.until", "must be a number, not a boolean"),
        ({"until": "0001-01-01T00:00:00+23:59"}, "maintenance.until", ""),
        ({"allow": "10.0.0.1"}, "maintenance.allow", "must be a list of texts, not a text"),
        ({"allow": ["10.0.0.300"]}, "maintenance.allow", "item 0: must be an address or a network"),
        ({"allow": ["10.0.0.1", ""]}, "maintenance.allow", "item 1: must be an address or a network"),
        ({"allow": ["10.0.0.1"] * 201}, "maintenance.allow", "holds 201 items; at most 200"),
        ({"paths": ["api"]}, "maintenance.paths", "item 0: must be a path that begins with '/'"),
        ({"permissions": [""]}, "maintenance.permissions", "item 0: must not be empty"),
        ({"permissions": [3]}, "maintenance.permissions", "item 0: must be a text, not a number"),
        ({3: 4}, "maintenance.3", "there is no such parameter"),
    ],
)
def test_a_wrong_maintenance_is_refused_with_its_path(values: Any, path: str, told: str) -> None:
    where, problem = refused("maintenance", values)
    assert where == path
    assert told in problem


def test_a_moment_may_be_a_text_with_a_zone_or_a_number() -> None:
    assert params.validate("maintenance", {"until": "1970-01-02T01:00:00+01:00"})["until"] == 86_400.0
    assert params.validate("maintenance", {"until": "1970-01-02T00:00:00Z"})["until"] == 86_400.0
    assert params.validate("maintenance", {"until": 86_400})["until"] == 86_400.0


def test_networks_are_kept_in_one_form_and_once() -> None:
    found = params.validate("maintenance", {"allow": ["10.1.2.3/8", "10.0.0.0/8", "2001:DB8::1"]})
    assert found["allow"] == ("10.0.0.0/8", "2001:db8::1/128")


def test_all_mistakes_are_listed_each_with_its_place() -> None:
    wrong = params.problems("breakers", {"a": {"failure_ratio": 2}, "b": {"quorum": 0, "shadow": "no"}})
    assert [path for path, _ in wrong] == ["breakers.a.failure_ratio", "breakers.b.quorum", "breakers.b.shadow"]


def test_an_unknown_section_is_named_with_those_that_exist() -> None:
    path, problem = refused("limitters", {})
    assert path == "limitters"
    assert "known are" in problem
    assert "limiters" in problem


def test_a_snapshot_with_one_wrong_section_is_refused_whole() -> None:
    with pytest.raises(ConfigInvalid, match=r"retries\.x\.attempts: must be 1 to 100, not 0"):
        params.validate_all({"limiters": {"login": {"limit": 3}}, "retries": {"x": {"attempts": 0}}})


def test_a_section_that_nobody_here_reads_is_left_out() -> None:
    assert params.validate_all({"of_another_program": {"x": 1}, "bulkheads": {}}) == {"bulkheads": {}}


def test_a_thousand_names_are_the_most() -> None:
    _, problem = refused("bulkheads", {f"b{n}": {} for n in range(1001)})
    assert problem == "holds 1001 names; at most 1000 are allowed"


def test_the_same_section_may_be_registered_twice_another_of_its_name_not() -> None:
    assert params.register(sections.RETRIES) is sections.RETRIES
    with pytest.raises(ValueError, match="'retries' is registered already"):
        params.register(Section("retries", (), keyed=True))


def test_every_default_is_a_value_its_own_parameter_takes() -> None:
    for section, param in params.each_param():
        if param.default is not None:
            parsed = param.parse(param.default)
            assert parsed == param.default, f"{section.name}.{param.name}"


def test_every_parameter_says_what_it_does() -> None:
    assert [f"{s.name}.{p.name}" for s, p in params.each_param() if not p.help.endswith(".")] == []


def test_a_text_shorter_than_its_least_is_empty() -> None:
    param = Param("name", "text", min=1, max=10)
    with pytest.raises(params.Mistake, match="must not be empty"):
        param.parse("")
