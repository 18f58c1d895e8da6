"""Use cases of subjects, teams and memberships."""

from __future__ import annotations

import datetime as dt

import pytest
from django.contrib.auth import get_user_model

from permissions.bundle.specs import MemberSpec, SubjectSpec, TeamSpec
from permissions.errors import Conflict, Forbidden, Invalid, NotFound
from permissions.models import ApiKey, Membership, Realm, RoleBinding, Subject
from permissions.services.keys import key_create
from permissions.services.specs import spec_of
from permissions.services.subjects import subject_create, subject_delete, subject_update
from permissions.services.teams import member_add, member_remove, team_create, team_delete, team_update
from permissions.writing import SYSTEM
from tests.permissions.acme import BOB, Acme

pytestmark = [pytest.mark.both_databases, pytest.mark.django_db]

SOON = dt.datetime(2100, 1, 1, tzinfo=dt.UTC)


def test_a_subject_is_stored_changed_and_renamed(acme: Acme) -> None:
    spec = SubjectSpec("user:dan", attributes={"dept": "sales", "level": 3}, locked=True)
    assert spec_of(subject_create(actor=SYSTEM, realm=acme.realm, spec=spec)) == spec
    changed = SubjectSpec("user:dan2", attributes={"dept": "sales", "level": 3.0}, active=False)
    assert spec_of(subject_update(actor=SYSTEM, realm=acme.realm, ref="user:dan", spec=changed)) == changed
    entry = acme.last()
    assert (entry.action, entry.object_id) == ("subject.change", "user:dan2")
    assert repr(Subject.objects.get(ref="user:dan2").attributes["level"]) == "3.0", "3 and 3.0 differ under a condition"


def test_a_subject_goes_with_all_that_hangs_on_it_and_the_audit_says_so(acme: Acme) -> None:
    acme.binding("user:bob", allow=("post:read",))
    key_create(actor=SYSTEM, realm=acme.realm, name="bobs", subject="user:bob")
    subject_delete(actor=SYSTEM, realm=acme.realm, ref="user:bob")
    assert not Subject.objects.filter(realm=acme.realm, ref="user:bob").exists()
    assert not RoleBinding.objects.filter(subject__ref="user:bob").exists()
    assert not ApiKey.objects.exists()
    assert not Membership.objects.exists()
    assert [event.action for event in acme.audited()[-4:]] == [
        "binding.delete",
        "key.delete",
        "team.member_remove",
        "subject.delete",
    ]


def test_a_name_that_is_taken_is_a_conflict(acme: Acme) -> None:
    for ref in ("user:bob", "team:eng"):
        with pytest.raises(Conflict, match="exists already"):
            subject_create(actor=SYSTEM, realm=acme.realm, spec=SubjectSpec(ref))
        with pytest.raises(Conflict, match="exists already"):
            subject_update(actor=SYSTEM, realm=acme.realm, ref="user:charlie", spec=SubjectSpec(ref))
    with pytest.raises(Conflict, match="exists already"):
        team_create(actor=SYSTEM, realm=acme.realm, spec=TeamSpec("team:eng"))


@pytest.mark.parametrize(
    ("spec", "where"),
    [
        (SubjectSpec("bob"), "id"),
        (SubjectSpec("user:*"), "id"),
        (SubjectSpec("user:a\n"), "id"),
        (SubjectSpec("user:e\u0301"), "id"),
        (SubjectSpec("user:x", attributes={"deep": [[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]]}), "attributes"),
    ],
)
def test_a_bad_subject_is_refused_with_its_place(acme: Acme, spec: SubjectSpec, where: str) -> None:
    with pytest.raises(Invalid) as refused:
        subject_create(actor=SYSTEM, realm=acme.realm, spec=spec)
    assert [problem.where for problem in refused.value.problems] == [where]


def test_what_is_not_there_is_not_found(acme: Acme) -> None:
    for call in (
        lambda: subject_update(actor=SYSTEM, realm=acme.realm, ref="user:no", spec=SubjectSpec("user:no")),
        lambda: subject_delete(actor=SYSTEM, realm=acme.realm, ref="user:no"),
        lambda: subject_delete(actor=SYSTEM, realm=acme.realm, ref="team:eng"),
        lambda: team_delete(actor=SYSTEM, realm=acme.realm, ref="user:bob"),
        lambda: member_add(actor=SYSTEM, realm=acme.realm, team="team:no", spec=MemberSpec("user:bob")),
        lambda: member_remove(actor=SYSTEM, realm=acme.realm, team="team:eng", member="user:charlie"),
    ):
        with pytest.raises(NotFound):
            call()


def test_the_subject_of_an_account_neither_goes_nor_is_renamed_nor_becomes_a_team(db: None) -> None:
    get_user_model().objects.create_user("dora")
    realm = Realm.objects.get(name="default")
    row = Subject.objects.get(realm=realm, ref="user:dora")
    assert row.user is not None
    for call in (
        lambda: subject_delete(actor=SYSTEM, realm=realm, ref="user:dora"),
        lambda: subject_update(actor=SYSTEM, realm=realm, ref="user:dora", spec=SubjectSpec("user:other")),
        lambda: team_create(actor=SYSTEM, realm=realm, spec=TeamSpec("user:dora")),
    ):
        with pytest.raises(Conflict, match="belongs to a Django account"):
            call()
    subject_update(actor=SYSTEM, realm=realm, ref="user:dora", spec=SubjectSpec("user:dora", attributes={"a": 1}))


def test_a_team_is_stored_with_its_members_and_their_windows(acme: Acme) -> None:
    spec = TeamSpec("team:ops", members=(MemberSpec("team:eng"), MemberSpec("user:dan", None, SOON)), attributes={"a": 1})
    assert spec_of(team_create(actor=SYSTEM, realm=acme.realm, spec=spec)) == spec
    kept = Membership.objects.get(team__ref="team:ops", member__ref="team:eng").pk
    changed = TeamSpec("team:ops2", members=(MemberSpec("team:eng", None, SOON), MemberSpec("user:eve")))
    assert spec_of(team_update(actor=SYSTEM, realm=acme.realm, ref="team:ops", spec=changed)) == changed
    assert Membership.objects.filter(pk=kept).exists()
    team_delete(actor=SYSTEM, realm=acme.realm, ref="team:ops2")
    assert acme.last().action == "team.delete"


def test_a_name_that_was_only_named_may_turn_out_to_be_a_team(acme: Acme) -> None:
    acme.binding("team:later", allow=("post:read",))
    team_create(actor=SYSTEM, realm=acme.realm, spec=TeamSpec("team:later", members=(MemberSpec("user:dan"),)))
    assert acme.may("user:dan", "post:read")


def test_a_member_is_added_moved_and_removed_with_an_event_each(acme: Acme) -> None:
    for spec in (MemberSpec("user:dan"), MemberSpec("user:dan", None, SOON), MemberSpec("user:dan", None, SOON)):
        member_add(actor=SYSTEM, realm=acme.realm, team="team:eng", spec=spec)
    member_remove(actor=SYSTEM, realm=acme.realm, team="team:eng", member="user:dan")
    events = [event for event in acme.audited() if event.action.startswith("team.member")]
    assert [(event.action, event.object_id) for event in events] == [
        ("team.member_add", "team:eng"),
        ("team.member_change", "team:eng"),
        ("team.member_remove", "team:eng"),
    ]
    assert events[1].before == {"member": "user:dan"}
    assert events[1].after == {"member": {"id": "user:dan", "valid_until": "2100-01-01T00:00:00Z"}}
    with pytest.raises(NotFound, match="'user:dan' is no member of 'team:eng'"):
        member_remove(actor=SYSTEM, realm=acme.realm, team="team:eng", member="user:dan")


def test_an_everyone_cannot_be_a_member(acme: Acme) -> None:
    with pytest.raises(Invalid):
        member_add(actor=SYSTEM, realm=acme.realm, team="team:eng", spec=MemberSpec("user:*"))


def test_bob_may_manage_nobody(acme: Acme) -> None:
    for call in (
        lambda: subject_create(actor=BOB, realm=acme.realm, spec=SubjectSpec("user:x")),
        lambda: subject_update(actor=BOB, realm=acme.realm, ref="user:bob", spec=SubjectSpec("user:bob", attributes={"a": 1})),
        lambda: subject_delete(actor=BOB, realm=acme.realm, ref="user:charlie"),
        lambda: team_create(actor=BOB, realm=acme.realm, spec=TeamSpec("team:x")),
        lambda: team_delete(actor=BOB, realm=acme.realm, ref="team:eng"),
        lambda: member_add(actor=BOB, realm=acme.realm, team="team:eng", spec=MemberSpec("user:charlie")),
        lambda: member_remove(actor=BOB, realm=acme.realm, team="team:eng", member="user:bob"),
    ):
        with pytest.raises(Forbidden):
            call()
