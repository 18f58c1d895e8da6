"""What one process does with news: its own at once, that of others by the coalescer, in the mode of the live configuration."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from permissions.cache import events, invalidation
from resilience import config, params
from resilience.config import Snapshot
from resilience.errors import ConfigInvalid
from tests.permissions.cache.test_invalidation import Process, following


@pytest.fixture
def process(settings: Any) -> Iterator[Callable[..., Process]]:
    settings.REDIS_URL = ""
    invalidation.stop()
    yield Process
    invalidation.stop()


class TestInAProcess:
    def test_its_own_commits_are_applied_before_anyone_else_hears(self, process: Callable[..., Process]) -> None:
        mine = process()
        invalidation.start(mine.apply, mine.pull, list)
        for callback in events._here:
            callback(following(0))
        assert mine.done == ["apply 1"]
        status = invalidation.status()
        assert status is not None
        assert status.received == 0, "nothing is left for the thread"

    def test_started_twice_it_is_one(self, process: Callable[..., Process]) -> None:
        mine = process()
        first = invalidation.start(mine.apply, mine.pull, list)
        assert invalidation.start(mine.apply, mine.pull, list) is first
        assert len(events._here) == 1
        invalidation.stop()
        assert invalidation.status() is None
        assert not events._here

    def test_the_mode_is_a_live_parameter(self, process: Callable[..., Process]) -> None:
        assert invalidation.setting() == "auto"
        config.LIVE.consider(Snapshot(1, 1, {"cache": {"invalidation": "conservative"}}), "test")
        assert invalidation.setting() == "conservative"
        for wrong in ("fast", "", None, True, 1, ["auto"]):
            with pytest.raises(ConfigInvalid, match="invalidation"):
                params.validate("cache", {"invalidation": wrong})
        with pytest.raises(ConfigInvalid, match="there is no such parameter"):
            params.validate("cache", {"mode": "auto"})
