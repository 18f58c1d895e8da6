"""A clock that never makes a test wait, and counts as they were before and after."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from resilience import degraded_scope, telemetry
from resilience.clock import FakeClock


class HastyClock(FakeClock):
    """Stands still until somebody pauses; that is over at once, and remembered. `late`: how many times longer it takes."""

    def __init__(self, late: float = 1.0) -> None:
        super().__init__()
        self.waits: list[float] = []
        self.late = late

    def pause(self, clock: object, seconds: float) -> None:
        assert clock is self
        self.waits.append(seconds)
        self.advance(seconds * self.late)

    async def apause(self, clock: object, seconds: float) -> None:
        self.pause(clock, seconds)


class Top:
    """Randomness that always draws the upper bound."""

    def uniform(self, a: float, b: float, /) -> float:
        return b


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> HastyClock:
    clock = HastyClock()
    for strategy in ("retry", "bulkhead"):
        monkeypatch.setattr(f"resilience.{strategy}.pause", clock.pause)
        monkeypatch.setattr(f"resilience.{strategy}.apause", clock.apause)
    return clock


Counted = Callable[..., float]


@pytest.fixture
def counted() -> Counted:
    """How much a metric has grown since the test began; without labels, all of its samples together."""
    before = telemetry.collect()

    def grown(name: str, *labels: str) -> float:
        def total(figures: dict[str, dict[tuple[str, ...], float]]) -> float:
            return sum(value for at, value in figures[name].items() if not labels or at == labels)

        return total(telemetry.collect()) - total(before)

    return grown


@pytest.fixture
def events() -> Iterator[list[telemetry.Event]]:
    seen: list[telemetry.Event] = []
    unsubscribe = telemetry.subscribe(seen.append)
    yield seen
    unsubscribe()


@pytest.fixture(autouse=True)
def own_record() -> Iterator[None]:
    """What a test's fallbacks answered is no other test's."""
    with degraded_scope():
        yield
