"""Searches may be long and many; what checks, keys and changes of the model wait for has threads of its own."""

from __future__ import annotations

import threading

import pytest
from django.db import connection

from permissions import pdp
from permissions.cache import database
from tests.worlds import OFFICE, apply

pytestmark = pytest.mark.django_db(transaction=True)


def test_a_crowd_of_long_searches_leaves_room_for_an_explanation() -> None:
    assert connection.vendor == "postgresql"
    pdp.reset()
    apply(OFFICE)
    begun, ended = threading.Barrier(database.SEARCHERS + 1), threading.Event()

    def long() -> None:
        begun.wait(10)
        ended.wait(30)

    def search() -> None:
        database.bounded(long, limit_s=30.0, is_search=True)

    searches = [threading.Thread(target=search) for _ in range(database.SEARCHERS)]
    for thread in searches:
        thread.start()
    try:
        begun.wait(10)
        assert pdp.explain("user:alice", "post:edit", "post:7").decision.allowed
    finally:
        ended.set()
        for thread in searches:
            thread.join(10)
