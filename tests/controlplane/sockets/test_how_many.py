"""A worker takes 200 sockets, five of one person; the next is told why, and to come back."""

from __future__ import annotations

import pytest

from controlplane.sockets import room
from controlplane.sockets.room import ROOM
from resilience import telemetry
from tests.controlplane.sockets.conftest import session_of, soon

pytestmark = pytest.mark.django_db(transaction=True)


def test_the_sixth_socket_of_a_person_is_told_why_and_the_others_stay(site):
    cookie = session_of("alice")
    pages = [site.open(cookie=cookie) for _ in range(room.MAX_PERSON)]
    sixth = site.open(cookie=cookie)
    assert sixth.closed() == (4429, "too many sockets of this person")
    assert sixth.heard[-1]["type"] == "bye" and sixth.heard[-1]["retry_after"] >= 1
    # Another session of theirs is the same person; another person has their own five.
    assert site.open("alice").closed()[0] == 4429
    assert site.open("bob").next()["type"] == "hello"
    for page in pages:
        page.subscribe()
    pages[0].connection.close()
    assert soon(lambda: ROOM.count() == room.MAX_PERSON)
    assert site.open(cookie=cookie).next()["type"] == "hello"


def test_a_worker_that_is_full_says_so(site, monkeypatch):
    monkeypatch.setattr(room, "MAX_SOCKETS", 2)
    site.watching("alice")
    site.watching("bob")
    full = site.open("bob")
    assert full.closed() == (1013, "too many sockets")
    assert full.heard[-1]["type"] == "bye"
    assert ROOM.count() == 2


def test_open_sockets_and_refusals_are_counted(site):
    before = telemetry.collect()
    site.watching("alice")
    assert site.refused() == 403
    now = telemetry.collect()
    assert now["permsite_sockets_open"][()] == 1

    def grew(metric: str, *labels: str) -> float:
        return now[metric].get(labels, 0) - before[metric].get(labels, 0)

    assert grew("permsite_socket_refused_total", "session") == 1
