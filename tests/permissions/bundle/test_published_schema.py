"""The published JSON Schema: equal to the code, true to the fields of the model, and as strict as a schema can be."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
import yaml
from jsonschema import Draft202012Validator

from permissions import models
from permissions.bundle import keys, specs
from permissions.bundle.schema import json_schema
from tests.permissions.bundle.test_mistakes import TWENTY_AND_MORE

ROOT = Path(__file__).resolve().parents[3]
SCHEMA = json_schema()
VALIDATOR = Draft202012Validator(SCHEMA)
DEFINITIONS = {
    "permission": (keys.PERMISSION_KEYS, specs.PermissionSpec),
    "group": (keys.GROUP_KEYS, specs.GroupSpec),
    "role": (keys.ROLE_KEYS, specs.RoleSpec),
    "subject": (keys.SUBJECT_KEYS, specs.SubjectSpec),
    "team": (keys.TEAM_KEYS, specs.TeamSpec),
    "resource": (keys.RESOURCE_KEYS, specs.ResourceSpec),
    "binding": (keys.BINDING_KEYS, specs.BindingSpec),
}


def test_the_published_file_is_what_the_code_says() -> None:
    published = (ROOT / "docs/reference/bundle.schema.json").read_text(encoding="utf-8")
    assert json.loads(published) == SCHEMA, "run scripts/bundle-schema"


def test_it_is_a_schema() -> None:
    Draft202012Validator.check_schema(SCHEMA)


@pytest.mark.parametrize("name", DEFINITIONS)
def test_keys_of_schema_reader_and_spec_are_the_same(name: str) -> None:
    known, spec = DEFINITIONS[name]
    assert set(SCHEMA["$defs"][name]["properties"]) == set(known)
    assert {field.name for field in dataclasses.fields(spec)} == set(known)


# What a row has and a bundle does not: its realm, what the platform notes by itself, and the account behind a subject.
OWN_TO_ROWS = {"id", "realm", "created_at", "granted_by", "user", "kind"}
ROW_NAMES = {"ref": "id"}
# Lists that stand in tables of their own.
LISTS = {"permissions", "inherits", "groups", "exclude", "deny", "members", "requires"}


@pytest.mark.parametrize(
    ("model", "known"),
    [
        (models.Permission, keys.PERMISSION_KEYS),
        (models.PermissionGroup, keys.GROUP_KEYS),
        (models.Role, keys.ROLE_KEYS),
        (models.Subject, keys.SUBJECT_KEYS),
        (models.Team, keys.TEAM_KEYS),
        (models.Resource, keys.RESOURCE_KEYS),
        (models.RoleBinding, keys.BINDING_KEYS),
    ],
)
def test_fields_of_the_model_and_keys_of_the_bundle_are_the_same(model: type, known: tuple[str, ...]) -> None:
    fields = {f.name for f in model._meta.concrete_fields}  # type: ignore[attr-defined]
    named = {ROW_NAMES.get(name, name) for name in fields - OWN_TO_ROWS}
    assert named - LISTS == set(known) - LISTS


def test_fields_of_the_realm_and_keys_of_the_bundle_are_the_same() -> None:
    fields = {f.name for f in models.Realm._meta.concrete_fields} - {"id", "epoch", "rev", "stamp", "write_state"}
    top = {"name", *keys.REALM_KEYS} - {"settings"} | set(keys.SETTINGS_KEYS)
    assert fields == top
    assert fields == {field.name for field in dataclasses.fields(specs.RealmSpec)}


def test_it_accepts_the_demo() -> None:
    demo = yaml.safe_load((ROOT / "permsite/demo.yaml").read_text(encoding="utf-8"))
    assert list(VALIDATOR.iter_errors(demo)) == []


def test_it_refuses_the_mistakes_that_a_schema_can_see() -> None:
    wrong = yaml.safe_load(TWENTY_AND_MORE.replace("reason: y", ""))
    places = {error.json_path for error in VALIDATOR.iter_errors(wrong)}
    assert {
        "$",
        "$.version",
        "$.combining",
        "$.settings.staleness_s",
        "$.settings.suspended",
        "$.permissions[0].code",
        "$.permissions[1].code",
        "$.permissions[3]",
        "$.permissions[4].critical",
        "$.roles[0]",
        "$.roles[1].permissions",
        "$.roles[5].valid_from",
        "$.roles[6].obligations[0]",
        "$.subjects[0].id",
        "$.subjects[1].id",
        "$.subjects[3].attributes",
        "$.resources[1].id",
        "$.bindings[0]",
        "$.bindings[1]",
        "$.bindings[2]",
        "$.bindings[5]",
    } <= places
