"""TRUNCATE, which only PostgreSQL has, is everything in every realm."""

from __future__ import annotations

import pytest
from django.db import transaction

from permissions.models import Changelog, Realm, RoleBinding, Subject
from tests.permissions.triggers.operations import execute
from tests.permissions.triggers.world import CASES, World

pytestmark = pytest.mark.usefixtures("db")


def test_truncate_is_everything_in_every_realm(worlds: tuple[World, World]) -> None:
    RoleBinding.objects.create(realm=worlds[0].realm, subject=worlds[0].bob, role=worlds[0].role)
    heads = [w.head() for w in worlds]
    with transaction.atomic():
        execute("TRUNCATE permissions_rolebinding")
    for world, before in zip(worlds, heads, strict=True):
        assert world.log_after(before) == {before + 1: {("*", "")}}
    assert all(Changelog.objects.filter(realm_id=r.pk, rev=r.rev, kind="*").exists() for r in Realm.objects.all())
    assert Subject.objects.filter(pk=worlds[0].bob.pk).exists()


@pytest.mark.parametrize("table", sorted({case.model._meta.db_table for case in CASES}))
def test_no_table_can_be_truncated_unseen(worlds: tuple[World, World], table: str) -> None:
    before = worlds[1].head()
    with transaction.atomic():
        execute(f"TRUNCATE {table} CASCADE")
        assert worlds[1].log_after(before) == {before + 1: {("*", "")}}
        transaction.set_rollback(True)
    assert worlds[1].head() == before
