"""Strict mode: the database refuses a write that did not lock its realm first; without it the triggers lock and count."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from django.contrib.auth.models import User
from django.db import IntegrityError, connection, transaction

from permissions import triggers
from permissions.models import Realm, Resource, RoleBinding, Subject
from permissions.writing import SYSTEM, permission_write
from tests.permissions.triggers.operations import execute
from tests.permissions.triggers.world import World, unique

pytestmark = [pytest.mark.both_databases, pytest.mark.usefixtures("db")]


@pytest.fixture
def strict(worlds: tuple[World, World], settings: object) -> Iterator[tuple[World, World]]:
    settings.STRICT_WRITES = True  # type: ignore[attr-defined]  # pytest-django names no public type
    triggers.install(connection)
    yield worlds
    settings.STRICT_WRITES = False  # type: ignore[attr-defined]
    triggers.install(connection)


FOREIGN: dict[str, Callable[[World], object]] = {
    "create": lambda w: Resource.objects.create(realm=w.realm, ref=unique("doc:")),
    "update": lambda w: Resource.objects.filter(pk=w.node.pk).update(attributes={"n": unique("")}),
    "delete": lambda w: Subject.objects.filter(pk=w.team.pk).delete(),
    "raw": lambda w: execute("UPDATE permissions_role SET title = 'x' WHERE id = %s", [w.role.pk]),
    "realm": lambda w: Realm.objects.filter(pk=w.realm.pk).update(suspended=True),
    "realm_gone": lambda w: execute("DELETE FROM permissions_realm WHERE id = %s", [w.realm.pk]),
}


@pytest.mark.parametrize("name", FOREIGN)
def test_a_write_without_the_lock_is_refused(strict: tuple[World, World], name: str) -> None:
    world = strict[0]
    before = world.head()
    with pytest.raises(IntegrityError, match="strict mode"), transaction.atomic():
        FOREIGN[name](world)
    assert world.head() == before


def test_a_write_through_the_door_passes(strict: tuple[World, World]) -> None:
    world = strict[0]
    before = world.head()
    with permission_write(world.realm.name, SYSTEM):
        node = Resource.objects.create(realm=world.realm, ref=unique("doc:"))
        RoleBinding.objects.create(realm=world.realm, subject=world.bob, role=world.role, scope=node)
    assert world.log_after(before) == {before + 1: {("r", node.ref), ("s", world.bob.ref)}}


def test_the_lock_of_one_realm_is_not_that_of_another(strict: tuple[World, World]) -> None:
    here, there = strict
    with pytest.raises(IntegrityError, match="strict mode"), permission_write(here.realm.name, SYSTEM):
        Resource.objects.create(realm=there.realm, ref=unique("doc:"))


def test_a_new_realm_needs_no_lock_since_nobody_else_sees_it(strict: tuple[World, World]) -> None:
    name = unique("realm")
    with permission_write(name, SYSTEM, create=True) as write:
        Resource.objects.create(realm=write.realm, ref="doc:1")
    assert Realm.objects.get(name=name).rev >= 1


def test_the_user_table_only_ever_locks(strict: tuple[World, World]) -> None:
    user = User.objects.create_user(unique("bob"))
    assert Subject.objects.get(user=user).ref == f"user:{user.username}"
    user.is_active = False
    user.username = unique("renamed")
    user.save()
    assert Subject.objects.get(user=user).ref == f"user:{user.username}"
    heads = [w.head() for w in strict]
    with permission_write("default", SYSTEM):
        user.is_active = True
        user.save()
    assert [w.head() for w in strict] == [h + 1 for h in heads]


def test_migrate_and_flush_pass(strict: tuple[World, World]) -> None:
    triggers.keep_triggers("default")
    triggers.keep_default_realm("default")
    triggers.link_users("default")
    assert triggers.differences(connection) == []


def test_without_strict_mode_foreign_writes_pass_with_their_revision(worlds: tuple[World, World]) -> None:
    world = worlds[0]
    before = world.head()
    node = Resource.objects.create(realm=world.realm, ref=unique("doc:"))
    assert world.log_after(before) == {before + 1: {("r", node.ref)}}
