"""A membership never gives more than its author holds: not a new one, not a longer one, not one taken away with its denies."""

from __future__ import annotations

import datetime as dt

import pytest

from permissions.bundle.specs import MemberSpec, SubjectSpec, TeamSpec
from permissions.errors import Escalation
from permissions.services.subjects import subject_create, subject_delete, subject_update
from permissions.services.teams import member_add, member_remove, team_create, team_delete, team_update
from tests.permissions.acme import CHARLIE, Acme

pytestmark = [pytest.mark.both_databases, pytest.mark.django_db]

SOON, LATER = dt.datetime(2100, 1, 1, tzinfo=dt.UTC), dt.datetime(2200, 1, 1, tzinfo=dt.UTC)


def _join(acme: Acme, team: str, member: str, **given: dt.datetime) -> None:
    member_add(actor=CHARLIE, realm=acme.realm, team=team, spec=MemberSpec(member, **given))


@pytest.fixture
def ops(acme: Acme) -> Acme:
    """team:ops restarts server 7 and lies above team:night."""
    acme.team("team:night")
    acme.team("team:ops", "team:night")
    acme.role("operator", "server:restart")
    acme.binding("team:ops", "operator", scope="server:7")
    return acme


def test_it_refuses_to_put_anyone_into_a_team_that_holds_more(ops: Acme) -> None:
    for member in ("user:charlie", "user:bob", "user:never-seen", "team:eng"):
        with pytest.raises(Escalation, match=f"'server:restart' at 'server:7' to '{member}'"):
            _join(ops, "team:ops", member)
    assert not ops.may("user:charlie", "server:restart", "server:7")


def test_it_refuses_a_team_below_the_one_that_holds_more(ops: Acme) -> None:
    with pytest.raises(Escalation, match="to 'user:bob'"):
        _join(ops, "team:night", "user:bob")


def test_it_refuses_the_whole_list_of_members(ops: Acme) -> None:
    spec = TeamSpec("team:ops", members=(MemberSpec("team:night"), MemberSpec("user:charlie")))
    with pytest.raises(Escalation, match="to 'user:charlie'"):
        team_update(actor=CHARLIE, realm=ops.realm, ref="team:ops", spec=spec)
    team_create(actor=CHARLIE, realm=ops.realm, spec=TeamSpec("team:day", members=(MemberSpec("user:charlie"),)))
    with pytest.raises(Escalation, match="to 'team:day'"):
        _join(ops, "team:ops", "team:day")


def test_it_refuses_to_make_a_bound_name_a_team_with_members(ops: Acme) -> None:
    ops.binding("team:later", "operator")
    with pytest.raises(Escalation, match="to 'user:charlie'"):
        team_create(actor=CHARLIE, realm=ops.realm, spec=TeamSpec("team:later", members=(MemberSpec("user:charlie"),)))


def test_it_allows_a_team_whose_rights_its_author_holds(ops: Acme) -> None:
    ops.binding("user:charlie", allow=("server:*",), scope="server:7", valid_until=SOON)
    _join(ops, "team:ops", "user:bob", valid_until=SOON)
    assert ops.may("user:bob", "server:restart", "server:7")
    with pytest.raises(Escalation, match="with an end"):
        _join(ops, "team:ops", "user:bob", valid_until=LATER)
    _join(ops, "team:ops", "user:bob", valid_until=dt.datetime(2090, 1, 1, tzinfo=dt.UTC))
    member_remove(actor=CHARLIE, realm=ops.realm, team="team:ops", member="user:bob")
    assert not ops.may("user:bob", "server:restart", "server:7")


def test_it_refuses_to_take_someone_out_of_a_team_that_is_denied_something(ops: Acme) -> None:
    ops.team("team:muted", "user:bob", "user:charlie")
    ops.binding("team:muted", deny=("post:send",))
    with pytest.raises(Escalation, match="no longer denying 'post:send' in the realm to 'user:charlie'"):
        member_remove(actor=CHARLIE, realm=ops.realm, team="team:muted", member="user:charlie")
    with pytest.raises(Escalation, match="no longer denying"):
        team_update(actor=CHARLIE, realm=ops.realm, ref="team:muted", spec=TeamSpec("team:muted"))
    with pytest.raises(Escalation, match="no longer denying"):
        team_delete(actor=CHARLIE, realm=ops.realm, ref="team:muted")


def test_it_refuses_to_delete_a_subject_and_so_its_denies(ops: Acme) -> None:
    ops.binding("user:bob", deny=("post:send",))
    with pytest.raises(Escalation, match="no longer denying 'post:send'"):
        subject_delete(actor=CHARLIE, realm=ops.realm, ref="user:bob")


def test_it_refuses_to_wake_up_a_subject_that_holds_more(ops: Acme) -> None:
    for spec in (SubjectSpec("user:zoe", active=False), SubjectSpec("user:yan", locked=True)):
        ops.subject(spec.id, active=spec.active, locked=spec.locked)
        ops.binding(spec.id, "operator")
        with pytest.raises(Escalation, match="'server:restart' in the realm"):
            subject_update(actor=CHARLIE, realm=ops.realm, ref=spec.id, spec=SubjectSpec(spec.id))
    ops.binding("user:charlie", "operator")
    subject_update(actor=CHARLIE, realm=ops.realm, ref="user:zoe", spec=SubjectSpec("user:zoe"))
    assert ops.may("user:zoe", "server:restart")


def test_it_refuses_to_give_a_sleeping_subject_what_someone_else_may_wake(ops: Acme) -> None:
    ops.subject("user:zoe", active=False)
    with pytest.raises(Escalation, match="to 'user:zoe'"):
        _join(ops, "team:ops", "user:zoe")


def test_it_refuses_to_give_what_a_subject_has_to_another_name(ops: Acme) -> None:
    ops.binding("user:zoe", "operator")
    with pytest.raises(Escalation, match="to 'user:charlies-other-name'"):
        subject_update(actor=CHARLIE, realm=ops.realm, ref="user:zoe", spec=SubjectSpec("user:charlies-other-name"))
    ops.binding("team:big", "operator")
    ops.team("team:big", "user:zoe")
    with pytest.raises(Escalation):
        team_update(actor=CHARLIE, realm=ops.realm, ref="team:big", spec=TeamSpec("team:mine", members=(MemberSpec("user:zoe"),)))


def test_a_new_subject_has_what_was_handed_out_to_all_of_its_type(ops: Acme) -> None:
    """What `type:*` gives was handed out, by whoever bound it, to whoever comes."""
    ops.binding("user:*", allow=("post:edit",))
    subject_create(actor=CHARLIE, realm=ops.realm, spec=SubjectSpec("user:new", attributes={"dept": "sales"}))
    assert ops.may("user:new", "post:edit")
