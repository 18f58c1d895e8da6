"""Use cases of permissions, groups and roles."""

from __future__ import annotations

import datetime as dt

import pytest

from permissions.bundle.specs import CodeSpec, GroupSpec, PermissionSpec, RoleSpec
from permissions.errors import Conflict, Forbidden, Invalid, NotFound
from permissions.models import GroupLine, Permission, RoleLine
from permissions.services.catalog import (
    group_create,
    group_delete,
    group_update,
    permission_create,
    permission_delete,
    permission_update,
    role_create,
    role_delete,
    role_update,
)
from permissions.services.specs import spec_of
from permissions.writing import SYSTEM
from tests.permissions.acme import BOB, Acme

pytestmark = [pytest.mark.both_databases, pytest.mark.django_db]

POST = PermissionSpec("post:edit", "Edit", "Edits posts", "content/posts", ("post:read", "post:list"), True, True)
ROLE = RoleSpec(
    "editor",
    title="Editor",
    description="Edits.",
    inherits=("viewer",),
    groups=("reading",),
    permissions=(CodeSpec("post:*"), CodeSpec("post:edit"), CodeSpec("post:edit", "context.mfa == true")),
    exclude=("post:edit:pinned",),
    deny=(CodeSpec("post:purge"), CodeSpec("post:send", "context.night == true")),
    obligations=({"id": "log", "type": "audit"},),
    valid_from=dt.datetime(2020, 1, 1, tzinfo=dt.UTC),
    valid_until=dt.datetime(2100, 1, 1, tzinfo=dt.UTC),
)


@pytest.fixture
def full(acme: Acme) -> Acme:
    acme.group("reading", "post:read", "comment:*")
    acme.role("viewer", "post:view")
    role_create(actor=SYSTEM, realm=acme.realm, spec=ROLE)
    return acme


def test_a_permission_is_stored_with_what_it_requires(acme: Acme) -> None:
    row = permission_create(actor=SYSTEM, realm=acme.realm, spec=POST)
    stored = spec_of(row)
    assert isinstance(stored, PermissionSpec)
    assert set(stored.requires) == set(POST.requires)
    assert (stored.title, stored.menu, stored.critical, stored.high_risk) == ("Edit", "content/posts", True, True)
    assert acme.last().after == {
        "code": "post:edit",
        "title": "Edit",
        "description": "Edits posts",
        "menu": "content/posts",
        "requires": ["post:read", "post:list"],
        "critical": True,
        "high_risk": True,
    }


def test_a_permission_changes_and_is_renamed_while_nothing_names_it(acme: Acme) -> None:
    permission_create(actor=SYSTEM, realm=acme.realm, spec=POST)
    permission_update(actor=SYSTEM, realm=acme.realm, code="post:edit", spec=PermissionSpec("post:write", title="Write"))
    assert acme.last().action == "permission.change"
    assert spec_of(Permission.objects.get(realm=acme.realm, code="post:write")) == PermissionSpec("post:write", title="Write")
    assert not Permission.objects.filter(realm=acme.realm, code="post:edit").exists()


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("post:view", "role 'viewer'"),
        ("post:purge", "role 'editor'"),
        ("post:edit:pinned", "role 'editor'"),
        ("post:list", "permission 'post:need', which requires it"),
        ("doc:read", "binding"),
    ],
)
def test_a_permission_that_is_named_cannot_go(full: Acme, name: str, told: str) -> None:
    full.permission("post:need", requires=("post:list",))
    full.binding("user:bob", allow=("doc:read",))
    with pytest.raises(Conflict, match=f"it is named by .*{told}"):
        permission_delete(actor=SYSTEM, realm=full.realm, code=name)
    with pytest.raises(Conflict, match="cannot be renamed"):
        permission_update(actor=SYSTEM, realm=full.realm, code=name, spec=PermissionSpec("x:y"))


def test_a_pattern_holds_no_code_back(full: Acme) -> None:
    full.permission("comment:add")
    permission_delete(actor=SYSTEM, realm=full.realm, code="comment:add")
    assert not full.may("user:alice", "comment:add")


@pytest.mark.parametrize("code", ["post", "post:*", "permsite.role:view", "post:", " post:a"])
def test_a_permission_needs_a_concrete_code_of_its_own(acme: Acme, code: str) -> None:
    with pytest.raises(Invalid) as refused:
        permission_create(actor=SYSTEM, realm=acme.realm, spec=PermissionSpec(code))
    assert refused.value.problems[0].where == "code"


def test_a_group_is_stored_changed_renamed_and_deleted(acme: Acme) -> None:
    group_create(actor=SYSTEM, realm=acme.realm, spec=GroupSpec("reading", "Reading", "Reads.", ("comment:*", "post:read")))
    before = list(GroupLine.objects.values_list("pk", flat=True))
    spec = GroupSpec("books", "Reading", "Reads.", ("book:read", "comment:*", "post:read"))
    row = group_update(actor=SYSTEM, realm=acme.realm, name="reading", spec=spec)
    assert spec_of(row) == spec
    assert set(before) <= set(GroupLine.objects.values_list("pk", flat=True)), "a line that stays is not written again"
    assert Permission.objects.filter(realm=acme.realm, code="book:read").exists()
    group_delete(actor=SYSTEM, realm=acme.realm, name="books")
    assert [event.action for event in acme.audited()[-2:]] == [
        "group.change",
        "group.delete",
    ] or acme.last().action == "group.delete"
    with pytest.raises(NotFound):
        group_delete(actor=SYSTEM, realm=acme.realm, name="books")


def test_a_group_in_use_cannot_go(full: Acme) -> None:
    with pytest.raises(Conflict, match="it is in role 'editor'"):
        group_delete(actor=SYSTEM, realm=full.realm, name="reading")


def test_a_role_is_stored_with_all_its_lines(full: Acme) -> None:
    stored = spec_of(full.realm.roles.get(name="editor"))
    assert isinstance(stored, RoleSpec)
    assert stored == ROLE


def test_a_role_keeps_the_lines_that_stay(full: Acme) -> None:
    from dataclasses import replace

    before = set(RoleLine.objects.filter(role__name="editor").values_list("pk", flat=True))
    changed = replace(ROLE, name="writer", inherits=(), groups=(), permissions=ROLE.permissions[:2], title="")
    row = role_update(actor=SYSTEM, realm=full.realm, name="editor", spec=changed)
    assert spec_of(row) == changed
    after = set(RoleLine.objects.filter(role__name="writer").values_list("pk", flat=True))
    assert after < before
    entry = full.last()
    assert (entry.action, entry.object_id) == ("role.change", "writer")
    assert entry.before is not None
    assert entry.after is not None
    assert (entry.before["inherits"], entry.after.get("inherits")) == (["viewer"], None)


def test_a_role_in_use_cannot_go(full: Acme) -> None:
    row = full.binding("user:bob", "editor")
    with pytest.raises(Conflict, match=f"used by binding {row.pk} of 'user:bob'"):
        role_delete(actor=SYSTEM, realm=full.realm, name="editor")
    with pytest.raises(Conflict, match="used by role 'editor', which inherits it"):
        role_delete(actor=SYSTEM, realm=full.realm, name="viewer")


def test_every_mistake_of_a_role_is_named(acme: Acme) -> None:
    bad = RoleSpec(
        "r",
        inherits=("ghost",),
        groups=("none",),
        permissions=(CodeSpec("post"), CodeSpec("post:a", "nope(")),
        exclude=("a::b",),
        deny=(CodeSpec("post:b", "unknown_name == 1"),),
    )
    with pytest.raises(Invalid) as refused:
        role_create(actor=SYSTEM, realm=acme.realm, spec=bad)
    assert [p.where for p in refused.value.problems] == [
        "inherits[0]",
        "groups[0]",
        "permissions[0]",
        "permissions[1].condition",
        "exclude[0]",
        "deny[0].condition",
    ]


def test_a_name_that_is_taken_is_a_conflict(full: Acme) -> None:
    with pytest.raises(Conflict, match="role 'viewer' exists already"):
        role_create(actor=SYSTEM, realm=full.realm, spec=RoleSpec("viewer"))
    with pytest.raises(Conflict, match="exists already"):
        role_update(actor=SYSTEM, realm=full.realm, name="editor", spec=RoleSpec("viewer"))
    with pytest.raises(Conflict, match="exists already"):
        group_create(actor=SYSTEM, realm=full.realm, spec=GroupSpec("reading"))
    with pytest.raises(Conflict, match="naming a code anywhere registers it"):
        permission_create(actor=SYSTEM, realm=full.realm, spec=PermissionSpec("post:view"))


def test_what_is_not_there_is_not_found(acme: Acme) -> None:
    for call in (
        lambda: role_update(actor=SYSTEM, realm=acme.realm, name="x", spec=RoleSpec("x")),
        lambda: role_delete(actor=SYSTEM, realm=acme.realm, name="x"),
        lambda: group_update(actor=SYSTEM, realm=acme.realm, name="x", spec=GroupSpec("x")),
        lambda: permission_update(actor=SYSTEM, realm=acme.realm, code="x:y", spec=PermissionSpec("x:y")),
        lambda: permission_delete(actor=SYSTEM, realm=acme.realm, code="x:y"),
    ):
        with pytest.raises(NotFound, match="'x"):
            call()


def test_bob_may_manage_nothing(acme: Acme) -> None:
    acme.role("viewer")
    for call in (
        lambda: role_create(actor=BOB, realm=acme.realm, spec=RoleSpec("x")),
        lambda: role_update(actor=BOB, realm=acme.realm, name="viewer", spec=RoleSpec("viewer")),
        lambda: role_delete(actor=BOB, realm=acme.realm, name="viewer"),
        lambda: group_create(actor=BOB, realm=acme.realm, spec=GroupSpec("x")),
        lambda: permission_create(actor=BOB, realm=acme.realm, spec=PermissionSpec("x:y")),
    ):
        with pytest.raises(Forbidden, match=r"'user:bob' does not hold permsite\."):
            call()
