"""Names are looked up in the realm: nothing of another realm can be bound, inherited, held, placed under or revoked."""

from __future__ import annotations

import pytest

from permissions.bundle.specs import BindingSpec, GroupSpec, MemberSpec, ResourceSpec, RoleSpec
from permissions.errors import Forbidden, Invalid, NotFound
from permissions.models import Membership, Resource, Subject
from permissions.services.bindings import binding_create, binding_delete, binding_update
from permissions.services.catalog import group_update, permission_delete, role_create, role_delete
from permissions.services.keys import key_create, key_revoke
from permissions.services.resources import resource_create, resource_delete
from permissions.services.subjects import subject_delete
from permissions.services.teams import member_add, member_remove, team_delete
from permissions.writing import SYSTEM
from tests.permissions.acme import ALICE, Acme

pytestmark = [pytest.mark.both_databases, pytest.mark.django_db]


@pytest.fixture
def other(acme: Acme) -> Acme:
    other = Acme("other")
    other.role("theirs", "post:edit")
    other.group("their group", "post:edit")
    other.team("team:theirs", "user:eve")
    other.resource("server:theirs")
    return other


def test_a_role_or_group_of_another_realm_is_unknown(acme: Acme, other: Acme) -> None:
    with pytest.raises(Invalid, match="role: there is no role 'theirs'"):
        binding_create(actor=SYSTEM, realm=acme.realm, spec=BindingSpec("user:bob", role="theirs"))
    with pytest.raises(Invalid) as refused:
        spec = RoleSpec("mine", inherits=("theirs",), groups=("their group",))
        role_create(actor=SYSTEM, realm=acme.realm, spec=spec)
    assert [p.where for p in refused.value.problems] == ["inherits[0]", "groups[0]"]


def test_a_parent_or_scope_is_made_in_the_realm_never_taken_from_another(acme: Acme, other: Acme) -> None:
    row = resource_create(actor=SYSTEM, realm=acme.realm, spec=ResourceSpec("channel:1", parent="server:theirs"))
    assert row.parent is not None
    assert row.parent.realm == acme.realm
    binding = acme.binding("user:eve", allow=("post:read",), scope="server:theirs")
    assert binding.scope is not None
    assert binding.scope.realm == binding.subject.realm == acme.realm
    assert Resource.objects.filter(ref="server:theirs").count() == 2


def test_members_are_subjects_of_the_realm(acme: Acme, other: Acme) -> None:
    member_add(actor=SYSTEM, realm=acme.realm, team="team:eng", spec=MemberSpec("user:eve"))
    row = Membership.objects.get(team__ref="team:eng", member__ref="user:eve")
    assert row.member.realm == acme.realm
    assert Subject.objects.filter(ref="user:eve").count() == 2


def test_nothing_of_another_realm_can_be_changed_or_deleted(acme: Acme, other: Acme) -> None:
    binding = other.binding("user:eve", "theirs")
    key, _ = key_create(actor=SYSTEM, realm=other.realm, name="ci")
    mine = acme.realm
    with pytest.raises(NotFound):
        binding_delete(actor=SYSTEM, realm=mine, binding_id=binding.pk)
    with pytest.raises(NotFound):
        binding_update(actor=SYSTEM, realm=mine, binding_id=binding.pk, spec=BindingSpec("user:eve", allow=("*",)))
    with pytest.raises(NotFound):
        key_revoke(actor=SYSTEM, realm=mine, key_id=key.pk)
    with pytest.raises(NotFound):
        role_delete(actor=SYSTEM, realm=mine, name="theirs")
    with pytest.raises(NotFound):
        group_update(actor=SYSTEM, realm=mine, name="their group", spec=GroupSpec("their group"))
    with pytest.raises(NotFound):
        permission_delete(actor=SYSTEM, realm=mine, code="post:edit")
    with pytest.raises(NotFound):
        subject_delete(actor=SYSTEM, realm=mine, ref="user:eve")
    with pytest.raises(NotFound):
        team_delete(actor=SYSTEM, realm=mine, ref="team:theirs")
    with pytest.raises(NotFound):
        member_remove(actor=SYSTEM, realm=mine, team="team:theirs", member="user:eve")
    with pytest.raises(NotFound):
        resource_delete(actor=SYSTEM, realm=mine, ref="server:theirs")
    with pytest.raises(NotFound):
        key_create(actor=SYSTEM, realm=mine, name="spy", subject="user:eve")


def test_an_authors_rights_in_one_realm_are_none_in_another(acme: Acme, other: Acme) -> None:
    with pytest.raises(Forbidden):
        binding_create(actor=ALICE, realm=other.realm, spec=BindingSpec("user:alice", allow=("*",)))
