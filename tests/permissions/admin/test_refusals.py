"""What is refused is a message at its field, never a 500, and nothing has changed."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth.models import User

from permissions.models import AuditEvent, PermissionGroup, Resource, Role, RoleBinding, RoleInheritance, RoleLine, Subject
from tests.permissions.admin.world import Desk, errors_of, fields_of, last_entry


@pytest.fixture
def untouched(cast: None) -> Any:
    """Nothing may have been written by the end of the test."""
    before = last_entry().seq, AuditEvent.objects.count()
    yield
    assert (last_entry().seq, AuditEvent.objects.count()) == before


def test_a_name_that_is_taken_is_an_error_of_the_form(alice: Desk, untouched: None) -> None:
    assert "exists already" in errors_of(alice.fill("permissions_role_add", name="reader"))
    assert "exists already" in errors_of(alice.fill("permissions_permission_add", code="post:read"))
    assert "exists already" in errors_of(alice.fill("permissions_subject_add", ref="user:zed"))


def test_a_cycle_is_an_error_of_the_form(alice: Desk, untouched: None, key_of: Any) -> None:
    data = {"parents-TOTAL_FORMS": "1", "parents-0-parent": key_of(Role, name="editor")}
    said = errors_of(alice.fill("permissions_role_change", key_of(Role, name="reader"), **data))
    assert "reader" in said and "editor" in said
    assert not RoleInheritance.objects.filter(role__name="reader").exists()
    below = alice.fill("permissions_resource_change", key_of(Resource, ref="server:7"), parent=key_of(Resource, ref="channel:9"))
    assert "channel:9" in errors_of(below)
    team = key_of(Subject, ref="team:care")
    assert errors_of(
        alice.fill("permissions_team_change", team, **{"member_rows-TOTAL_FORMS": "2", "member_rows-1-member": team})
    )


def test_a_bad_condition_is_shown_at_its_row(alice: Desk, untouched: None, key_of: Any) -> None:
    data = {
        "lines-TOTAL_FORMS": "2",
        "lines-1-effect": "allow",
        "lines-1-pattern": "post:edit",
        "lines-1-condition": "nobody.knows ==",
    }
    answer = alice.fill("permissions_role_change", key_of(Role, name="reader"), **data)
    rows = next(i.formset for i in answer.context["inline_admin_formsets"] if i.formset.model is RoleLine)
    assert rows.forms[1].errors["condition"]
    assert not rows.forms[0].errors


def test_a_bad_pattern_and_a_bad_id_are_shown_at_their_fields(alice: Desk, untouched: None, key_of: Any) -> None:
    answer = alice.fill("permissions_subject_add", ref="no colon")
    assert "type:id" in errors_of(answer)
    answer = alice.fill("permissions_rolebinding_add", subject=key_of(Subject, ref="user:zed"), allow="post:")
    assert answer.context["adminform"].form.errors["allow"]


def test_a_binding_names_one_holder_and_one_thing(alice: Desk, untouched: None, key_of: Any) -> None:
    zed, reader = key_of(Subject, ref="user:zed"), key_of(Role, name="reader")
    assert errors_of(alice.fill("permissions_rolebinding_add", subject=zed, everyone="user", role=reader))
    assert errors_of(alice.fill("permissions_rolebinding_add", role=reader))
    assert errors_of(alice.fill("permissions_rolebinding_add", subject=zed))
    assert errors_of(alice.fill("permissions_rolebinding_add", subject=zed, role=reader, deny="post:edit"))
    ends = {"valid_from_0": "2030-01-02", "valid_from_1": "00:00", "valid_until_0": "2030-01-01", "valid_until_1": "00:00"}
    assert errors_of(alice.fill("permissions_rolebinding_add", subject=zed, role=reader, **ends))


def test_bob_cannot_give_more_than_he_holds(bob: Desk, untouched: None, key_of: Any) -> None:
    answer = bob.fill(
        "permissions_rolebinding_add",
        subject=key_of(Subject, ref="user:zed"),
        role=key_of(Role, name="administrator"),
        scope=key_of(Resource, ref="server:7"),
    )
    assert "more than you hold" in errors_of(answer)
    assert not RoleBinding.objects.filter(role__name="administrator", subject__ref="user:zed").exists()


def test_bob_cannot_bind_where_he_holds_nothing(bob: Desk, untouched: None, key_of: Any) -> None:
    answer = bob.fill("permissions_rolebinding_add", subject=key_of(Subject, ref="user:zed"), role=key_of(Role, name="reader"))
    assert "permsite.binding:create" in errors_of(answer)
    # He cannot even name the other server: the field completes to what he may see, and the service refuses the rest.
    where = key_of(Resource, ref="server:8")
    answer = bob.fill(
        "permissions_rolebinding_add", subject=key_of(Subject, ref="user:zed"), role=key_of(Role, name="reader"), scope=where
    )
    assert errors_of(answer)


def test_bob_binds_what_he_holds_where_he_holds_it(bob: Desk, key_of: Any) -> None:
    answer = bob.fill(
        "permissions_rolebinding_add",
        subject=key_of(Subject, ref="user:zed"),
        role=key_of(Role, name="reader"),
        scope=key_of(Resource, ref="channel:9"),
    )
    assert answer.status_code == 302
    assert last_entry().actor == "user:bob"


def test_the_last_administrator_cannot_lock_herself_out(alice: Desk, untouched: None, key_of: Any) -> None:
    subject = key_of(Subject, ref="user:alice")
    assert "without an administrator" in errors_of(alice.fill("permissions_subject_change", subject, active=None))
    binding = key_of(RoleBinding, subject__ref="user:alice")
    answer = alice.post("permissions_rolebinding_delete", binding, data={"post": "yes"})
    assert answer.status_code == 302
    assert RoleBinding.objects.filter(pk=binding).exists()
    answer = alice.act("rolebinding", "revoke", binding)
    assert RoleBinding.objects.filter(pk=binding).exists()


def test_nor_can_the_last_administrators_account_be_switched_off(root: Desk, untouched: None) -> None:
    account = User.objects.get(username="alice")
    answer = root.fill("auth_user_change", account.pk, is_active=None)
    assert "without an administrator" in errors_of(answer)
    account.refresh_from_db()
    assert account.is_active


def test_a_form_opened_before_another_change_is_not_saved_over_it(alice: Desk, root: Desk, key_of: Any) -> None:
    role = key_of(Role, name="reader")
    data = fields_of(alice.get("permissions_role_change", role))
    assert root.fill("permissions_role_change", role, title="by root").status_code == 302
    answer = alice.post("permissions_role_change", role, data={**data, "title": "by alice"})
    assert "somebody else changed this" in errors_of(answer)
    assert Role.objects.get(pk=role).title == "by root"
    # Having looked, she may save.
    again = {**fields_of(answer), "title": "by alice"}
    assert alice.post("permissions_role_change", role, data=again).status_code == 302


def test_a_refused_form_keeps_what_was_typed(alice: Desk, untouched: None) -> None:
    answer = alice.fill("permissions_role_add", name="reader", title="typed in vain", change_reason="because")
    page = answer.content.decode()
    assert "typed in vain" in page and 'value="because"' in page


def test_group_delete_says_who_uses_it(alice: Desk, untouched: None, key_of: Any) -> None:
    page = alice.get("permissions_permissiongroup_delete", key_of(PermissionGroup, name="content"))
    assert "editor" in page.content.decode()
