"""What everybody should know stands above every page, and what nobody knows is no trouble."""

from __future__ import annotations

import time
from typing import Any

import pytest

from controlplane.pages import banners
from controlplane.pages.banners import NO_LEADER_S


class FakeHub:
    """What the hub knows."""

    def __init__(self, frame: dict[str, Any] | None, age_s: float | None, *, is_running: bool = True) -> None:
        self._frame, self._age_s, self.is_running = frame, age_s, is_running

    def frame(self) -> dict[str, Any] | None:
        return self._frame

    def frame_age_s(self) -> float | None:
        return self._age_s


@pytest.fixture
def up(monkeypatch: pytest.MonkeyPatch, settings: Any) -> Any:
    settings.REDIS_URL = "unix:///nowhere"

    def found(frame: dict[str, Any] | None, age_s: float | None, **given: Any) -> set[str]:
        monkeypatch.setattr(banners, "HUB", FakeHub(frame, age_s, **given))
        return {banner["name"] for banner in banners.banners() if banner["up"]}

    return found


def test_a_healthy_system_has_none(up: Any) -> None:
    assert up({"storage_up": 1, "database_up": 1}, 0.5) == set()


def test_what_is_unknown_is_not_told_as_away(up: Any) -> None:
    assert up({"storage_up": None, "database_up": None}, 0.5) == set()
    assert up({}, 0.5) == set()


@pytest.mark.parametrize("away", [0, False, 0.0])
def test_a_store_and_a_database_that_are_away_are_told(up: Any, away: Any) -> None:
    assert up({"storage_up": away, "database_up": 1}, 0.5) == {"store"}
    assert up({"storage_up": 1, "database_up": away}, 0.5) == {"database"}


def test_without_a_redis_nobody_misses_one(up: Any, settings: Any) -> None:
    settings.REDIS_URL = ""
    assert up({"storage_up": 0, "database_up": 1}, 0.5) == set()


def test_nobody_who_leads_is_told_after_a_leaders_term_and_then_nothing_old_is(up: Any) -> None:
    assert up({"storage_up": 0}, NO_LEADER_S - 1) == {"store"}
    assert up({"storage_up": 0}, NO_LEADER_S + 1) == {"leader"}


def test_a_process_that_shows_no_pages_misses_no_leader(up: Any) -> None:
    assert up(None, None, is_running=False) == set()


def test_a_server_that_has_just_started_gives_the_loop_its_time(up: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(banners, "_began_s", time.monotonic())
    assert up(None, None) == set()
    monkeypatch.setattr(banners, "_began_s", time.monotonic() - NO_LEADER_S - 1)
    assert up(None, None) == {"leader"}
