"""ok, degraded or down: the one place that says which, for probes, the health page, the frame and the banners.

Down: checks cannot be answered any more. Degraded: every answer is still right, but slower, or something that people rely on
(limits across processes, alerts, a new configuration) does not work. A fact that nobody knows (None) accuses nobody.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

State = Literal["ok", "degraded", "down"]
Cause = Literal[
    "database_down",
    "database_away",
    "store_down",
    "no_leader",
    "breaker_open",
    "config_behind",
    "loop_lag",
    "log_failing",
    "live_down",
    "disk_full",
    "maintenance_full",
    "no_process",
]

# Seconds without a good answer of the database until checks are refused: long enough for one slow statement, short enough that a
# load balancer reacts before callers give up (chosen).
BOUND_S: Final = 5.0
# Of the event loop: then probes, and everything else, wait as long.
LAG_S: Final = 1.0
DISK_SHARE: Final = 0.02
DISK_BYTES: Final = 100 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Facts:
    """`database_away_s`: since when it has not answered, 0 while it does. `store_up`: None also where none is configured."""

    database_away_s: float | None = None
    store_up: bool | None = None
    is_led: bool | None = None
    open_breakers: float | None = None
    config_behind: float | None = None
    lag_s: float | None = None
    log_failing: bool | None = None
    live_up: bool | None = None
    disk_free_bytes: float | None = None
    disk_total_bytes: float | None = None
    is_closed: bool = False
    processes: float | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    """`causes`: the worst first; empty while all is well."""

    state: State
    causes: tuple[Cause, ...] = ()


def verdict(facts: Facts) -> Verdict:
    away_s = facts.database_away_s
    if away_s is not None and away_s > BOUND_S:
        return Verdict("down", ("database_down", *_degrading(facts)))
    causes = _degrading(facts)
    if away_s:
        causes = ("database_away", *causes)
    return Verdict("degraded" if causes else "ok", causes)


def _degrading(facts: Facts) -> tuple[Cause, ...]:
    found: list[Cause] = []
    if facts.store_up is False:
        found.append("store_down")
    if facts.is_led is False:
        found.append("no_leader")
    if facts.open_breakers:
        found.append("breaker_open")
    if facts.config_behind:
        found.append("config_behind")
    if facts.lag_s is not None and facts.lag_s >= LAG_S:
        found.append("loop_lag")
    if facts.log_failing:
        found.append("log_failing")
    if facts.live_up is False:
        found.append("live_down")
    if is_disk_low(facts.disk_free_bytes, facts.disk_total_bytes):
        found.append("disk_full")
    if facts.is_closed:
        found.append("maintenance_full")
    if facts.processes == 0:
        found.append("no_process")
    return tuple(found)


def is_disk_low(free_bytes: float | None, total_bytes: float | None) -> bool:
    """By share, and by what a database needs to go on at all: two per cent of a small disk is nothing."""
    if free_bytes is None or total_bytes is None:
        return False
    return free_bytes < DISK_BYTES or free_bytes < DISK_SHARE * total_bytes


def of_frame(frame: Mapping[str, Any]) -> Verdict:
    """The verdict on the whole site, from the frame's own figures: who makes the frame leads, so somebody does.

    A frame has no memory, so a database that is away in it is down: its maker has asked for as long as a statement may take.
    """
    lag_ms, database_up, storage_up = frame.get("loop_lag_ms"), frame.get("database_up"), frame.get("storage_up")
    return verdict(
        Facts(
            database_away_s=None if database_up is None else 0.0 if database_up else math.inf,
            store_up=None if storage_up is None else bool(storage_up),
            open_breakers=frame.get("open_breakers"),
            config_behind=frame.get("config_behind"),
            lag_s=None if lag_ms is None else lag_ms / 1000,
            is_closed=frame.get("maintenance") == "full",
            processes=frame.get("nodes"),
        )
    )
