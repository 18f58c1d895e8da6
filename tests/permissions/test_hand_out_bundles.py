"""A bundle of someone who is no administrator passes the guards of each of its lines."""

from __future__ import annotations

import json

import pytest

from permissions.bundle.reader import read
from permissions.bundle.schema import to_dict
from permissions.errors import Escalation, Forbidden, NotFound
from permissions.models import AuditEvent, Realm
from permissions.services.bundles import Applied, bundle_apply
from permissions.services.specs import export_bundle
from permissions.writing import SYSTEM, Actor
from tests.permissions.acme import CHARLIE, Acme

pytestmark = [pytest.mark.both_databases, pytest.mark.django_db]


def _apply(actor: Actor, text: str, *, prune: bool = False) -> Applied:
    return bundle_apply(actor=actor, bundle=read(f"version: 1\nrealm: acme\n{text}", name="b.yaml"), prune=prune)


def test_it_refuses_a_binding_and_names_its_line(acme: Acme) -> None:
    before, entries = export_bundle(acme.realm), AuditEvent.objects.count()
    with pytest.raises(Escalation) as refused:
        _apply(
            CHARLIE,
            'roles:\n  - {name: editor, permissions: ["post:edit"]}\nbindings:\n  - {subject: "user:charlie", role: editor}\n',
        )
    assert refused.value.detail.startswith("line 6, bindings[0]: 'user:charlie' would hand out more than they hold: 'post:edit'")
    assert export_bundle(acme.realm) == before
    assert AuditEvent.objects.count() == entries


def test_it_refuses_an_edit_of_a_role_a_team_or_a_tree(acme: Acme) -> None:
    acme.role("reader", "post:read")
    acme.binding("user:bob", "reader")
    acme.team("team:ops")
    acme.binding("team:ops", allow=("server:restart",))
    acme.binding("user:charlie", allow=("post:edit",), scope="server:8")
    for text in (
        'roles:\n  - {name: reader, permissions: ["post:*"]}',
        'teams:\n  - {id: "team:ops", members: ["user:charlie"]}',
        'resources:\n  - {id: "channel:9", parent: "server:8"}',
    ):
        with pytest.raises(Escalation):
            _apply(CHARLIE, text)


def test_it_refuses_to_prune_a_deny(acme: Acme) -> None:
    kept = [to_dict(spec) for spec in export_bundle(acme.realm).bindings or ()]
    acme.binding("user:bob", deny=("post:send",))
    with pytest.raises(Escalation, match="no longer denying"):
        _apply(CHARLIE, f"bindings: {json.dumps(kept)}", prune=True)


def test_it_refuses_to_change_the_law_of_the_realm(acme: Acme) -> None:
    with pytest.raises(Forbidden):
        _apply(CHARLIE, "combining: overlay")
    acme.binding("user:charlie", allow=("permsite.realm:change",))
    with pytest.raises(Escalation, match=r"changing combining needs permsite.realm:escalate"):
        _apply(CHARLIE, "combining: overlay")


def test_it_makes_no_realm(acme: Acme) -> None:
    with pytest.raises(NotFound):
        bundle_apply(actor=CHARLIE, bundle=read("version: 1\nrealm: new\n", name="b.yaml"))
    assert not Realm.objects.filter(name="new").exists()


WIDE = """
permissions:
  - {code: "post:read", title: "Read", requires: ["post:list"]}
groups:
  - {name: reading, permissions: ["post:read", "post:list"]}
roles:
  - {name: member, inherits: [reader]}
  - {name: reader, groups: [reading], exclude: ["post:read:secret"]}
subjects:
  - {id: "user:dan", attributes: {dept: sales}}
teams:
  - {id: "team:all", members: ["user:dan", "team:eng"]}
resources:
  - {id: "channel:10", parent: "server:9"}
bindings:
  - {subject: "team:all", role: member, scope: "channel:10", reason: because}
  - {subject: "user:*", allow: ["post:list"]}
"""


def test_it_applies_what_its_author_may_as_an_administrators_would_be(acme: Acme) -> None:
    """Two ways lead to one state: line by line, and in bulk."""
    acme.binding("user:charlie", allow=("post:*",))
    applied = _apply(CHARLIE, WIDE)
    assert applied.changes
    assert acme.may("user:dan", "post:read", "channel:10")
    assert _apply(SYSTEM, WIDE).changes == []
    twin = Acme("twin").people().tree()
    twin.binding("user:charlie", allow=("post:*",))
    bundle_apply(actor=SYSTEM, bundle=read(f"version: 1\nrealm: twin\n{WIDE}", name="b.yaml"))
    one, other = export_bundle(acme.realm), export_bundle(twin.realm)
    for section in ("permissions", "groups", "roles", "subjects", "teams", "resources", "bindings"):
        assert getattr(one, section) == getattr(other, section), section
