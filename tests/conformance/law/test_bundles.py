"""interfaces.md, "Bundle", `apply` and `export`: what a bundle says is what the realm is, and comes out again."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from django.conf import settings
from django.contrib.auth.models import User
from django.core.management import call_command

from permissions import pdp
from permissions.models import AuditEvent, Permission, Role, RoleBinding, Subject
from permissions.revisions import head
from tests.conformance.law.world import holds, law, refuses
from tests.worlds import apply

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.both_databases]

EVERYTHING = """
version: 1
realm: default
combining: deny_overrides
resource_types: {channel: {combining: overlay}}
unknown_subjects: everyone
settings: {staleness_s: 0.25, static_grace_s: 1, suspended: false}
permissions:
  - {code: "post:edit", title: "Edit posts", menu: "content/posts", requires: ["post:read"], critical: true, high_risk: true}
  - {code: "post:read"}
groups:
  - {name: content.read, permissions: ["post:read", "comment:*", "permsite.binding:view"]}
roles:
  - {name: viewer, groups: [content.read], valid_from: "0001-01-01T00:00:00Z", valid_until: "9999-12-31T00:00:00Z"}
  - name: editor
    inherits: [viewer]
    groups: [content.read]
    permissions: ["post:edit", {code: "post:publish", condition: "context.mfa == true"}]
    exclude: ["post:edit:pinned"]
    deny: ["post:purge", {code: "post:wipe", condition: "context.night == true"}]
    obligations: [{id: notify, type: notification, properties: {to: log}}]
subjects:
  - {id: "user:alice", attributes: {dept: sales, n: 1, f: 1.0, t: true, z: null, l: [1, {a: "é"}]}, active: true}
  - {id: "user:off", active: false, locked: true}
teams:
  - {id: "team:eng", members: ["user:alice", "team:ops", {id: "user:eve", valid_until: "2026-12-31T00:00:00Z"}]}
  - {id: "team:ops"}
  - {id: "group:eng", members: ["service:ci"]}
resources:
  - {id: "server:7"}
  - {id: "channel:9", parent: "server:7", attributes: {owner: "user:alice"}, inherit: true}
  - {id: "channel:p", parent: "server:7", inherit: false}
bindings:
  - {subject: "user:alice", role: editor, scope: "server:7"}
  - {subject: "user:alice", role: editor, scope: "server:7"}
  - {subject: "user:*", role: viewer, propagate: false}
  - {subject: "team:eng", role: editor, scope: "channel:9", condition: "resource.attributes.owner == subject.ref",
     valid_from: "2026-01-01T00:00:00Z", valid_until: "2026-12-31T00:00:00.000001Z", reason: "project x"}
  - {subject: "user:bob", deny: ["post:*"], scope: "channel:9"}
  - {subject: "user:bob", allow: ["post:read", "*"], deny: ["post:edit"], scope: "channel:9",
     obligations: [{id: o, type: step-up}]}
"""


def run(*arguments: str) -> tuple[int, str, str]:
    out, err = io.StringIO(), io.StringIO()
    status = 0
    try:
        call_command(*arguments, stdout=out, stderr=err)
    except SystemExit as exit_:
        status = int(exit_.code or 0)
    return status, out.getvalue(), err.getvalue()


def exported(realm: str = "default", form: str = "yaml") -> str:
    status, out, _ = run("export", "--realm", realm, "--format", form)
    assert status == 0
    return out


def state() -> tuple[int, int, str]:
    return head("default").rev, AuditEvent.objects.count(), exported()


@pytest.fixture
def bundle(tmp_path: Path) -> Any:
    def write(text: str, name: str = "realm.yaml") -> str:
        path = tmp_path / name
        path.write_text(text)
        return str(path)

    return write


def test_the_page_s_own_bundle_goes_in_and_comes_out_the_same(bundle: Any) -> None:
    pdp.reset()
    status, out, _ = run("apply", bundle(EVERYTHING))
    assert status == 0
    assert "v1." in out
    before = state()
    for form in ("yaml", "json"):
        text = exported(form=form)
        for options in ([], ["--prune"], ["--dry-run"]):
            status, _, err = run("apply", bundle(text, f"again.{form}"), *options)
            assert (status, err) == (0, "")
            assert state() == before
    again = yaml.safe_load(exported())
    assert json.loads(exported(form="json")) == again
    given = yaml.safe_load(EVERYTHING)
    assert (again["combining"], again["unknown_subjects"]) == ("deny_overrides", "everyone") or "combining" not in again
    assert again["resource_types"] == given["resource_types"]
    alice = next(row for row in again["subjects"] if row["id"] == "user:alice")
    assert json.dumps(alice["attributes"], sort_keys=True) == json.dumps(given["subjects"][0]["attributes"], sort_keys=True)
    assert len([row for row in again["bindings"] if row["subject"] == "user:alice"]) == 2
    assert not any(row["code"].startswith("permsite.") for row in again["permissions"])
    assert {"post:publish", "post:purge", "post:wipe", "post:edit:pinned"} <= {row["code"] for row in again["permissions"]}


def test_what_is_exported_fits_the_published_schema_and_another_realm(bundle: Any) -> None:
    schema = json.loads((Path(settings.BASE_DIR) / "docs/reference/bundle.schema.json").read_text())
    jsonschema.validate(yaml.safe_load(EVERYTHING), schema)
    apply(EVERYTHING)
    text = exported(form="json")
    jsonschema.validate(json.loads(text), schema)
    assert run("apply", bundle(text, "x.json"), "--realm", "copy")[0] == 0
    copied = json.loads(exported("copy", "json"))
    assert copied.pop("realm") == "copy"
    original = json.loads(text)
    original.pop("realm")
    assert copied == original


def test_a_dry_run_says_the_same_and_changes_nothing(bundle: Any) -> None:
    pdp.reset()
    apply("subjects: [{id: 'user:u'}]")
    before = state()
    status, dry, _ = run("apply", bundle(EVERYTHING), "--dry-run")
    assert status == 0
    assert state() == before
    assert pdp.check("user:alice", "post:read", "server:7").reason == "unknown_subject"
    status, wet, _ = run("apply", bundle(EVERYTHING))
    assert status == 0
    assert [line for line in wet.splitlines() if line.startswith(("+", "-", "~", " "))] == [
        line for line in dry.splitlines() if line.startswith(("+", "-", "~", " "))
    ]
    assert pdp.check("user:alice", "post:read", "server:7")
    assert head("default").rev == before[0] + 1


def test_one_apply_is_one_revision_and_an_empty_one_is_none() -> None:
    apply(EVERYTHING)
    rev = head("default").rev
    assert apply(EVERYTHING).revision == rev
    assert apply("version: 1").revision == rev
    assert apply("realm: default\nsubjects: []").revision == rev


def test_prune_removes_what_a_named_section_does_not_name_and_nothing_else() -> None:
    User.objects.create_user("dana")
    apply(EVERYTHING)
    apply("realm: default\nroles: [{name: viewer, groups: [content.read]}]\nbindings: []", prune=True)
    assert set(Role.objects.values_list("name", flat=True)) == {"viewer"}
    assert RoleBinding.objects.count() == 0
    left = yaml.safe_load(exported())
    assert len(left["resources"]) == 3
    assert len(left["groups"]) == 1
    apply("subjects: []\nteams: []", prune=True)
    refs = set(Subject.objects.values_list("ref", flat=True))
    assert "user:dana" in refs
    assert not refs & {"user:alice", "user:off", "team:eng", "team:ops", "group:eng"}
    apply("permissions: []\ngroups: []\nroles: []", prune=True)
    assert not Permission.objects.exclude(code__startswith="permsite.").exists()
    assert "permissions" not in yaml.safe_load(exported()) or not yaml.safe_load(exported())["permissions"]


def test_without_prune_nothing_that_is_left_out_goes() -> None:
    apply(EVERYTHING)
    before = yaml.safe_load(exported())
    apply("roles: []\nbindings: []\nsubjects: []\nteams: []\nresources: []\ngroups: []\npermissions: []")
    assert yaml.safe_load(exported()) == before


def test_two_bindings_of_one_subject_at_one_scope_stay_two() -> None:
    law(
        """
        bindings:
          - {subject: "user:u", allow: ["p:a"], condition: "context.x == 1"}
          - {subject: "user:u", allow: ["p:a"], condition: "context.x == 2"}
          - {subject: "user:u", allow: ["p:b"]}
          - {subject: "user:u", allow: ["p:b"]}
        """
    )
    assert RoleBinding.objects.count() == 4
    for x, reason in ((1, "granted"), (2, "granted"), (3, "condition_false")):
        holds(f"user:u p:a - = {reason}", context={"x": x})
    apply('bindings: [{subject: "user:u", allow: ["p:b"]}]', prune=True)
    assert RoleBinding.objects.count() == 1
    holds("user:u p:b - = granted\nuser:u p:a - = no_grant")


# Each mistake, and what its message names; it stands on line 4 of the text.
MISTAKES = [
    ('subjects: [{id: "user:a", colour: red}]', "colour"),
    ('subjects: [{id: "user:a", id: "user:b"}]', "id"),
    ("colour: {a: b}", "colour"),
    ("realm: default", "realm"),
    ('roles: [{name: a, permission: ["p:a"]}]', "permission"),
    ('roles: [{name: a, permissions: [{code: "p:a", when: "true"}]}]', "when"),
    ('permissions: [{code: "p:a", require: []}]', "require"),
    ("groups: [{name: g, codes: []}]", "codes"),
    ('teams: [{id: "team:a", member: []}]', "member"),
    ('teams: [{id: "team:a", members: [{id: "user:a", until: x}]}]', "until"),
    ('resources: [{id: "a:1", parents: "b:1"}]', "parents"),
    ('bindings: [{subject: "user:a", roles: [r]}]', "roles"),
    ("settings: {stale: 1}", "stale"),
    ("resource_types: {channel: {combine: overlay}}", "combine"),
    ("resource_types: {channel: {combining: union}}", "union"),
    ("combining: first_match", "first_match"),
    ("unknown_subjects: allow", "allow"),
    ('bindings: [{subject: "user:a"}]', "role"),
    ('bindings: [{subject: "user:a", role: nobody.defines}]', "nobody.defines"),
    ("bindings: [{role: r}]", "subject"),
    ("roles: [{name: a, inherits: [missing]}]", "missing"),
    ("roles: [{name: a, groups: [missing]}]", "missing"),
    ("subjects: [{id: 7}]", "id"),
    ('subjects: [{id: "user:a", active: "yes"}]', "active"),
    ('subjects: [{id: "user:a", attributes: [1]}]', "attributes"),
    ('subjects: {id: "user:a"}', "subjects"),
    ('subjects: ["user:a"]', "subjects"),
    ('subjects: [{id: "user:a"}, {id: "user:a"}]', "user:a"),
    ("roles: [{name: a}, {name: a}]", "a"),
    ('permissions: [{code: "p:a"}, {code: "p:a"}]', "p:a"),
    ('resources: [{id: "a:1"}, {id: "a:1"}]', "a:1"),
    ('roles: [{name: a, permissions: [{code: "p:a", condition: "1 +"}]}]', "condition"),
    ('bindings: [{subject: "user:a", allow: ["p:a"], propagate: 1}]', "propagate"),
    ('bindings: [{subject: "user:a", allow: "p:a"}]', "allow"),
    ('bindings: [{subject: "user:a", allow: ["p:a"], scope: "*"}]', "scope"),
    ('bindings: [{subject: "user:a", allow: ["p:a"], scope: "channel:*"}]', "scope"),
    ('settings: {suspended: "no"}', "suspended"),
    ("settings: {staleness_s: -1}", "staleness_s"),
]


def test_every_mistake_is_named_with_its_line_and_changes_nothing() -> None:
    apply("realm: default\nsubjects: [{id: 'user:u'}]")
    before = state()
    for line, said in MISTAKES:
        message = refuses(f"version: 1\nrealm: default\n# third line\n{line}\n", said)
        assert "line 4" in message, f"{line}: {message}"
    assert state() == before


NO_BUNDLES = [
    "version: 2\nrealm: default",
    "version: '1'",
    "- version: 1",
    "version: 1\nrealm: [",
    "version: 1\n---\nversion: 1",
    "version: 1\na: &x [1]\nb: *x",
    "version: 1\nrealm: !!python/object:os.system x",
    "version: 1\nrealm: ''",
]


def test_what_is_no_bundle_is_refused() -> None:
    for text in NO_BUNDLES:
        before = state()
        refuses(text)
        assert state() == before


def test_all_mistakes_are_told_at_once_and_the_command_ends_with_an_error(bundle: Any) -> None:
    apply("realm: default")
    before = state()
    text = (
        'version: 1\nrealm: default\nsubjects:\n  - {id: "nocolon"}\nroles:\n  - {name: a, colour: red}\n'
        'bindings:\n  - {subject: "user:a", role: missing}\n'
    )
    status, out, err = run("apply", bundle(text))
    assert status != 0
    assert state() == before
    said = out + err
    for word in ("line 4", "nocolon", "line 6", "colour"):
        assert word in said
    assert run("apply", bundle("{", "x.json"))[0] != 0
    assert run("apply", "/nonexistent/bundle.yaml")[0] != 0
    assert state() == before


def test_the_platforms_codes_may_be_granted_and_are_neither_exported_nor_pruned() -> None:
    law(
        """
        permissions: [{code: "p:a"}]
        roles: [{name: admin, permissions: ["permsite.*:*", "permsite.key:view"]}]
        bindings: [{subject: "user:u", role: admin}]
        """,
        "user:u permsite.key:view - = granted",
    )
    text = exported()
    assert [row["code"] for row in yaml.safe_load(text)["permissions"]] == ["p:a"]
    apply('permissions: []\nroles: []\nbindings: [{subject: "user:u", allow: ["permsite.*:*"]}]', prune=True)
    holds("user:u permsite.key:view - = granted\nuser:u p:a - = unknown_permission")


def test_who_was_named_as_a_member_becomes_a_team_when_listed_as_one() -> None:
    law('teams: [{id: "team:eng", members: ["team:ops"]}]\nbindings: [{subject: "squad:a", allow: ["p:a"]}]')
    text = exported()
    apply(text)
    assert exported() == text
    law(
        """
        teams: [{id: "team:ops", members: ["user:zoe"]}, {id: "squad:a", members: ["user:zoe"]}]
        bindings: [{subject: "team:eng", allow: ["p:eng"]}]
        """,
        """
        user:zoe p:eng - = granted
        user:zoe p:a - = granted
        team:ops p:eng - = granted
        """,
    )


def test_a_bundle_may_be_json(bundle: Any) -> None:
    pdp.reset()
    lines = {"version": 1, "realm": "default", "bindings": [{"subject": "user:u", "allow": ["p:a"]}]}
    assert run("apply", bundle(json.dumps(lines), "x.json"))[0] == 0
    holds("user:u p:a - = granted")
    repeated = '{"version": 1, "realm": "default",\n "subjects": [\n{"id": "user:a", "id": "user:b"}]}'
    status, out, err = run("apply", bundle(repeated, "y.json"))
    assert status != 0
    assert "line 3" in out + err
