"""The realm's own row: its law is part of the model, its counter belongs to the triggers."""

from __future__ import annotations

import uuid

import pytest
from django.db import transaction

from permissions.models import Changelog, Realm, Resource
from permissions.writing import SYSTEM, permission_write
from tests.permissions.triggers.world import World, unique

pytestmark = [pytest.mark.both_databases, pytest.mark.usefixtures("db")]


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("combining", "overlay"),
        ("unknown_subjects", "everyone"),
        ("suspended", True),
        ("staleness_s", 0.25),
        ("static_grace_s", 5.0),
        ("resource_types", {"channel": {"combining": "overlay"}}),
    ],
)
def test_a_changed_law_is_a_revision_of_the_model(worlds: tuple[World, World], column: str, value: object) -> None:
    world = worlds[0]
    before = world.head()
    Realm.objects.filter(pk=world.realm.pk).update(**{column: value})
    assert world.log_after(before) == {before + 1: {("m", world.realm.name)}}


def test_a_new_realm_begins_with_revision_one() -> None:
    realm = Realm.objects.create(name=unique("realm"))
    assert Realm.objects.get(pk=realm.pk).rev == 1
    assert list(Changelog.objects.filter(realm_id=realm.pk).values_list("rev", "kind", "object_id")) == [(1, "m", realm.name)]


def test_a_new_epoch_is_no_change_of_the_law(worlds: tuple[World, World]) -> None:
    world = worlds[0]
    before = world.head()
    Realm.objects.filter(pk=world.realm.pk).update(epoch=uuid.uuid4())
    assert world.head() == before


def test_a_renamed_realm_drops_everything_read_under_the_old_name() -> None:
    world = World.create()
    before = world.head()
    world.realm.name = unique("renamed")
    world.realm.save(update_fields=["name"])
    (at,) = world.log_after(before)
    assert ("*", "") in world.log_after(before)[at]


def test_a_realm_saved_whole_from_an_older_copy_does_not_turn_its_counter_back(worlds: tuple[World, World]) -> None:
    world = worlds[1]
    stale = Realm.objects.get(pk=world.realm.pk)
    Resource.objects.create(realm=world.realm, ref=unique("doc:"))
    before = Realm.objects.get(pk=world.realm.pk)
    stale.suspended = not stale.suspended
    stale.save()
    after = Realm.objects.get(pk=world.realm.pk)
    assert after.rev == before.rev + 1
    assert after.suspended is stale.suspended
    Realm.objects.get(pk=world.realm.pk).save()
    stale.save()
    unchanged = Realm.objects.get(pk=world.realm.pk)
    assert (unchanged.rev, unchanged.stamp, unchanged.write_state) == (after.rev, after.stamp, 0)


def test_a_realm_saved_inside_a_write_keeps_the_write_one_revision(worlds: tuple[World, World]) -> None:
    world = worlds[1]
    stale = Realm.objects.get(pk=world.realm.pk)
    before = world.head()
    with permission_write(world.realm.name, SYSTEM):
        stale.suspended = not stale.suspended
        stale.save()
        node = Resource.objects.create(realm=world.realm, ref=unique("doc:"))
        stale.save()
    assert world.log_after(before) == {before + 1: {("m", world.realm.name), ("r", node.ref)}}


def test_a_deleted_realm_leaves_a_last_revision_of_everything() -> None:
    realm = Realm.objects.create(name=unique("realm"))
    Resource.objects.create(realm=realm, ref="doc:1")
    key, before = realm.pk, Realm.objects.get(pk=realm.pk).rev
    with transaction.atomic():
        realm.delete()
    log = Changelog.objects.filter(realm_id=key, rev__gt=before).order_by("rev", "kind").values_list("rev", "kind", "object_id")
    assert ("*", "") in {(kind, object_id) for _, kind, object_id in log}
    revisions = sorted({rev for rev, *_ in log})
    assert revisions == list(range(before + 1, before + 1 + len(revisions)))


def test_every_change_draws_a_stamp_that_its_log_carries(worlds: tuple[World, World]) -> None:
    world = worlds[0]
    seen = set()
    for _ in range(4):
        Resource.objects.create(realm=world.realm, ref=unique("doc:"))
        realm = Realm.objects.get(pk=world.realm.pk)
        assert set(Changelog.objects.filter(realm_id=realm.pk, rev=realm.rev).values_list("stamp", flat=True)) == {realm.stamp}
        assert 0 <= realm.stamp < 2**31
        seen.add(realm.stamp)
    assert len(seen) > 1


def test_all_objects_of_a_revision_carry_one_time(worlds: tuple[World, World]) -> None:
    world = worlds[0]
    with permission_write(world.realm.name, SYSTEM) as write:
        for _ in range(3):
            Resource.objects.create(realm=world.realm, ref=unique("doc:"))
    assert Changelog.objects.filter(realm_id=world.realm.pk, rev=write.revision).values("at").distinct().count() == 1
