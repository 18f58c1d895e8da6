"""The database stands still: it refuses nothing and never answers. Rounds go on in memory, and nothing is told twice."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest

from controlplane.alerts import evaluator, ledger
from controlplane.models import AlertIncident
from tests.controlplane.alerts.world import BookHandler, World

FIRING = [("book", "firing", "lag")]
RESOLVED = [("book", "resolved", "lag")]


class Frozen:
    """What waits for it waits until `thaw`; `asked` counts who did."""

    def __init__(self, patch: pytest.MonkeyPatch, name: str) -> None:
        self._answers, self.asked = threading.Event(), 0
        real: Any = getattr(ledger, name)

        def still(*given: Any, **more: Any) -> Any:
            if not self._answers.is_set():
                self.asked += 1
                assert self._answers.wait(60)
            return real(*given, **more)

        patch.setattr(evaluator, "ROWS_S", 0.2)
        patch.setattr(ledger, name, still)

    def thaw(self) -> None:
        self._answers.set()
        for thread in threading.enumerate():
            if thread.name == "alert-rows":
                thread.join(20)


@pytest.fixture(params=["load", "save"])
def frozen(world: World, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Iterator[Frozen]:
    world.rule(for_s=10)
    world.round(loop_lag_ms=1)
    found = Frozen(monkeypatch, request.param)
    yield found
    found.thaw()


def test_an_alert_fires_while_the_database_stands_still(world: World, frozen: Frozen) -> None:
    assert world.round(loop_lag_ms=300) == []
    assert world.round(10, loop_lag_ms=300) == FIRING
    assert world.round(loop_lag_ms=300) == []
    assert frozen.asked == 1, "one thread waits, however long it takes"


def test_when_it_answers_again_the_rows_follow_and_nothing_is_told_twice(world: World, frozen: Frozen) -> None:
    world.round(loop_lag_ms=300)
    assert world.round(10, loop_lag_ms=300) == FIRING
    frozen.thaw()
    assert world.round(loop_lag_ms=300) == []
    assert world.evaluator.courier.idle(20)
    assert [row.state for row in AlertIncident.objects.all()] == ["firing"]
    assert world.round(loop_lag_ms=1) == RESOLVED
    assert [row.state for row in AlertIncident.objects.all()] == ["resolved"]
    assert len(BookHandler.keys) == 2


def test_what_the_late_thread_writes_takes_nothing_from_the_journal(world: World, frozen: Frozen) -> None:
    world.round(loop_lag_ms=300)
    assert world.round(10, loop_lag_ms=300) == FIRING
    assert world.round(loop_lag_ms=1) == RESOLVED
    frozen.thaw()
    world.round(loop_lag_ms=1)
    assert [row.state for row in AlertIncident.objects.all()] == ["resolved"]
    assert not world.evaluator._journal and not world.evaluator._dropped
