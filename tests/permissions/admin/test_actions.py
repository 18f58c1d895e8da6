"""Bulk actions: a page that asks first, then services alone, all in one write or none."""

from __future__ import annotations

import datetime as dt
from typing import Any

from django.utils import timezone

from permissions.models import Membership, Permission, PermissionGroup, RoleBinding, Subject
from permissions.services.specs import spec_of
from tests.permissions.admin.world import Desk, desk, last_entry, revision


def _said(here: Desk) -> str:
    return here.get("index").content.decode()


def test_an_action_first_says_what_it_hits(alice: Desk, key_of: Any) -> None:
    before = revision()
    zed = key_of(Subject, ref="user:zed")
    page = alice.post("permissions_subject_changelist", data={"action": "lock", "_selected_action": [zed], "index": "0"})
    assert page.status_code == 200
    text = page.content.decode()
    assert "user:zed" in text and 'name="apply"' in text and 'name="change_reason"' in text
    assert revision() == before


def test_subjects_are_locked_together_each_audited_with_the_reason(alice: Desk, key_of: Any) -> None:
    keys = [key_of(Subject, ref="user:zed"), key_of(Subject, ref="user:bob")]
    assert alice.act("subject", "lock", *keys, change_reason="leaked passwords").status_code == 302
    assert Subject.objects.filter(pk__in=keys, locked=True).count() == 2
    entry = last_entry()
    assert (entry.action, entry.reason, entry.actor) == ("subject.change", "leaked passwords", "user:alice")
    assert alice.act("subject", "unlock", *keys).status_code == 302
    assert alice.act("subject", "deactivate", *keys).status_code == 302
    assert Subject.objects.filter(pk__in=keys, locked=False, active=False).count() == 2
    assert alice.act("subject", "activate", *keys).status_code == 302


def test_one_refusal_undoes_the_whole_action(alice: Desk, key_of: Any) -> None:
    """Zed could be deactivated; alice is the last administrator."""
    before = last_entry().seq
    keys = [key_of(Subject, ref="user:zed"), key_of(Subject, ref="user:alice")]
    assert alice.act("subject", "deactivate", *keys).status_code == 302
    assert Subject.objects.filter(pk__in=keys, active=True).count() == 2
    assert last_entry().seq == before
    assert "Nothing was changed" in _said(alice)


def test_an_action_that_gives_too_much_is_refused_with_its_reason(bob: Desk, key_of: Any) -> None:
    """Bob may change bindings of his server. To lengthen one that holds more than he has would hand it out."""
    root = desk("root")
    answer = root.fill(
        "permissions_rolebinding_add",
        subject=key_of(Subject, ref="user:zed"),
        allow="post:purge",
        scope=RoleBinding.objects.get(subject__ref="team:care").scope_id,
        valid_until_0="2999-01-01",
        valid_until_1="00:00",
    )
    assert answer.status_code == 302
    binding, before = RoleBinding.objects.latest("pk"), last_entry().seq
    assert bob.act("rolebinding", "extend", binding.pk, until="").status_code == 302
    said = _said(bob)
    assert "Nothing was changed" in said and "more than you hold" in said and "post:purge" in said
    assert last_entry().seq == before


def test_who_may_only_look_has_no_actions_that_change(cast: None, key_of: Any) -> None:
    vera, zed = desk("vera"), key_of(Subject, ref="user:zed")
    vera.act("subject", "lock", zed)
    vera.act("subject", "delete_selected", zed, post="yes")
    vera.act("rolebinding", "revoke", key_of(RoleBinding, subject__ref="user:zed"))
    # To look at subjects is enough to see this one; the service asks for the right to change teams.
    vera.act("subject", "add_to_team", zed, team=key_of(Subject, ref="team:care"))
    assert Subject.objects.filter(pk=zed, locked=False).exists()
    assert RoleBinding.objects.filter(subject_id=zed).exists()
    assert not Membership.objects.filter(member_id=zed).exists()
    assert "permsite.team:change" in _said(vera)


def test_bindings_are_revoked_ended_and_given_an_end(alice: Desk, key_of: Any) -> None:
    binding = key_of(RoleBinding, subject__ref="user:zed")
    assert alice.act("rolebinding", "extend", binding, until="2999-12-31T12:00").status_code == 302
    assert RoleBinding.objects.get(pk=binding).valid_until == dt.datetime(2999, 12, 31, 12, tzinfo=dt.UTC)
    assert alice.act("rolebinding", "expire", binding, change_reason="over").status_code == 302
    ended = RoleBinding.objects.get(pk=binding).valid_until
    assert ended is not None and ended <= timezone.now()
    assert alice.act("rolebinding", "revoke", binding).status_code == 302
    assert not RoleBinding.objects.filter(pk=binding).exists()


def test_a_date_that_is_none_is_asked_for_again(alice: Desk, key_of: Any) -> None:
    page = alice.act("rolebinding", "extend", key_of(RoleBinding, subject__ref="user:zed"), until="soon")
    assert page.status_code == 200 and page.context["form"].errors["until"]


def test_subjects_join_a_team_until_a_day(alice: Desk, key_of: Any) -> None:
    zed, team = key_of(Subject, ref="user:zed"), key_of(Subject, ref="team:care")
    assert alice.act("subject", "add_to_team", zed, team=team, until="2999-01-01").status_code == 302
    assert Membership.objects.get(member_id=zed, team_id=team).valid_until is not None


def test_permissions_join_a_group(alice: Desk, key_of: Any) -> None:
    purge, group = key_of(Permission, code="post:purge"), key_of(PermissionGroup, name="content")
    assert alice.act("permission", "add_to_group", purge, group=group).status_code == 302
    assert "post:purge" in spec_of(PermissionGroup.objects.get(pk=group)).permissions


def test_a_team_of_another_realm_is_no_choice(alice: Desk, key_of: Any) -> None:
    page = alice.act("subject", "add_to_team", key_of(Subject, ref="user:zed"), team=key_of(Subject, ref="team:abroad"))
    assert page.status_code == 200 and page.context["form"].errors["team"]


def test_selected_objects_are_deleted_through_the_services(alice: Desk, key_of: Any) -> None:
    assert alice.fill("permissions_permission_add", code="post:pin").status_code == 302
    keys = [key_of(Permission, code="post:pin")]
    page = alice.act("permission", "delete_selected", *keys)
    assert "post:pin" in page.content.decode()
    assert alice.act("permission", "delete_selected", *keys, post="yes", change_reason="gone").status_code == 302
    assert (last_entry().action, last_entry().reason) == ("permission.delete", "gone")


def test_what_is_used_is_not_deleted_with_the_rest(alice: Desk, key_of: Any) -> None:
    keys = [key_of(Permission, code="post:purge"), key_of(Permission, code="post:read")]
    page = alice.act("permission", "delete_selected", *keys, post="yes")
    assert page.status_code == 200 and "reader" in page.content.decode()
    assert Permission.objects.filter(pk__in=keys).count() == 2
