"""A name that changes drops whatever carries it in a snapshot; what moves is dropped where it was and where it is."""

from __future__ import annotations

import pytest
from django.db import models

from permissions.models import (
    ApiKey,
    Membership,
    Permission,
    PermissionGroup,
    PermissionRequirement,
    Resource,
    Role,
    RoleBinding,
    RoleGroup,
    RoleInheritance,
    Subject,
)
from permissions.writing import SYSTEM, permission_write
from tests.permissions.triggers.operations import execute, insert_sql
from tests.permissions.triggers.world import Objects, World, unique

pytestmark = [pytest.mark.both_databases, pytest.mark.usefixtures("db")]


def _write(world: World, row: object, **values: object) -> Objects:
    """What one write logs that sets `values` on the row."""
    before = world.head()
    with permission_write(world.realm.name, SYSTEM):
        type(row)._default_manager.filter(pk=row.pk).update(**values)  # type: ignore[attr-defined]
    log = world.log_after(before)
    assert set(log) <= {before + 1}
    return log.get(before + 1, set())


@pytest.fixture
def world(worlds: tuple[World, World]) -> World:
    return worlds[0]


@pytest.mark.parametrize(("kind", "letter"), [("subject", "s"), ("team", "t")])
def test_a_renamed_subject_is_logged_under_both_names(world: World, kind: str, letter: str) -> None:
    subject, new = world.subject(kind), unique("user:renamed")
    assert _write(world, subject, ref=new) == {(letter, subject.ref), (letter, new)}


def test_a_renamed_subject_drops_its_keys(world: World) -> None:
    subject, new = world.subject("subject"), unique("user:renamed")
    key = ApiKey.objects.create(realm=world.realm, name=unique("key"), prefix=unique("p"), digest=unique("d"), subject=subject)
    assert _write(world, subject, ref=new) == {("s", subject.ref), ("s", new), ("k", key.prefix)}


def test_a_renamed_resource_drops_whoever_holds_a_binding_there(world: World) -> None:
    node, bob, team, new = (
        Resource.objects.create(realm=world.realm, ref=unique("doc:")),
        world.bob,
        world.team,
        unique("doc:new"),
    )
    for holder in (bob, team):
        RoleBinding.objects.create(realm=world.realm, subject=holder, role=world.role, scope=node)
    assert _write(world, node, ref=new) == {("r", node.ref), ("r", new), ("s", bob.ref), ("t", team.ref)}


def test_a_renamed_role_drops_whoever_holds_it(world: World) -> None:
    bob, old, new = world.subject("subject"), world.role.name, unique("renamed")
    RoleBinding.objects.filter(role=world.role).delete()
    RoleBinding.objects.create(realm=world.realm, subject=bob, role=world.role)
    assert _write(world, world.role, name=new) == {("m", old), ("m", new), ("s", bob.ref)}
    world.role.refresh_from_db()


def test_a_changed_role_that_keeps_its_name_drops_nobody_else(world: World) -> None:
    RoleBinding.objects.create(realm=world.realm, subject=world.bob, role=world.role)
    assert _write(world, world.role, title=unique("title")) == {("m", world.role.name)}


def _role(world: World) -> Role:
    return Role.objects.create(realm=world.realm, name=unique("role"))


def _referred_to(world: World) -> list[tuple[models.Model, str, Objects]]:
    """A role, a group and a code that others refer to: each with the field of its name, and with what reads that name."""
    role, heir, bob = _role(world), _role(world), world.subject("subject")
    group = PermissionGroup.objects.create(realm=world.realm, name=unique("group"))
    code = Permission.objects.create(realm=world.realm, code=unique("doc:p"))
    requiring = Permission.objects.create(realm=world.realm, code=unique("doc:q"))
    RoleInheritance.objects.create(role=heir, parent=role)
    RoleBinding.objects.create(realm=world.realm, subject=bob, role=role)
    RoleGroup.objects.create(role=heir, group=group)
    PermissionRequirement.objects.create(permission=requiring, required=code)
    return [
        (role, "name", {("m", heir.name), ("s", bob.ref)}),
        (group, "name", {("m", heir.name)}),
        (code, "code", {("m", requiring.code)}),
    ]


@pytest.mark.parametrize("number", range(3), ids=["role", "group", "permission"])
def test_a_renamed_object_logs_whoever_is_read_with_its_name(world: World, number: int) -> None:
    row, field, referring = _referred_to(world)[number]
    old, new = getattr(row, field), unique("doc:renamed")
    assert _write(world, row, **{field: new}) == {("m", old), ("m", new), *referring}


@pytest.mark.parametrize("number", range(3), ids=["role", "group", "permission"])
def test_a_row_that_takes_the_place_of_another_logs_whoever_refers_to_it(world: World, number: int) -> None:
    """A delete and an insert with the same key: what refers to the key is read with another name from now on."""
    row, field, referring = _referred_to(world)[number]
    old, new, before = getattr(row, field), unique("doc:instead"), world.head()
    setattr(row, field, new)
    with permission_write(world.realm.name, SYSTEM):
        execute(f"DELETE FROM {row._meta.db_table} WHERE id = %s", [row.pk])
        execute(*insert_sql(row, with_key=True))
    assert world.log_after(before) == {before + 1: {("m", old), ("m", new), *referring}}


def test_a_resource_that_takes_the_place_of_another_logs_whoever_holds_a_binding_there(world: World) -> None:
    node, bob = Resource.objects.create(realm=world.realm, ref=unique("doc:")), world.subject("subject")
    RoleBinding.objects.create(realm=world.realm, subject=bob, role=world.role, scope=node)
    old, before = node.ref, world.head()
    node.ref = unique("doc:instead")
    with permission_write(world.realm.name, SYSTEM):
        execute("DELETE FROM permissions_resource WHERE id = %s", [node.pk])
        execute(*insert_sql(node, with_key=True))
    assert world.log_after(before) == {before + 1: {("r", old), ("r", node.ref), ("s", bob.ref)}}


def test_a_moved_node_logs_itself_and_not_its_subtree(world: World) -> None:
    node = Resource.objects.create(realm=world.realm, ref=unique("doc:"))
    Resource.objects.create(realm=world.realm, ref=unique("doc:"), parent=node)
    assert _write(world, node, parent=world.node) == {("r", node.ref)}


def test_a_membership_logs_its_member_and_not_its_team(world: World) -> None:
    bob, eve = world.subject("subject"), world.subject("subject")
    row = Membership.objects.create(team=world.team, member=bob)
    assert _write(world, row, member=eve) == {("s", bob.ref), ("s", eve.ref)}


def test_a_binding_handed_to_another_logs_both(world: World) -> None:
    bob, eve = world.subject("subject"), world.subject("subject")
    row = RoleBinding.objects.create(realm=world.realm, subject=bob, role=world.role)
    assert _write(world, row, subject=eve) == {("s", bob.ref), ("s", eve.ref)}


def test_when_a_binding_was_made_is_no_change(world: World) -> None:
    row = RoleBinding.objects.create(realm=world.realm, subject=world.bob, role=world.role)
    assert _write(world, row, created_at="2020-01-01T00:00:00Z") == set()


def test_a_subject_that_becomes_a_team_is_logged_as_both(world: World) -> None:
    subject = world.subject("subject")
    assert _write(world, subject, kind="team") == {("s", subject.ref), ("t", subject.ref)}


def test_an_object_that_changes_its_realm_is_logged_in_both(worlds: tuple[World, World]) -> None:
    here, there = worlds
    subject = here.subject("subject")
    before = here.head(), there.head()
    Subject.objects.filter(pk=subject.pk).update(realm=there.realm)
    assert here.log_after(before[0]) == {before[0] + 1: {("s", subject.ref)}}
    assert there.log_after(before[1]) == {before[1] + 1: {("s", subject.ref)}}
