"""A name that changes drops whatever carries it in a snapshot; what moves is dropped where it was and where it is."""

from __future__ import annotations

import pytest

from permissions.models import ApiKey, Membership, Resource, RoleBinding, Subject
from permissions.writing import SYSTEM, permission_write
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
