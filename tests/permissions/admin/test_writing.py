"""Forms → services: each object is made, changed and deleted through the admin, and the audit tells it."""

from __future__ import annotations

from typing import Any

from permissions import pdp
from permissions.models import (
    ApiKey,
    Membership,
    Permission,
    PermissionGroup,
    Realm,
    Resource,
    Role,
    RoleBinding,
    RoleLine,
    Subject,
)
from permissions.services.specs import spec_of
from tests.permissions.admin.world import Desk, last_entry


def test_a_binding_made_in_the_form_changes_the_next_check(alice: Desk, key_of: Any) -> None:
    assert not pdp.check("user:zed", "post:edit", "server:7", full=True)
    answer = alice.fill(
        "permissions_rolebinding_add",
        subject=key_of(Subject, ref="user:zed"),
        role=key_of(Role, name="editor"),
        scope=key_of(Resource, ref="server:7"),
        reason="he asked",
    )
    assert answer.status_code == 302
    assert pdp.check("user:zed", "post:edit", "channel:9", full=True)
    entry = last_entry()
    assert (entry.action, entry.actor, entry.actor_kind, entry.reason) == ("binding.create", "user:alice", "user", "he asked")


def test_a_binding_may_reach_everyone_of_a_type(alice: Desk, key_of: Any) -> None:
    answer = alice.fill("permissions_rolebinding_add", everyone="user", role=key_of(Role, name="reader"))
    assert answer.status_code == 302
    assert pdp.check("user:zed", "post:read", full=True)


def test_a_binding_may_give_permissions_directly(alice: Desk, key_of: Any) -> None:
    answer = alice.fill(
        "permissions_rolebinding_add", subject=key_of(Subject, ref="user:zed"), allow="post:edit\npost:read\n", deny="post:purge"
    )
    assert answer.status_code == 302
    binding = RoleBinding.objects.latest("pk")
    assert (binding.allow, binding.deny, binding.role) == (["post:edit", "post:read"], ["post:purge"], None)


def test_a_role_is_written_with_its_lines_groups_and_inheritance(alice: Desk, key_of: Any) -> None:
    page = alice.get("permissions_role_add")
    assert page.status_code == 200
    data = {
        "name": "author",
        "lines-TOTAL_FORMS": "3",
        "lines-INITIAL_FORMS": "0",
        "lines-0-effect": "allow",
        "lines-0-pattern": "post:edit",
        "lines-0-condition": "context.mfa == true",
        "lines-1-effect": "exclude",
        "lines-1-pattern": "post:read",
        "lines-2-effect": "deny",
        "lines-2-pattern": "post:purge",
        "parents-TOTAL_FORMS": "1",
        "parents-INITIAL_FORMS": "0",
        "parents-0-parent": key_of(Role, name="reader"),
        "role_groups-TOTAL_FORMS": "1",
        "role_groups-INITIAL_FORMS": "0",
        "role_groups-0-group": key_of(PermissionGroup, name="content"),
        "obligations": "[]",
        "change_reason": "a new desk",
    }
    assert alice.post("permissions_role_add", data=data).status_code == 302
    spec = spec_of(Role.objects.get(name="author"))
    assert (spec.inherits, spec.groups, spec.exclude) == (("reader",), ("content",), ("post:read",))
    assert [(line.code, line.condition) for line in spec.permissions] == [("post:edit", "context.mfa == true")]
    assert last_entry().reason == "a new desk"


def test_a_role_loses_the_line_that_is_marked_for_deletion(alice: Desk, key_of: Any) -> None:
    role = key_of(Role, name="reader")
    answer = alice.fill("permissions_role_change", role, **{"lines-0-DELETE": "on"})
    assert answer.status_code == 302
    assert not RoleLine.objects.filter(role_id=role).exists()


def test_a_form_sent_back_unchanged_changes_nothing(alice: Desk, key_of: Any) -> None:
    before, entry = Realm.objects.get(name="default").rev, last_entry().seq
    for name, model, given in (
        ("role", Role, {"name": "editor"}),
        ("permission", Permission, {"code": "post:edit"}),
        ("permissiongroup", PermissionGroup, {"name": "content"}),
        ("subject", Subject, {"ref": "user:zed"}),
        ("team", Subject, {"ref": "team:care"}),
        ("resource", Resource, {"ref": "channel:9"}),
        ("rolebinding", RoleBinding, {"subject__ref": "user:zed"}),
        ("realm", Realm, {"name": "default"}),
    ):
        answer = alice.fill(f"permissions_{name}_change", key_of(model, **given))
        assert answer.status_code == 302, name
    assert (Realm.objects.get(name="default").rev, last_entry().seq) == (before, entry)


def test_a_team_gets_a_member_with_an_end(alice: Desk, key_of: Any) -> None:
    team = key_of(Subject, ref="team:care")
    answer = alice.fill(
        "permissions_team_change",
        team,
        **{
            "member_rows-TOTAL_FORMS": "2",
            "member_rows-1-member": key_of(Subject, ref="user:zed"),
            "member_rows-1-valid_until_0": "2999-12-31",
            "member_rows-1-valid_until_1": "00:00:00",
        },
    )
    assert answer.status_code == 302
    membership = Membership.objects.get(team_id=team, member__ref="user:zed")
    assert membership.valid_until is not None and membership.valid_until.year == 2999


def test_a_resource_moves_below_another(alice: Desk, key_of: Any) -> None:
    answer = alice.fill("permissions_resource_change", key_of(Resource, ref="channel:9"), parent=key_of(Resource, ref="server:8"))
    assert answer.status_code == 302
    moved = Resource.objects.get(ref="channel:9")
    assert moved.parent is not None and moved.parent.ref == "server:8"


def test_a_permission_and_a_group_are_made(alice: Desk) -> None:
    assert alice.fill("permissions_permission_add", code="post:pin", title="Pin").status_code == 302
    data = {"lines-TOTAL_FORMS": "1", "lines-0-pattern": "post:*"}
    assert alice.fill("permissions_permissiongroup_add", name="all posts", **data).status_code == 302
    assert Permission.objects.filter(code="post:pin", title="Pin").exists()
    assert [line.pattern for line in PermissionGroup.objects.get(name="all posts").lines.all()] == ["post:*"]


def test_a_key_is_shown_once_and_then_revoked(alice: Desk) -> None:
    answer = alice.fill("permissions_apikey_add", name="ci")
    assert answer.status_code == 200
    plain = answer.context["key"]
    assert plain.startswith("ps_") and plain in answer.content.decode()
    assert "no-store" in answer["Cache-Control"]
    row = ApiKey.objects.get(name="ci")
    page = alice.get("permissions_apikey_change", row.pk).content.decode()
    assert plain not in page and row.digest not in page
    assert alice.post("permissions_apikey_delete", row.pk, data={"post": "yes", "change_reason": "leaked"}).status_code == 302
    row.refresh_from_db()
    assert row.revoked_at is not None
    assert (last_entry().action, last_entry().reason) == ("key.revoke", "leaked")
    assert alice.get("permissions_apikey_delete", row.pk).status_code == 403


def test_a_realm_changes_its_law(alice: Desk, key_of: Any) -> None:
    answer = alice.fill(
        "permissions_realm_change", key_of(Realm, name="default"), combining="overlay", change_reason="as chat does"
    )
    assert answer.status_code == 302
    assert Realm.objects.get(name="default").combining == "overlay"


def test_a_realm_is_made_by_the_superuser_alone(alice: Desk, root: Desk) -> None:
    assert alice.get("permissions_realm_add").status_code == 403
    assert root.fill("permissions_realm_add", name="third").status_code == 302
    assert last_entry("third").actor_kind == "administrator"


def test_an_object_is_deleted_with_a_reason(alice: Desk, key_of: Any) -> None:
    subject = key_of(Subject, ref="user:zed")
    page = alice.get("permissions_subject_delete", subject)
    assert "user:zed" in page.content.decode()
    answer = alice.post("permissions_subject_delete", subject, data={"post": "yes", "change_reason": "left"})
    assert answer.status_code == 302
    assert not Subject.objects.filter(ref="user:zed").exists()
    assert last_entry().reason == "left"


def test_what_is_still_used_says_by_whom_instead_of_going(alice: Desk, key_of: Any) -> None:
    role = key_of(Role, name="reader")
    page = alice.post("permissions_role_delete", role, data={"post": "yes"})
    assert page.status_code == 200
    assert "editor" in page.content.decode()
    assert Role.objects.filter(pk=role).exists()


def test_a_tampered_row_touches_no_row_of_another_realm(alice: Desk, key_of: Any) -> None:
    role, line = key_of(Role, name="reader"), RoleLine.objects.get(pattern="far:away")
    alice.fill("permissions_role_change", role, **{"lines-0-id": line.pk, "lines-0-pattern": "post:purge"})
    line.refresh_from_db()
    assert (line.pattern, line.role.name) == ("far:away", "stranger")
    assert set(RoleLine.objects.filter(role_id=role).values_list("pattern", flat=True)) <= {"post:read", "post:purge"}
