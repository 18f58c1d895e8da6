"""What is written is read again as it was: field by field, in both formats, and with the published schema's consent."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from permissions.bundle import schema
from permissions.bundle.diff import diff
from permissions.bundle.keys import SECTIONS
from permissions.bundle.reader import read
from permissions.bundle.schema import canonical, json_schema, to_dict
from permissions.bundle.specs import Bundle, Spec
from permissions.bundle.writer import document, dump
from tests.permissions.bundle import strategies

VALIDATOR = Draft202012Validator(json_schema())
PARSERS = {section: getattr(schema, f"parse_{section[:-1]}") for section in SECTIONS}
thorough = settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much])


def specs_of(bundle: Bundle) -> list[tuple[str, Spec]]:
    return [(section, spec) for section in SECTIONS for spec in getattr(bundle, section) or ()]


def as_json(value: Any) -> str:
    """Python takes 1, 1.0 and True for equal; their texts differ."""
    return json.dumps(value, sort_keys=True)


@thorough
@given(strategies.bundles(), st.sampled_from(["yaml", "json"]))
def test_a_bundle_is_read_as_it_was_written(bundle: Bundle, form: Any) -> None:
    again = read(dump(bundle, form), name=f"bundle.{form}")
    assert again == bundle
    assert as_json(document(again)) == as_json(document(bundle))


@thorough
@given(strategies.bundles())
def test_a_line_is_parsed_from_its_own_dictionary(bundle: Bundle) -> None:
    for section, spec in specs_of(bundle):
        line = to_dict(spec)
        again = PARSERS[section](json.loads(json.dumps(line)))
        assert again == spec
        assert as_json(to_dict(again)) == as_json(line)
        assert canonical(again) == canonical(spec)


@thorough
@given(strategies.bundles())
def test_the_published_schema_accepts_every_bundle_that_is_written(bundle: Bundle) -> None:
    assert list(VALIDATOR.iter_errors(document(bundle))) == []


@thorough
@given(strategies.bundles())
def test_a_bundle_changes_nothing_in_itself(bundle: Bundle) -> None:
    assert [change for change in diff(bundle, bundle, prune=True) if not change.implied] == []


@thorough
@given(strategies.bundles())
def test_any_yaml_reader_of_the_safe_kind_sees_the_same_texts(bundle: Bundle) -> None:
    # PyYAML reads YAML 1.1; what is written must not lean on our own reading of plain words.
    assert as_json(yaml.safe_load(dump(bundle))) == as_json(document(bundle))


@pytest.mark.parametrize("form", ["yaml", "json"])
def test_the_same_bundle_has_the_same_text(form: Any) -> None:
    text = 'version: 1\nroles: [{name: a, permissions: ["a:b", "a:c"]}]\nsubjects: [{id: "user:a", attributes: {b: 1, a: 2}}]'
    assert dump(read(text, name="x"), form) == dump(read(text, name="x"), form)


def test_absent_and_empty_sections_stay_apart() -> None:
    bundle = read("version: 1\nroles: []", name="x")
    assert (bundle.roles, bundle.groups) == ((), None)
    again = read(dump(bundle), name="x")
    assert (again.roles, again.groups) == ((), None)


def test_realm_keys_are_written_as_given_and_no_others() -> None:
    bundle = read("version: 1\ncombining: deny_overrides\nsettings: {suspended: false}", name="x")
    assert bundle.realm_keys == {"combining", "suspended"}
    assert document(bundle) == {"version": 1, "combining": "deny_overrides", "settings": {"suspended": False}}
