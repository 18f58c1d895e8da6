"""A bulk action is many writes in one: each is judged, and one refusal undoes all of them."""

from __future__ import annotations

import pytest

from permissions.bundle.specs import BindingSpec, MemberSpec
from permissions.errors import Escalation
from permissions.models import AuditEvent, Membership, RoleBinding
from permissions.services.bindings import binding_create, binding_delete
from permissions.services.teams import member_add
from permissions.writing import permission_write
from tests.permissions.acme import CHARLIE, Acme

pytestmark = [pytest.mark.both_databases, pytest.mark.django_db]


def test_it_refuses_all_bindings_for_one_that_gives_more(acme: Acme) -> None:
    before, entries = RoleBinding.objects.count(), AuditEvent.objects.count()
    with pytest.raises(Escalation, match="'user:eve'"), permission_write(acme.realm, CHARLIE, "bulk"):
        for subject, code in (("user:bob", "post:read"), ("user:dan", "post:read"), ("user:eve", "post:edit")):
            binding_create(actor=CHARLIE, realm=acme.realm, spec=BindingSpec(subject, allow=(code,)))
    assert (RoleBinding.objects.count(), AuditEvent.objects.count()) == (before, entries)


def test_it_refuses_to_add_many_members_at_once(acme: Acme) -> None:
    acme.team("team:ops")
    acme.binding("team:ops", allow=("server:restart",))
    with pytest.raises(Escalation), permission_write(acme.realm, CHARLIE, "bulk"):
        for member in ("user:bob", "user:charlie"):
            member_add(actor=CHARLIE, realm=acme.realm, team="team:ops", spec=MemberSpec(member))
    assert not Membership.objects.filter(team__ref="team:ops").exists()


def test_it_refuses_to_revoke_many_when_one_is_a_deny(acme: Acme) -> None:
    rows = [acme.binding("user:bob", allow=("post:edit",)), acme.binding("user:bob", deny=("post:send",))]
    with pytest.raises(Escalation, match="no longer denying"), permission_write(acme.realm, CHARLIE, "bulk"):
        for row in rows:
            binding_delete(actor=CHARLIE, realm=acme.realm, binding_id=row.pk)
    assert RoleBinding.objects.filter(pk__in=[row.pk for row in rows]).count() == 2


def test_what_one_write_gives_its_author_is_no_cover_for_the_next(acme: Acme) -> None:
    with pytest.raises(Escalation), permission_write(acme.realm, CHARLIE, "bulk"):
        binding_create(actor=CHARLIE, realm=acme.realm, spec=BindingSpec("user:charlie", allow=("post:read",)))
        binding_create(actor=CHARLIE, realm=acme.realm, spec=BindingSpec("user:charlie", allow=("post:edit",)))


def test_it_allows_what_each_of_them_may(acme: Acme) -> None:
    with permission_write(acme.realm, CHARLIE, "bulk"):
        for subject in ("user:bob", "user:dan"):
            binding_create(actor=CHARLIE, realm=acme.realm, spec=BindingSpec(subject, allow=("post:read",)))
    assert acme.may("user:dan", "post:read")
