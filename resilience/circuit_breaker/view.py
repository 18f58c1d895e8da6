"""What a process knows of a breaker without asking: the shared state as last heard, and what that means for the next call."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Literal, NamedTuple

from resilience.circuit_breaker.window import Counts
from resilience.laws.keyspace import Reply

State = Literal["closed", "open", "half_open", "forced_open", "forced_closed"]
Measured = Literal["closed", "open", "half_open"]

_SEVERITY: Final[dict[Measured, int]] = {"closed": 0, "half_open": 1, "open": 2}


class View(NamedTuple):
    """`state`: C, O, H, or "" while unknown. `until`, `force_until`: the clock's monotonic() in microseconds; `force_end`: since
    1970, in microseconds."""

    state: str = ""
    epoch: int = 0
    until: int = 0
    force: str = ""
    force_until: int = 0
    force_end: int = 0
    reason: str = ""
    author: str = ""

    @classmethod
    def of(cls, reply: Reply, now: int) -> View:
        """From any reply of the breaker's operations. `now`: when it came, so that nobody asks for a probe too early."""
        said: tuple[Any, ...] = tuple(reply[3:12])
        state, epoch, left, _, force, force_left, force_end, reason, author = said
        # A state that is not there has no epoch; whoever makes the next call asks, which creates it.
        return cls(state if epoch else "", epoch, now + left, force, now + force_left, force_end, reason, author)

    def forced(self, now: int) -> str:
        return self.force if self.force and now < self.force_until else ""

    def measured(self, now: int) -> Measured:
        if self.state == "O":
            return "open" if now < self.until else "half_open"
        return "half_open" if self.state == "H" else "closed"


def worse(one: Measured, other: Measured) -> Measured:
    return one if _SEVERITY[one] >= _SEVERITY[other] else other


class Gate:
    """What holds for a call that begins now; swapped as a whole, so that its identity tells whether anything changed since.

    `admits`: both layers are closed and nobody forces, so nobody need be asked.
    """

    __slots__ = ("admits", "counts", "ok", "solo_epoch")

    def __init__(self, admits: bool, counts: Counts, solo_epoch: int) -> None:
        self.admits = admits
        self.counts = counts
        self.ok = counts.ok
        self.solo_epoch = solo_epoch


@dataclass(frozen=True, slots=True)
class BreakerSnapshot:
    """The breaker as its store has it, or, where `source` is "view", as this process last heard of it.

    `calls`, `failures`, `slow_calls`: in the window; `openings`: in a row; `since`, `force_until`: seconds since 1970.
    """

    name: str
    state: State
    measured_state: Measured
    source: str
    epoch: int
    retry_after_s: float | None
    openings: int
    since: float | None
    calls: int
    failures: int
    slow_calls: int
    consecutive_failures: int
    probes_succeeded: int
    probes_failed: int
    probes_running: int
    reporters_seen: int
    reporters_failing: int
    solo_state: Measured
    force: str
    force_reason: str
    force_author: str
    force_until: float | None
    shadow: bool
