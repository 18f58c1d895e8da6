"""What follows what: learnt from sessions, faded by others, bounded."""

from __future__ import annotations

import random
from typing import Any

import pytest

from permissions.cache import follows
from permissions.cache.follows import Follows
from tests.permissions.cache.prefetch_cast import Site, teach


@pytest.fixture
def site() -> Site:
    return Site()


def test_what_follows_is_predicted_the_nearest_first(site: Site) -> None:
    teach(site, "a", "b", "c", "d", times=30)
    assert site.prefetch.predict("a")[0] == "b"
    assert set(site.prefetch.predict("a")) == {"b", "c", "d"}
    assert site.prefetch.predict("d") == []


def test_once_is_no_habit(site: Site) -> None:
    teach(site, "a", "b", times=1)
    assert site.prefetch.predict("a") == []


def test_what_one_session_asks_does_not_follow_what_another_asked(site: Site) -> None:
    for _ in range(5):
        site.prefetch.record("ann", "a")
        site.prefetch.record("bob", "b")
    assert site.prefetch.predict("a") == []


def test_the_same_id_again_is_no_step(site: Site) -> None:
    for _ in range(5):
        site.prefetch.record("ann", "a")
    assert site.prefetch.predict("a") == []


def test_at_most_four_follow(site: Site) -> None:
    for after in "bcdefgh":
        teach(site, "a", after, times=5)
    assert len(site.prefetch.predict("a")) <= follows.SUCCESSORS


def test_a_new_habit_takes_the_place_of_an_old_one(site: Site) -> None:
    for old in "bcde":
        teach(site, "a", old, times=40)
    for visit in range(200):
        site.prefetch.record(visit, "a")
        site.prefetch.record(visit, "z")
    assert site.prefetch.predict("a")[0] == "z"


def test_memory_is_bounded_whatever_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(follows, "SESSIONS", 50)
    monkeypatch.setattr(follows, "PAIRS", 400)
    learnt = Follows()
    drawn = random.Random(4)
    for _ in range(20_000):
        learnt.record(drawn.randrange(1_000), f"doc:{drawn.randrange(500)}")
        assert learnt.pairs <= 400
    assert len(learnt._sessions.values()) <= 50


def test_a_session_may_be_anything_that_can_be_a_key_and_nothing_else(site: Site) -> None:
    for session in ("ann", 7, None, ("ann", 7), object()):
        site.prefetch.record(session, "a")
    unhashable: Any = ["ann"]
    with pytest.raises(TypeError, match="unhashable"):
        site.prefetch.record(unhashable, "a")
    site.prefetch.record("ann", "b")  # its lock is free again
