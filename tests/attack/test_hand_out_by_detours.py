"""Ways around the guard of handing out that were open once: each reached more than its author held by a write of another kind."""

from __future__ import annotations

from typing import Any

import pytest

from permissions.bundle.specs import BindingSpec, CodeSpec, MemberSpec, PermissionSpec, RoleSpec, SubjectSpec, TeamSpec
from permissions.errors import Escalation, Forbidden
from permissions.services.bindings import binding_create, binding_delete, binding_update
from permissions.services.catalog import permission_create, permission_update
from permissions.services.roles import role_update
from permissions.services.subjects import subject_create, subject_delete
from permissions.services.teams import team_create, team_delete, team_update
from tests.permissions.acme import ALICE, BOB, CHARLIE, Acme, person

pytestmark = [pytest.mark.both_databases, pytest.mark.django_db]

MFA = {"id": "mfa", "type": "step_up"}
LOG = {"id": "log", "type": "audit"}


def test_it_refuses_to_shed_what_a_permission_requires_by_renaming_it_and_naming_it_anew(acme: Acme) -> None:
    acme.permission("post:send", requires=("channel:view",))
    acme.binding("user:bob", allow=("post:*",))
    with pytest.raises(Escalation, match="'post:send'"):
        permission_update(
            actor=CHARLIE,
            realm=acme.realm,
            code="post:send",
            spec=PermissionSpec("post:old", requires=("channel:view",)),
        )
    assert not acme.may("user:bob", "post:send")
    permission_create(actor=CHARLIE, realm=acme.realm, spec=PermissionSpec("post:free"))
    permission_update(actor=CHARLIE, realm=acme.realm, code="post:free", spec=PermissionSpec("post:freed"))


def test_the_right_to_escalate_at_a_node_alone_waives_nothing_below_it(acme: Acme) -> None:
    acme.binding("user:charlie", allow=("permsite.realm:escalate",), scope="server:7", propagate=False)
    with pytest.raises(Escalation):
        binding_create(actor=CHARLIE, realm=acme.realm, spec=BindingSpec("user:charlie", allow=("*",), scope="server:7"))
    here = BindingSpec("user:charlie", allow=("*",), scope="server:7", propagate=False)
    binding_create(actor=CHARLIE, realm=acme.realm, spec=here)
    assert not acme.may("user:charlie", "post:send", "channel:9")


def test_the_right_to_escalate_waives_nothing_where_it_is_denied_below(acme: Acme) -> None:
    acme.binding("user:charlie", allow=("permsite.realm:escalate",), scope="server:7")
    acme.binding("user:charlie", deny=("permsite.realm:escalate",), scope="channel:9")
    with pytest.raises(Escalation):
        binding_create(actor=CHARLIE, realm=acme.realm, spec=BindingSpec("user:charlie", allow=("*",), scope="server:7"))


def test_an_allow_under_a_condition_is_no_cover_for_lifting_a_deny_under_it(acme: Acme) -> None:
    """Of bob no level is known: the condition fails, and the deny holds. Lifted, it would give what charlie has by no means."""
    known = "subject.attributes.level > 3"
    acme.binding("user:bob", allow=("post:send",))
    row = acme.binding("user:bob", deny=("post:send",), condition=known)
    acme.binding("user:charlie", allow=("post:send",), condition=known)
    with pytest.raises(Escalation, match="no longer denying"):
        binding_delete(actor=CHARLIE, realm=acme.realm, binding_id=row.pk)
    assert not acme.may("user:bob", "post:send")
    wider = BindingSpec("user:bob", deny=("post:*",), condition=known)
    binding_update(actor=CHARLIE, realm=acme.realm, binding_id=row.pk, spec=wider)


@pytest.mark.parametrize("asleep", [{"locked": True}, {"active": False}])
def test_it_refuses_to_wake_a_subject_by_deleting_it(acme: Acme, asleep: dict[str, Any]) -> None:
    acme.subject("service:x", **asleep)
    acme.team("service:team", **asleep)
    everyone = acme.binding("service:*", allow=("post:send",))
    with pytest.raises(Escalation, match="which is asleep"):
        subject_delete(actor=CHARLIE, realm=acme.realm, ref="service:x")
    with pytest.raises(Escalation, match="which is asleep"):
        team_delete(actor=CHARLIE, realm=acme.realm, ref="service:team")
    binding_delete(actor=ALICE, realm=acme.realm, binding_id=everyone.pk)
    subject_delete(actor=CHARLIE, realm=acme.realm, ref="service:x")
    subject_create(actor=CHARLIE, realm=acme.realm, spec=SubjectSpec("service:x"))


def test_who_may_only_create_teams_changes_no_subject_by_making_it_one(acme: Acme) -> None:
    acme.subject("service:x", attributes={"level": 1})
    acme.binding("user:dave", allow=("permsite.team:*",))
    with pytest.raises(Forbidden, match=r"permsite\.subject:change"):
        team_create(actor=person("dave"), realm=acme.realm, spec=TeamSpec("service:x", attributes={"level": 9}))


def test_it_refuses_a_team_that_waits_under_the_name_of_a_person(acme: Acme) -> None:
    """Given to user:zoe when she arrives, it would have been charlie's."""
    me = (MemberSpec("user:charlie"),)
    with pytest.raises(Escalation, match="the name of a person"):
        team_create(actor=CHARLIE, realm=acme.realm, spec=TeamSpec("user:zoe", members=me))
    acme.team("team:own", "user:charlie")
    with pytest.raises(Escalation, match="the name of a person"):
        team_update(actor=CHARLIE, realm=acme.realm, ref="team:own", spec=TeamSpec("user:zoe", members=me))


def test_it_refuses_to_take_an_obligation_off_a_binding(acme: Acme) -> None:
    row = acme.binding("user:bob", allow=("post:send",), obligations=(MFA, LOG))
    for less in ((), (LOG,), (LOG, {**MFA, "properties": {"level": 0}})):
        with pytest.raises(Escalation, match="'post:send'"):
            spec = BindingSpec("user:bob", allow=("post:send",), obligations=less)
            binding_update(actor=CHARLIE, realm=acme.realm, binding_id=row.pk, spec=spec)
    more = BindingSpec("user:bob", allow=("post:send",), obligations=(LOG, MFA, {"id": "tell", "type": "notice"}), reason="why")
    binding_update(actor=CHARLIE, realm=acme.realm, binding_id=row.pk, spec=more)


def test_it_refuses_to_take_an_obligation_off_a_bound_role_or_one_it_inherits(acme: Acme) -> None:
    acme.role("sender", "post:send", obligations=(MFA,))
    acme.role("chief", inherits=("sender",))
    acme.binding("user:bob", "chief")
    spec = RoleSpec("sender", permissions=(CodeSpec("post:send"),))
    with pytest.raises(Escalation, match="'post:send' in the realm to 'user:bob'"):
        role_update(actor=CHARLIE, realm=acme.realm, name="sender", spec=spec)
    acme.binding("user:charlie", allow=("post:send",), obligations=(LOG,))
    role_update(actor=CHARLIE, realm=acme.realm, name="sender", spec=spec)


def test_bob_who_holds_nothing_manages_nothing(acme: Acme) -> None:
    with pytest.raises(Forbidden):
        subject_delete(actor=BOB, realm=acme.realm, ref="user:charlie")
