"""Rows that may not stand together are refused by the database, whoever writes them and from whichever side."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
from django.db import IntegrityError, connection, models, transaction

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
from tests.permissions.triggers.world import World, unique

pytestmark = [pytest.mark.both_databases, pytest.mark.usefixtures("db")]


def _key(world: World, subject: Subject) -> ApiKey:
    return ApiKey(realm=world.realm, name=unique("key"), prefix=unique("p"), digest=unique("d"), subject=subject)


# Each joins a row of the first realm with one of the second.
CROSSING: dict[str, Callable[[World, World], models.Model]] = {
    "requirement": lambda a, b: PermissionRequirement(permission=a.permission, required=b.permission),
    "inheritance": lambda a, b: RoleInheritance(role=a.role, parent=b.role),
    "role_group": lambda a, b: RoleGroup(role=a.role, group=b.group),
    "membership": lambda a, b: Membership(team=a.team, member=b.bob),
    "resource": lambda a, b: Resource(realm=a.realm, ref=unique("doc:"), parent=b.node),
    "binding_subject": lambda a, b: RoleBinding(realm=a.realm, subject=b.bob, role=a.role),
    "binding_role": lambda a, b: RoleBinding(realm=a.realm, subject=a.bob, role=b.role),
    "binding_scope": lambda a, b: RoleBinding(realm=a.realm, subject=a.bob, role=a.role, scope=b.node),
    "key": lambda a, b: _key(a, b.bob),
}


@pytest.mark.parametrize("name", CROSSING)
def test_a_row_cannot_join_two_realms(worlds: tuple[World, World], name: str) -> None:
    row = CROSSING[name](*worlds)
    heads = [w.head() for w in worlds]
    with pytest.raises(IntegrityError, match=r"realm"):
        row.save()
    assert [w.head() for w in worlds] == heads
    assert not type(row)._default_manager.filter(pk=row.pk).exists()


def _moves(a: World) -> dict[str, models.Model]:
    """Objects of `a` that something of their own realm hangs on."""
    role, parent = (Role.objects.create(realm=a.realm, name=unique("role")) for _ in range(2))
    RoleInheritance.objects.create(role=role, parent=parent)
    group = PermissionGroup.objects.create(realm=a.realm, name=unique("group"))
    RoleGroup.objects.create(role=role, group=group)
    permission = Permission.objects.create(realm=a.realm, code=unique("doc:a"))
    PermissionRequirement.objects.create(permission=permission, required=a.permission)
    team, member, bound, acting = a.subject("team"), a.subject("subject"), a.subject("subject"), a.subject("subject")
    Membership.objects.create(team=team, member=member)
    RoleBinding.objects.create(realm=a.realm, subject=bound, role=role)
    _key(a, acting).save()
    above = Resource.objects.create(realm=a.realm, ref=unique("doc:"))
    below = Resource.objects.create(realm=a.realm, ref=unique("doc:"), parent=above)
    return {
        "inheriting_role": role,
        "inherited_role": parent,
        "group": group,
        "permission": permission,
        "team": team,
        "member": member,
        "bound_subject": bound,
        "acting_subject": acting,
        "node_above": above,
        "node_below": below,
    }


@pytest.mark.parametrize(
    "name",
    [
        "inheriting_role",
        "inherited_role",
        "group",
        "permission",
        "team",
        "member",
        "bound_subject",
        "acting_subject",
        "node_above",
        "node_below",
    ],
)
def test_an_object_in_use_cannot_move_to_another_realm(worlds: tuple[World, World], name: str) -> None:
    here, there = worlds
    row = _moves(here)[name]
    with pytest.raises(IntegrityError, match="realm"):
        type(row)._default_manager.filter(pk=row.pk).update(realm=there.realm)


def test_a_parent_that_comes_after_its_child_is_asked_too(worlds: tuple[World, World]) -> None:
    """Foreign keys are checked at the commit: the binding may name a subject before there is one."""
    here, there = worlds
    missing = Subject.objects.order_by("-pk").values_list("pk", flat=True)[0] + 1000
    with pytest.raises(IntegrityError, match="of the binding's realm"), transaction.atomic():
        RoleBinding.objects.create(realm=here.realm, subject_id=missing, role=here.role)
        Subject.objects.create(pk=missing, realm=there.realm, ref=unique("user:"))


@pytest.mark.parametrize(("team", "member"), [("subject", "subject"), ("everyone", "subject"), ("team", "everyone")])
def test_only_a_team_has_members_and_everyone_is_none(worlds: tuple[World, World], team: str, member: str) -> None:
    world = worlds[0]
    with pytest.raises(IntegrityError, match="a membership joins a team and a subject or team"):
        Membership.objects.create(team=world.subject(team), member=world.subject(member))


def test_a_team_with_members_stays_a_team(worlds: tuple[World, World]) -> None:
    world = worlds[0]
    team = world.subject("team")
    Membership.objects.create(team=team, member=world.bob)
    with pytest.raises(IntegrityError, match="a membership joins a team"):
        Subject.objects.filter(pk=team.pk).update(kind="subject")


CYCLES: dict[str, tuple[Callable[[World], Any], Callable[[World, Any, Any], object]]] = {
    "role": (
        lambda w: Role.objects.create(realm=w.realm, name=unique("role")),
        lambda w, low, high: RoleInheritance.objects.create(role=low, parent=high),
    ),
    "team": (lambda w: w.subject("team"), lambda w, low, high: Membership.objects.create(member=low, team=high)),
    "permission": (
        lambda w: Permission.objects.create(realm=w.realm, code=unique("doc:a")),
        lambda w, low, high: PermissionRequirement.objects.create(permission=low, required=high),
    ),
    "resource": (
        lambda w: Resource.objects.create(realm=w.realm, ref=unique("doc:")),
        lambda w, low, high: Resource.objects.filter(pk=low.pk).update(parent=high),
    ),
}


@pytest.mark.parametrize("length", [1, 2, 4])
@pytest.mark.parametrize("name", CYCLES)
def test_no_path_leads_back_to_where_it_began(worlds: tuple[World, World], name: str, length: int) -> None:
    world = worlds[0]
    make, link = CYCLES[name]
    nodes = [make(world) for _ in range(length)]
    for low, high in pairwise(nodes):
        link(world, low, high)
    with pytest.raises(IntegrityError):
        link(world, nodes[-1], nodes[0])


@pytest.mark.parametrize("name", CYCLES)
def test_two_ways_to_the_same_place_are_no_cycle(worlds: tuple[World, World], name: str) -> None:
    world = worlds[0]
    make, link = CYCLES[name]
    top, left, right, bottom = (make(world) for _ in range(4))
    pairs = [(bottom, left), (left, top), (right, top)] + ([] if name == "resource" else [(bottom, right)])
    for low, high in pairs:
        link(world, low, high)


def test_a_cycle_closed_by_one_statement_is_refused_as_a_whole(worlds: tuple[World, World]) -> None:
    world = worlds[0]
    a, b, c = (world.subject("team") for _ in range(3))
    rows = [Membership(member=low, team=high) for low, high in ((a, b), (b, c), (c, a))]
    with pytest.raises(IntegrityError, match="a team cannot be its own member"):
        Membership.objects.bulk_create(rows)
    assert not Membership.objects.filter(member__in=[a, b, c]).exists()


def test_a_cycle_in_one_update_of_many_nodes_is_refused(worlds: tuple[World, World]) -> None:
    world = worlds[0]
    top = Resource.objects.create(realm=world.realm, ref=unique("doc:"))
    below = Resource.objects.create(realm=world.realm, ref=unique("doc:"), parent=top)
    with pytest.raises(IntegrityError), connection.cursor() as cursor:
        cursor.execute("UPDATE permissions_resource SET parent_id = %s WHERE id IN (%s, %s)", [below.pk, top.pk, below.pk])


def test_a_binding_names_a_role_or_lists_and_not_both(worlds: tuple[World, World]) -> None:
    world = worlds[0]
    for values in ({"role": world.role, "allow": ["a:b"]}, {}, {"role": world.role, "deny": ["a:b"]}):
        with pytest.raises(IntegrityError, match="binding_role_or_lists"):
            RoleBinding.objects.create(realm=world.realm, subject=world.bob, **values)
    RoleBinding.objects.create(realm=world.realm, subject=world.bob, deny=["a:b"])
