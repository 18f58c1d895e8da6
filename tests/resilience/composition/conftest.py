"""A clock that never makes a test wait, and counts as they were before and after."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from resilience import degraded_scope, telemetry
from resilience.clock import FakeClock, Timer


class HastyClock(FakeClock):
    """Stands still until somebody waits; then the wait is over at once, and remembered."""

    def __init__(self) -> None:
        super().__init__()
        self.waits: list[float] = []

    def call_later(self, delay_s: float, call: Callable[[], object]) -> Timer:
        timer = super().call_later(delay_s, call)
        self.waits.append(delay_s)
        self.advance(delay_s)
        return timer


class Top:
    """Randomness that always draws the upper bound."""

    def uniform(self, a: float, b: float, /) -> float:
        return b


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def hasty() -> HastyClock:
    return HastyClock()


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
