"""Searches have threads of their own: they hold up no check, are refused when too many wait, and end when they are given up.

Where a server answers: a file is searched on the caller's own thread.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from django.db import connection

from permissions import pdp, searches
from permissions.cache import database, live
from permissions.engine.types import Request
from tests.worlds import OFFICE, apply

pytestmark = pytest.mark.django_db(transaction=True)

READ = Request("user:any", "post:read", "post:7")


@pytest.fixture
def _busy() -> Iterator[None]:
    """Every thread of the searches has work that does not end by itself."""
    begun, ended = threading.Barrier(database.SEARCHERS + 1), threading.Event()

    def long() -> None:
        begun.wait(20)
        ended.wait(60)

    threads = [
        threading.Thread(target=lambda: database.bounded(long, limit_s=60.0, is_search=True)) for _ in range(database.SEARCHERS)
    ]
    for thread in threads:
        thread.start()
    begun.wait(20)
    yield
    ended.set()
    for thread in threads:
        thread.join(20)


@pytest.mark.usefixtures("_busy")
def test_checks_that_ask_the_database_do_not_wait_for_searches_that_do() -> None:
    apply(OFFICE)

    async def both() -> None:
        waiting = asyncio.create_task(pdp.asearch_subjects(READ, "user"))
        await asyncio.sleep(0)
        decision = await pdp.acheck("user:bob", "post:read", "post:7", full=True)
        assert decision.allowed
        assert not waiting.done()
        waiting.cancel()

    asyncio.run(both())


def test_whoever_comes_when_very_many_wait_is_told_so_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(searches, "_room", threading.BoundedSemaphore(1))
    begun, ended = threading.Event(), threading.Event()
    asked: list[str] = []

    def long(name: str) -> None:
        asked.append(name)
        begun.set()
        ended.wait(20)

    search = searches.on_own_thread(long)

    async def crowd() -> None:
        first = asyncio.create_task(search("first"))
        assert await asyncio.to_thread(begun.wait, 20)
        with pytest.raises(pdp.Unavailable, match="too many searches"):
            await search("second")
        ended.set()
        await first
        await search("third")

    asyncio.run(crowd())
    assert asked == ["first", "third"]


def test_a_search_that_is_given_up_frees_its_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    apply(OFFICE)

    def asleep(_pinned: Any) -> None:
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_sleep(120)")

    with monkeypatch.context() as short:
        short.setattr(database, "SEARCH_LIMIT_S", 0.3)
        for _ in range(database.SEARCHERS):
            with pytest.raises(pdp.Unavailable):
                live.browse("default", None, None, asleep)
    # All of them slept; had the server gone on, nobody would have answered this for two minutes.
    assert pdp.who_can("post:read", "post:7") == ["user:alice", "user:bob"]


def test_a_search_that_is_given_up_leaves_its_place_however_early(monkeypatch: pytest.MonkeyPatch) -> None:
    apply(OFFICE)
    room = threading.BoundedSemaphore(2)
    monkeypatch.setattr(searches, "_room", room)

    async def hasty() -> None:
        for turn in range(60):
            with contextlib.suppress(asyncio.TimeoutError, pdp.Unavailable):
                await asyncio.wait_for(pdp.awho_can("post:read", "post:7"), turn % 4 / 1000)
        for _ in range(2_000):  # what was begun may still be on its way
            if room._value == 2:
                return
            await asyncio.sleep(0.005)

    asyncio.run(hasty())
    assert room._value == 2
    assert asyncio.run(pdp.awho_can("post:read", "post:7")) == ["user:alice", "user:bob"]
