"""How a figure is taken and told: medians of five rounds, sides taking turns, ratios against a side of the same run."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

ROUNDS = 5


@dataclass(slots=True)
class Row:
    """One line of the table. `ratio` is against `against`; `met` None: the row belongs to no bar."""

    what: str
    figure: str
    ratio: str = ""
    bar: str = ""
    met: bool | None = None
    value: float | None = None  # in the unit of `figure`, for machines

    def as_json(self) -> dict[str, Any]:
        return {name: value for name, value in asdict(self).items() if value not in ("", None)}


def told_ns(value: float) -> str:
    """Nanoseconds in the unit a person would say."""
    for unit, size in (("s", 1e9), ("ms", 1e6), ("us", 1e3)):
        if value >= size:
            return f"{value / size:.3g} {unit}" if value < 1000 * size else f"{value / size:,.0f} {unit}"
    return f"{value:.0f} ns"


def rounds_ns(sides: Mapping[str, Callable[[], float]], rounds: int = ROUNDS) -> dict[str, float]:
    """Median of each side's own figure; the sides take turns within a round, after one round that warms all up."""
    taken: dict[str, list[float]] = {name: [] for name in sides}
    for number in range(rounds + 1):
        for name, side in sides.items():
            found = side()
            if number:
                taken[name].append(found)
    return {name: statistics.median(values) for name, values in taken.items()}


def per_call_ns(work: Callable[[], int], clock: Callable[[], int] = time.thread_time_ns) -> float:
    """One round: nanoseconds a call. `work` returns how many calls it made. Garbage of before is not on this clock.

    The clock is this thread's own time: work that waits for nobody must not look slower because a core was taken away. What waits
    for a server takes `time.perf_counter_ns`.
    """
    gc.collect()
    start = clock()
    calls = work()
    return (clock() - start) / calls


def against(value: float, base: float, name: str, limit: float | None = None) -> tuple[str, bool | None]:
    """(text, met) of a ratio that must not exceed `limit`."""
    ratio = value / base
    text = f"{ratio:.3g}x {name}"
    return (text, None) if limit is None else (f"{text} (bar: {limit:g}x)", ratio <= limit)


def faster(value: float, base: float, name: str, at_least: float | None = None) -> tuple[str, bool | None]:
    """(text, met) of how many times faster than `name`, which takes `base`."""
    ratio = base / value
    text = f"{ratio:.3g}x faster than {name}"
    return (text, None) if at_least is None else (f"{text} (bar: {at_least:g}x)", ratio >= at_least)
