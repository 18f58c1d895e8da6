"""One scrape: this host's figures and the whole site's state, within a fifth of a second, or as they were last."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Generic, TypeVar

from controlplane.collector import shared
from controlplane.collector.running import COLLECTOR, ERRORS, Collector
from controlplane.collector.slots import Figures, Series
from controlplane.insight.bounded import LIMIT_S, Bounded
from resilience import telemetry

log = logging.getLogger("controlplane.metrics")

T = TypeVar("T")


class LastKnown(Generic[T]):
    """What `work` gives, or what it gave last; then the error is counted."""

    def __init__(self, source: str, work: Callable[[], T], limit_s: float) -> None:
        self._source = source
        self._bounded = Bounded(f"scrape-{source}", work, limit_s)
        self._last: T | None = None

    def get(self) -> T | None:
        """None where it has never succeeded."""
        try:
            self._last = self._bounded.get()
        except (LookupError, OSError) as error:  # TimeoutError is an OSError
            telemetry.count(ERRORS, self._source)
            log.debug("%s could not be read: %s", self._source, type(error).__name__)
        return self._last


class Scrape:
    """What `/metrics` tells; one a process."""

    def __init__(
        self,
        collector: Collector = COLLECTOR,
        state: Callable[[], dict[Series, float]] = shared.figures,
        limit_s: float = LIMIT_S,
    ) -> None:
        self._figures = LastKnown("slots", collector.gather, limit_s)
        self._state = LastKnown("frame", state, limit_s)

    def figures(self) -> Figures:
        state = self._state.get()
        found = self._figures.get() or Figures()
        return Figures({**found.counters}, {**found.gauges, **(state or {})}, found.histograms)
