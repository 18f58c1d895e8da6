"""Two writers at once on PostgreSQL: what the lock before the first statement prevents, and what a repeat mends."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.contrib.auth.models import User
from django.db import connection, transaction

from permissions.models import Realm, Resource, RoleBinding
from permissions.writing import SYSTEM, Write, permission_write, run_write
from tests.permissions.triggers.operations import execute
from tests.permissions.triggers.threads import PATIENCE_S, in_thread
from tests.permissions.triggers.world import World, unique

pytestmark = pytest.mark.usefixtures("db")


def _until_somebody_waits() -> None:
    """Until another connection of this database waits for a lock: the server says so, no guess of ours."""
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        with connection.cursor() as cursor:
            cursor.execute("SELECT count(*) FROM pg_locks WHERE NOT granted")
            if cursor.fetchone()[0]:
                return
        time.sleep(0.005)
    raise AssertionError("nobody waits for a lock")


def _grant_while_another_revokes(world: World, revoke: Callable[[], int]) -> int:
    """Grants in a write that commits only once the revoke waits for it; answers how many rows the revoke removed."""
    with ThreadPoolExecutor(1) as pool:
        with permission_write(world.realm.name, SYSTEM):
            RoleBinding.objects.create(realm=world.realm, subject=world.bob, role=world.role)
            revoked = in_thread(pool, revoke)
            _until_somebody_waits()
        return int(revoked.result(PATIENCE_S))


def test_a_revoke_that_waited_for_a_grant_removes_it(worlds: tuple[World, World]) -> None:
    world = worlds[0]

    def revoke() -> int:
        with permission_write(world.realm.name, SYSTEM):
            return RoleBinding.objects.filter(subject=world.bob).delete()[0]

    before = world.head()
    assert _grant_while_another_revokes(world, revoke) == 1
    assert not RoleBinding.objects.filter(subject=world.bob).exists()
    assert world.log_after(before) == {before + 1: {("s", world.bob.ref)}, before + 2: {("s", world.bob.ref)}}


def test_a_foreign_revoke_that_waited_in_its_trigger_says_that_it_removed_nothing(worlds: tuple[World, World]) -> None:
    """Trap two: the guard waits inside the statement, whose snapshot is older than the grant. The trigger cannot mend that."""
    world = worlds[1]

    def revoke() -> int:
        return execute("DELETE FROM permissions_rolebinding WHERE subject_id = %s", [world.bob.pk])

    before = world.head()
    assert _grant_while_another_revokes(world, revoke) == 0
    assert RoleBinding.objects.filter(subject=world.bob).exists()
    assert world.head() == before + 1


def test_writers_that_deadlock_over_all_realms_are_repeated(worlds: tuple[World, World]) -> None:
    """Each holds its own realm and writes a user, which takes every realm: one is chosen as the victim, and does it again."""
    both = threading.Barrier(2)
    users = [User.objects.create_user(unique("bob")) for _ in range(2)]
    heads = [w.head() for w in worlds]
    attempts = [0, 0]

    def writer(number: int) -> Callable[[], int]:
        def work(write: Write) -> None:
            attempts[number] += 1
            Resource.objects.create(realm=write.realm, ref=unique("doc:"))
            if attempts[number] == 1:
                both.wait(PATIENCE_S)
            User.objects.filter(pk=users[number].pk).update(is_active=False)

        return lambda: run_write(worlds[number].realm.name, SYSTEM, "", work)[1].revision

    with ThreadPoolExecutor(2) as pool:
        results = [in_thread(pool, writer(n)) for n in range(2)]
        revisions = [r.result(PATIENCE_S) for r in results]
    assert sorted(attempts) == [1, 2]
    assert not User.objects.filter(pk__in=[u.pk for u in users], is_active=True).exists()
    # Two commits, each one revision in both realms; what the victim did first is gone.
    assert [w.head() for w in worlds] == [h + 2 for h in heads]
    assert all(revision > head for revision, head in zip(revisions, heads, strict=True))
    for world, head in zip(worlds, heads, strict=True):
        assert len([o for o in set().union(*world.log_after(head).values()) if o[0] == "r"]) == 1


def test_foreign_writers_in_opposite_order_do_not_deadlock(worlds: tuple[World, World]) -> None:
    """Trap one: without the guard each would hold rows of one realm and wait for the counter of the other."""

    def writer(order: tuple[World, ...]) -> Callable[[], None]:
        def work() -> None:
            for _ in range(10):
                with transaction.atomic():
                    for world in order:
                        Resource.objects.create(realm=world.realm, ref=unique("doc:"))

        return work

    heads = [w.head() for w in worlds]
    with ThreadPoolExecutor(2) as pool:
        results = [in_thread(pool, writer(order)) for order in (worlds, worlds[::-1])]
        for result in results:
            result.result(PATIENCE_S)
    assert [w.head() for w in worlds] == [h + 20 for h in heads]


def test_an_unlocked_write_is_counted(worlds: tuple[World, World]) -> None:
    def counted() -> int:
        with connection.cursor() as cursor:
            cursor.execute("SELECT last_value FROM ps_unlocked_writes")
            return int(cursor.fetchone()[0])

    execute("SELECT nextval('ps_unlocked_writes')")
    before = counted()
    with permission_write(worlds[0].realm.name, SYSTEM):
        Resource.objects.create(realm=worlds[0].realm, ref=unique("doc:"))
    assert counted() == before
    Resource.objects.create(realm=worlds[0].realm, ref=unique("doc:"))
    assert counted() == before + 1


def test_session_replication_role_does_not_write_behind_the_revision(worlds: tuple[World, World]) -> None:
    world = worlds[0]
    before = world.head()
    with transaction.atomic():
        execute("SET LOCAL session_replication_role = replica")
        execute("UPDATE permissions_rolebinding SET condition = condition || ' ' WHERE realm_id = %s", [world.realm.pk])
        execute("UPDATE permissions_resource SET inherit = NOT inherit WHERE id = %s", [world.node.pk])
    assert world.head() == before + 1
    assert ("r", world.node.ref) in world.log_after(before)[before + 1]


def test_a_foreign_search_path_finds_the_same_tables(worlds: tuple[World, World]) -> None:
    world = worlds[0]
    before = world.head()
    with transaction.atomic():
        execute("CREATE TEMPORARY TABLE permissions_changelog (LIKE permissions_changelog) ON COMMIT DROP")
        execute("SET LOCAL search_path = pg_catalog")
        execute("UPDATE public.permissions_resource SET inherit = NOT inherit WHERE id = %s", [world.node.pk])
    assert world.log_after(before) == {before + 1: {("r", world.node.ref)}}
    assert Realm.objects.get(pk=world.realm.pk).write_state == 0
