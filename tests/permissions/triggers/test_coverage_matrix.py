"""Every table, every way to write it, every way to end: one revision a commit, exactly the objects that changed, nothing else.

Source: consistency, section 12.4. On SQLite foreign SQL makes a revision a row, consecutive and within one commit.
"""

from __future__ import annotations

import pytest
from django.conf import settings
from django.db import connection, transaction

from permissions.models import Resource
from permissions.writing import SYSTEM, permission_write
from tests.permissions.triggers.operations import OPERATIONS, Operation
from tests.permissions.triggers.world import CASES, Case, Objects, World, unique

pytestmark = pytest.mark.both_databases

# COPY is PostgreSQL's, REPLACE is SQLite's.
VENDORS = {"", settings.TEST_DATABASE}  # type: ignore[misc]  # of tests/settings.py alone
MATRIX = [
    pytest.param(case, op, id=f"{case}-{op}") for case in CASES for op in OPERATIONS if op.fits(case) and op.vendor in VENDORS
]


class _UndoError(Exception):
    pass


def _one_revision(world: World, before: int, touched: Objects) -> None:
    assert world.log_after(before) == ({before + 1: touched} if touched else {})
    assert world.head() == before + bool(touched)


@pytest.mark.parametrize(("case", "operation"), MATRIX)
def test_a_write_makes_one_revision_with_the_objects_it_changed(
    worlds: tuple[World, World], case: Case, operation: Operation
) -> None:
    world = worlds[0]
    work, touched = operation.prepare(case, world)
    before = world.head()
    with permission_write(world.realm.name, SYSTEM) as write:
        work()
    _one_revision(world, before, touched)
    assert write.changed == bool(touched)


@pytest.mark.parametrize(("case", "operation"), MATRIX)
def test_foreign_sql_makes_a_revision_in_each_realm_it_writes(
    worlds: tuple[World, World], case: Case, operation: Operation
) -> None:
    prepared = [(world, *operation.prepare(case, world)) for world in worlds]
    before = [world.head() for world in worlds]
    with transaction.atomic():
        for _, work, _ in prepared:
            work()
    for (world, _, touched), rev in zip(prepared, before, strict=True):
        if connection.vendor == "postgresql":
            _one_revision(world, rev, touched)
            continue
        log = world.log_after(rev)
        assert sorted(log) == list(range(rev + 1, world.head() + 1))
        assert set().union(*log.values()) == touched


@pytest.mark.parametrize(("case", "operation"), MATRIX)
def test_what_is_rolled_back_was_never_there(worlds: tuple[World, World], case: Case, operation: Operation) -> None:
    world = worlds[0]
    work, _ = operation.prepare(case, world)
    before = world.head()
    with pytest.raises(_UndoError), permission_write(world.realm.name, SYSTEM):
        work()
        raise _UndoError
    _one_revision(world, before, set())


@pytest.mark.parametrize(("case", "operation"), MATRIX)
def test_a_savepoint_takes_its_objects_and_its_revision_back(
    worlds: tuple[World, World], case: Case, operation: Operation
) -> None:
    world = worlds[0]
    work, _ = operation.prepare(case, world)
    before = world.head()
    with permission_write(world.realm.name, SYSTEM):
        with pytest.raises(_UndoError), transaction.atomic():
            work()
            raise _UndoError
        kept = Resource.objects.create(realm=world.realm, ref=unique("kept:"))
    _one_revision(world, before, {("r", kept.ref)})
