"""Several writers of one realm: each waits for its turn, and readers see revisions in the order they were committed."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from permissions.models import Realm, Resource
from permissions.writing import SYSTEM, permission_write
from tests.permissions.triggers.threads import PATIENCE_S, in_thread
from tests.permissions.triggers.world import World, unique

pytestmark = [pytest.mark.both_databases, pytest.mark.usefixtures("db")]


def test_revisions_are_committed_in_their_order_without_gaps(worlds: tuple[World, World]) -> None:
    """A reader that has seen revision n never sees one below n appear later."""
    world, done = worlds[0], threading.Event()
    start = world.head()

    def write() -> None:
        for _ in range(15):
            with permission_write(world.realm.name, SYSTEM):
                Resource.objects.create(realm=world.realm, ref=unique("doc:"))

    def read() -> list[list[int]]:
        seen = []
        while not done.is_set():
            seen.append(sorted(world.log_after(start)))
        return seen

    with ThreadPoolExecutor(4) as pool:
        reader = in_thread(pool, read)
        for writer in [in_thread(pool, write) for _ in range(3)]:
            writer.result(PATIENCE_S)
        done.set()
        for revisions in reader.result(PATIENCE_S):
            assert revisions == list(range(start + 1, start + 1 + len(revisions)))
    assert world.head() == start + 45


def test_a_write_that_reads_first_can_still_write(worlds: tuple[World, World]) -> None:
    """A deferred transaction of SQLite that has read cannot become a writer once another has written: hence IMMEDIATE."""
    world, before = worlds[0], worlds[0].head()

    def read_then_write() -> None:
        for _ in range(10):
            with permission_write(world.realm.name, SYSTEM) as write:
                known = Realm.objects.get(pk=write.realm.pk).rev
                Resource.objects.create(realm=world.realm, ref=unique("doc:"))
                assert Realm.objects.get(pk=write.realm.pk).rev == known + 1

    with ThreadPoolExecutor(2) as pool:
        for result in [in_thread(pool, read_then_write) for _ in range(2)]:
            result.result(PATIENCE_S)
    assert world.head() == before + 20
