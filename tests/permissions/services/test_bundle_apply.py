"""A bundle is applied whole or not at all, and what was exported changes nothing."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.db import connection
from django.test.utils import CaptureQueriesContext

from permissions.bundle.reader import read
from permissions.bundle.specs import BindingSpec, Bundle, CodeSpec, GroupSpec, RealmSpec, RoleSpec
from permissions.bundle.writer import dump
from permissions.errors import Invalid
from permissions.models import AuditEvent, Permission, Realm, Resource, Role, RoleBinding, Subject
from permissions.services.bundles import Applied, bundle_apply
from permissions.services.specs import export_bundle
from permissions.writing import SYSTEM

pytestmark = [pytest.mark.both_databases, pytest.mark.django_db]

WHOLE = """
version: 1
realm: world
combining: overlay
resource_types: {channel: {combining: deny_overrides}}
unknown_subjects: everyone
settings: {staleness_s: 0.25, static_grace_s: 3.0}
permissions:
  - {code: "post:edit", title: "Edit posts", menu: "content/posts", requires: ["post:read"], critical: true, high_risk: true}
groups:
  - {name: content.read, title: Reading, permissions: ["post:read", "comment:*"]}
roles:
  - {name: lead, inherits: [editor]}
  - name: editor
    description: Edits.
    inherits: [viewer]
    groups: [content.read]
    permissions: ["post:edit", {code: "post:publish", condition: "context.mfa == true"}]
    exclude: ["post:edit:pinned"]
    deny: ["post:purge", {code: "post:send", condition: "context.night == true"}]
    obligations: [{id: log, type: audit, properties: {level: 3}}]
    valid_from: "2020-01-01T00:00:00Z"
    valid_until: "9999-12-31T00:00:00Z"
  - {name: viewer}
subjects:
  - {id: "user:alice", attributes: {dept: sales, level: 3, share: 3.0}, active: true}
  - {id: "user:zoe", active: false, locked: true}
teams:
  - {id: "team:eng", members: ["user:alice", "group:ops", {id: "user:eve", valid_until: "2100-12-31T00:00:00Z"}]}
  - {id: "group:ops", attributes: {floor: 2}}
resources:
  - {id: "message:1", parent: "channel:9"}
  - {id: "channel:9", parent: "server:7", attributes: {owner: "user:alice"}, inherit: false}
bindings:
  - {subject: "user:alice", role: editor, scope: "server:7"}
  - {subject: "user:*", role: viewer, propagate: false}
  - {subject: "team:eng", role: editor, scope: "channel:9", condition: "resource.attributes.owner == subject.ref",
     valid_from: "2020-01-01T00:00:00Z", valid_until: "2100-12-31T00:00:00Z", reason: "project x"}
  - {subject: "user:bob", deny: ["post:*"], scope: "channel:9"}
  - {subject: "user:bob", deny: ["post:*"], scope: "channel:9"}
  - {subject: "user:bob", allow: ["post:read"], deny: ["post:see"], obligations: [{id: a, type: b}]}
"""


def _apply(text: str, **given: Any) -> Applied:
    return bundle_apply(actor=SYSTEM, bundle=read(text, name="b.yaml"), **given)


def _world() -> Realm:
    return Realm.objects.get(name="world")


def test_it_makes_the_realm_and_everything_in_it(db: None) -> None:
    _apply(WHOLE)
    found, said = export_bundle(_world()), read(WHOLE, name="b.yaml")
    assert found.realm == said.realm
    for section in ("roles", "teams"):
        assert len(getattr(found, section)) == len(getattr(said, section))
    assert found.bindings == said.bindings
    assert {spec.id for spec in found.subjects or ()} == {"user:alice", "user:bob", "user:eve", "user:zoe"}
    assert {spec.id: spec.parent for spec in found.resources or ()} == {
        "server:7": None,
        "channel:9": "server:7",
        "message:1": "channel:9",
    }


@pytest.mark.parametrize("form", ["yaml", "json"])
def test_what_was_exported_changes_nothing(db: None, form: Any) -> None:
    _apply(WHOLE)
    text = dump(export_bundle(_world()), form)
    entries = AuditEvent.objects.count()
    again = _apply(text, prune=True)
    assert (list(again.changes), AuditEvent.objects.count()) == ([], entries)
    assert dump(export_bundle(_world()), form) == text


def test_what_was_exported_makes_the_same_realm_elsewhere(db: None) -> None:
    _apply(WHOLE)
    exported = export_bundle(_world())
    bundle_apply(actor=SYSTEM, bundle=exported, realm_name="twin")
    twin = export_bundle(Realm.objects.get(name="twin"))
    assert twin.realm == RealmSpec(
        "twin", exported.realm.combining, exported.realm.resource_types, exported.realm.unknown_subjects, 0.25, 3.0
    )
    for section in ("permissions", "groups", "roles", "subjects", "teams", "resources", "bindings"):
        assert getattr(twin, section) == getattr(exported, section)


def test_each_object_has_one_event_under_the_actor(db: None) -> None:
    _apply(WHOLE, reason="first load")
    events = list(AuditEvent.objects.filter(realm_name="world"))
    made = [event for event in events if event.action.endswith(".create")]
    assert len({(event.object_type, event.object_id) for event in made}) == len(made)
    assert {event.object_type for event in made} == {
        "permission",
        "group",
        "role",
        "subject",
        "team",
        "resource",
        "binding",
    }
    assert {(event.actor, event.actor_kind, event.reason) for event in events} == {("system", "administrator", "first load")}


def test_a_dry_run_does_everything_and_leaves_nothing(db: None) -> None:
    applied = _apply(WHOLE, dry_run=True)
    assert len(applied.changes) > 20
    assert not Realm.objects.filter(name="world").exists()
    assert not AuditEvent.objects.filter(realm_name="world").exists()


def test_a_section_that_is_absent_is_left_alone_and_without_prune_nothing_goes(db: None) -> None:
    _apply(WHOLE)
    before = export_bundle(_world())
    _apply("version: 1\nrealm: world\nroles: []\nbindings: []\n")
    assert export_bundle(_world()) == before
    _apply('version: 1\nrealm: world\nbindings:\n  - {subject: "user:alice", role: editor, scope: "server:7"}\n', prune=True)
    after = export_bundle(_world())
    assert len(after.bindings or ()) == 1
    assert (after.roles, after.subjects, after.resources) == (before.roles, before.subjects, before.resources)


def test_pruning_takes_what_is_named_no_more(db: None) -> None:
    _apply(WHOLE)
    sections = ("permissions", "groups", "roles", "subjects", "teams", "resources", "bindings")
    _apply("version: 1\nrealm: world\n" + "".join(f"{section}: []\n" for section in sections), prune=True)
    left = export_bundle(_world())
    assert [getattr(left, section) for section in ("permissions", "groups", "roles", "teams", "resources", "bindings")] == [
        ()
    ] * 6
    assert left.subjects == ()
    deleted = AuditEvent.objects.filter(realm_name="world", action__endswith=".delete")
    assert set(deleted.values_list("object_type", flat=True)) == {
        "permission",
        "group",
        "role",
        "subject",
        "team",
        "resource",
        "binding",
    }


def test_the_subjects_of_accounts_are_never_pruned(db: None) -> None:
    get_user_model().objects.create_user("dora")
    _apply("version: 1\nrealm: default\nsubjects: []\n", prune=True)
    assert Subject.objects.filter(realm__name="default", ref="user:dora").exists()


def test_one_of_two_equal_bindings_goes(db: None) -> None:
    _apply(WHOLE)
    text = 'version: 1\nrealm: world\nbindings:\n  - {subject: "user:bob", deny: ["post:*"], scope: "channel:9"}\n'
    first = RoleBinding.objects.filter(subject__ref="user:bob", allow=[]).order_by("pk").first()
    _apply(text, prune=True)
    assert first is not None
    assert list(RoleBinding.objects.values_list("pk", flat=True)) == [first.pk]


BAD = """version: 1
realm: world
groups:
  - {name: reading, permissions: ["post:read"]}
roles:
  - {name: editor, inherits: [ghost], groups: [reading, nothing]}
  - {name: writer, permissions: ["permsite.nobody:knows"]}
bindings:
  - {subject: "user:bob", role: editor}
  - {subject: "user:bob", role: nobody}
  - {subject: "user:bob", allow: ["permsite.bindings:create"]}
"""


def test_every_mistake_is_told_at_once_with_its_line_and_nothing_changes(db: None) -> None:
    with pytest.raises(Invalid) as refused:
        _apply(BAD)
    assert [(problem.line, problem.where) for problem in refused.value.problems] == [
        (6, "roles[0].inherits[0]"),
        (6, "roles[0].groups[1]"),
        (7, "roles[1].permissions[0]"),
        (10, "bindings[1].role"),
        (11, "bindings[2].allow[0]"),
    ]
    assert not Realm.objects.filter(name="world").exists()
    assert not AuditEvent.objects.filter(realm_name="world").exists()


def test_specs_made_by_hand_are_judged_as_those_that_were_read(db: None) -> None:
    bundle = Bundle(
        RealmSpec("world"),
        groups=(GroupSpec("g", permissions=("no segment",)),),
        roles=(RoleSpec("r", permissions=(CodeSpec("post:a", "("),)),),
        bindings=(BindingSpec("user:bob", role="r", allow=("post:a",)), BindingSpec("user")),
    )
    with pytest.raises(Invalid) as refused:
        bundle_apply(actor=SYSTEM, bundle=bundle)
    assert [problem.where for problem in refused.value.problems] == [
        "groups[0].permissions[0]",
        "roles[0].permissions[0].condition",
        "bindings[0]",
        "bindings[1].subject",
        "bindings[1]",
    ]


def test_a_name_described_twice_is_a_mistake(db: None) -> None:
    bundle = Bundle(RealmSpec("world"), roles=(RoleSpec("r"), RoleSpec("r", title="Again")))
    with pytest.raises(Invalid, match=r"roles\[1\]: 'r' is described twice"):
        bundle_apply(actor=SYSTEM, bundle=bundle)


def test_a_subject_becomes_a_team_and_an_empty_team_a_subject(db: None) -> None:
    start = "version: 1\nrealm: world\n"
    _apply(start + 'subjects:\n  - {id: "group:a"}\nteams:\n  - {id: "group:b"}\n  - {id: "group:c", members: ["user:eve"]}\n')
    _apply(start + 'teams:\n  - {id: "group:a", members: ["user:bob"]}\nsubjects:\n  - {id: "group:b"}\n')
    assert dict(Subject.objects.filter(ref__startswith="group:").values_list("ref", "kind")) == {
        "group:a": "team",
        "group:b": "subject",
        "group:c": "team",
    }
    with pytest.raises(Invalid, match=r"line 4, subjects\[0\]: 'group:c' is a team with members"):
        _apply(start + 'subjects:\n  - {id: "group:c"}\n')


def test_an_account_cannot_be_listed_as_a_team(db: None) -> None:
    get_user_model().objects.create_user("dora")
    with pytest.raises(Invalid, match="belongs to a Django account"):
        _apply('version: 1\nrealm: default\nteams:\n  - {id: "user:dora"}\n')


def test_nodes_may_change_places_and_roles_their_inheritance(db: None) -> None:
    start = "version: 1\nrealm: world\n"
    _apply(
        start
        + 'resources:\n  - {id: "a:1"}\n  - {id: "a:2", parent: "a:1"}\nroles:\n  - {name: x}\n  - {name: y, inherits: [x]}\n'
    )
    _apply(
        start
        + 'resources:\n  - {id: "a:1", parent: "a:2"}\n  - {id: "a:2"}\nroles:\n  - {name: x, inherits: [y]}\n  - {name: y}\n'
    )
    assert Resource.objects.get(ref="a:1").parent == Resource.objects.get(ref="a:2")
    assert Role.objects.get(name="x").inherits.get().name == "y"


def _many(roles: int) -> Bundle:
    return Bundle(
        RealmSpec("many"),
        roles=tuple(RoleSpec(f"r{n}", permissions=tuple(CodeSpec(f"t{n % 7}:a{m}") for m in range(5))) for n in range(roles)),
        bindings=tuple(BindingSpec(f"user:{n}", role=f"r{n}", scope=f"node:{n % 10}") for n in range(roles)),
    )


def test_the_number_of_statements_does_not_grow_with_the_bundle(db: None) -> None:
    """Applying and exporting are bulk work; 165,000 lines in thousands of statements a role would take minutes."""
    counts = []
    for number in (20, 200):
        Realm.objects.filter(name="many").delete()
        with CaptureQueriesContext(
            connection,
        ) as applying:
            bundle_apply(actor=SYSTEM, bundle=_many(number))
        with CaptureQueriesContext(connection) as exporting:
            export_bundle(Realm.objects.get(name="many"))
        counts.append((len(applying), len(exporting)))
    # SQLite cuts a bulk insert at 999 variables a statement.
    assert counts[1][0] <= counts[0][0] + 40
    assert counts[1][1] == counts[0][1]


def test_progress_is_told_by_section(db: None) -> None:
    told: list[tuple[str, int, int]] = []
    bundle_apply(actor=SYSTEM, bundle=_many(300), progress=lambda *step: told.append(step))
    assert ("roles", 250, 300) in told
    assert ("roles", 300, 300) in told
    assert told[-1] == ("bindings", 300, 300)


def test_a_date_at_either_end_of_the_calendar_survives(db: None) -> None:
    window = (dt.datetime(1, 1, 1, tzinfo=dt.UTC), dt.datetime(9999, 12, 31, 23, 59, 59, 999999, tzinfo=dt.UTC))
    spec = BindingSpec("user:bob", allow=("a:b",), valid_from=window[0], valid_until=window[1])
    bundle_apply(actor=SYSTEM, bundle=Bundle(RealmSpec("world"), bindings=(spec,)))
    assert export_bundle(_world()).bindings == (spec,)
    assert Permission.objects.filter(realm__name="world", code="a:b").exists()
