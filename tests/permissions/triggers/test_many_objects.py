"""What is too much to name is logged as one `*`: everything."""

from __future__ import annotations

import pytest
from django.db import connection

from permissions.models import Resource
from permissions.writing import SYSTEM, permission_write
from tests.permissions.triggers.operations import execute
from tests.permissions.triggers.world import World, unique

pytestmark = [pytest.mark.both_databases, pytest.mark.usefixtures("db"), pytest.mark.timeout(300)]

MANY = 20_001
_COLUMNS = "INSERT INTO permissions_subject (realm_id, ref, kind, attributes, active, locked) "


def _subjects(world: World, count: int) -> None:
    """By one statement; the objects themselves would take longer to build than the triggers to count them."""
    prefix = unique("bulk:")
    if connection.vendor == "postgresql":
        source = "SELECT %s, %s || n, 'subject', '{}', true, false FROM generate_series(1, %s) n"
    else:
        source = (
            "WITH RECURSIVE c(r, p, n) AS (SELECT %s, %s, %s UNION ALL SELECT r, p, n - 1 FROM c WHERE n > 1) "
            "SELECT r, p || n, 'subject', '{}', true, false FROM c"
        )
    execute(_COLUMNS + source, [world.realm.pk, prefix, count])


def test_as_many_as_may_be_are_all_named(worlds: tuple[World, World]) -> None:
    world = worlds[0]
    before = world.head()
    with permission_write(world.realm.name, SYSTEM):
        _subjects(world, MANY - 1)
    (objects,) = world.log_after(before).values()
    assert len(objects) == MANY - 1
    assert ("*", "") not in objects


def test_more_objects_in_one_statement_are_one_star(worlds: tuple[World, World]) -> None:
    world = worlds[0]
    before = world.head()
    with permission_write(world.realm.name, SYSTEM):
        _subjects(world, MANY)
        Resource.objects.create(realm=world.realm, ref=unique("doc:"))
    assert world.log_after(before) == {before + 1: {("*", "")}}


def test_more_objects_in_several_statements_are_one_star(worlds: tuple[World, World]) -> None:
    world = worlds[0]
    before = world.head()
    with permission_write(world.realm.name, SYSTEM):
        _subjects(world, MANY // 2)
        _subjects(world, MANY // 2 + 1)
    assert world.log_after(before) == {before + 1: {("*", "")}}


def test_the_same_object_many_times_is_one_object(worlds: tuple[World, World]) -> None:
    world = worlds[0]
    role = world.role
    before = world.head()
    with permission_write(world.realm.name, SYSTEM):
        for _ in range(3):
            role.lines.bulk_create([role.lines.model(role=role, pattern=unique("doc:a")) for _ in range(7_000)], batch_size=7_000)
    assert world.log_after(before) == {before + 1: {("m", role.name)}}
