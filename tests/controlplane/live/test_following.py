"""One follower a process, however many parts of it want the configuration followed."""

from __future__ import annotations

import pytest

from controlplane.services import following
from controlplane.services.following import Share


class Counted:
    def __init__(self, told: list[str]) -> None:
        self._told = told

    def start(self) -> None:
        self._told.append("start")

    def stop(self) -> None:
        self._told.append("stop")


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    found: list[str] = []
    monkeypatch.setattr(following, "make_follower", lambda: Counted(found))
    monkeypatch.setattr(following, "_follower", None)
    monkeypatch.setattr(following, "_shares", 0)
    return found


def test_it_runs_from_the_first_start_to_the_last_stop(told: list[str]) -> None:
    server, loop = Share(), Share()
    server.start()
    loop.start()
    server.stop()
    assert told == ["start"]
    loop.stop()
    assert told == ["start", "stop"]
    loop.start()
    loop.stop()
    assert told == ["start", "stop"] * 2


def test_a_part_counts_once_however_often_it_starts_or_stops(told: list[str]) -> None:
    server, loop = Share(), Share()
    for _ in range(3):
        server.start()
    loop.start()
    for _ in range(3):
        server.stop()
    assert told == ["start"]
    loop.stop()
    assert told == ["start", "stop"]


def test_one_that_never_began_ends_nothing(told: list[str]) -> None:
    server = Share()
    server.start()
    Share().stop()
    assert told == ["start"]
