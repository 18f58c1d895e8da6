"""The demo's bundle reads clean, and shows what the screens need."""

from __future__ import annotations

from pathlib import Path

import pytest

from permissions.bundle.diff import diff
from permissions.bundle.names_used import named_in
from permissions.bundle.reader import read
from permissions.bundle.specs import Bundle, RealmSpec
from permissions.bundle.writer import dump

PATH = Path(__file__).resolve().parents[3] / "permsite/demo.yaml"


@pytest.fixture(scope="module")
def demo() -> Bundle:
    return read(PATH.read_text(encoding="utf-8"), name="demo.yaml")


def test_it_survives_a_round_trip(demo: Bundle) -> None:
    assert read(dump(demo), name="again.yaml") == demo


def test_every_role_and_group_it_names_is_described(demo: Bundle) -> None:
    named = named_in(demo)
    assert set(named.roles) <= {role.name for role in demo.roles or ()}
    assert set(named.groups) <= {group.name for group in demo.groups or ()}


def test_it_holds_all_of_the_kubernetes_roles(demo: Bundle) -> None:
    assert sum((role.description or "").startswith("Kubernetes ") for role in demo.roles or ()) == 67


def test_every_kind_of_thing_is_shown(demo: Bundle) -> None:
    roles, bindings = demo.roles or (), demo.bindings or ()
    permissions, teams = demo.permissions or (), demo.teams or ()
    shown = {
        "a menu": any(p.menu for p in permissions),
        "a requirement": any(p.requires for p in permissions),
        "a critical permission": any(p.critical for p in permissions),
        "a high risk": any(p.high_risk for p in permissions),
        "an exclusion": any(r.exclude for r in roles),
        "a role that denies": any(r.deny for r in roles),
        "an obligation": any(r.obligations for r in roles),
        "a conditional line": any(line.condition for r in roles for line in r.permissions),
        "a role that ends": any(r.valid_until for r in roles),
        "a nested team": any(m.id.startswith("team:") for t in teams for m in t.members),
        "a membership that ends": any(m.valid_until for t in teams for m in t.members),
        "a private channel": any(not r.inherit for r in demo.resources or ()),
        "a direct denial": any(b.deny for b in bindings),
        "a conditional binding": any(b.condition for b in bindings),
        "a binding that ends": any(b.valid_until for b in bindings),
        "a binding of everyone": any(b.subject == "user:*" for b in bindings),
        "a binding that stays on its node": any(not b.propagate for b in bindings),
        "an overlay type": bool(demo.realm.resource_types),
        "an inactive subject": any(not s.active for s in demo.subjects or ()),
        "a locked subject": any(s.locked for s in demo.subjects or ()),
    }
    assert [what for what, there in shown.items() if not there] == []


def test_the_administrator_of_the_demo_administers_the_platform(demo: Bundle) -> None:
    [binding] = [b for b in demo.bindings or () if b.subject == "user:admin"]
    [role] = [r for r in demo.roles or () if r.name == binding.role]
    assert [line.code for line in role.permissions] == ["permsite.*:*"]
    assert (binding.scope, binding.condition, binding.valid_until) == (None, "", None)


def test_everything_in_it_is_new_to_an_empty_realm(demo: Bundle) -> None:
    changes = diff(Bundle(RealmSpec("default")), demo, prune=False)
    assert {change.kind for change in changes if change.section != "realm"} == {"add"}
