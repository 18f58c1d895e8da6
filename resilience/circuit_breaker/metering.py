"""What a breaker says of itself: calls by outcome, its state, its transitions."""

from __future__ import annotations

from typing import Final

from resilience import telemetry
from resilience.circuit_breaker.view import Measured, View, worse
from resilience.circuit_breaker.window import Batch
from resilience.laws.keyspace import Reply

CALLS: Final = "resilience_circuit_breaker_calls_total"
TRANSITIONS: Final = "resilience_circuit_breaker_transitions_total"
STATE: Final = "resilience_circuit_breaker_state"
FORCED: Final = "resilience_circuit_breaker_forced"
# What a reply says of a transition: the name of its event; the state it leads to.
MOVES: Final = {"opened": "open", "half_opened": "half_open", "closed": "closed"}
_GAUGE: Final[dict[Measured, int]] = {"closed": 0, "half_open": 1, "open": 2}


def ended(name: str, batch: Batch, *, told: bool) -> None:
    """One call; one that was good and waits in a batch is metered when that is sent."""
    if batch.bad:
        telemetry.count(CALLS, name, "failure")
    elif not batch.ok:
        telemetry.count(CALLS, name, "ignored")
    elif told:
        telemetry.count(CALLS, name, "success")
    if batch.slow:
        telemetry.count(CALLS, name, "slow")


def sent(name: str, batch: Batch | None) -> None:
    """The good calls of a batch."""
    if batch is not None and batch.ok:
        telemetry.count(CALLS, name, "success", by=batch.ok)


def turned_away(name: str, *, shadow: bool) -> None:
    telemetry.count(CALLS, name, "shadowed" if shadow else "refused")


def moved(name: str, reply: Reply, left_us: int) -> None:
    """Told once in the fleet: by the process whose call moved it."""
    event = str(reply[2])
    if event in MOVES:
        telemetry.count(TRANSITIONS, name, MOVES[event])
        telemetry.emit(f"circuit_breaker.{event}", name=name, epoch=reply[4], retry_after_s=max(0, left_us) / 1_000_000)


def alone(name: str, left_us: int) -> None:
    telemetry.emit("circuit_breaker.solo", name=name, retry_after_s=max(0, left_us) / 1_000_000)


def shown(name: str, view: View, solo: View | None, now: int) -> None:
    """The state as this process has it, worse of the two layers."""
    measured = view.measured(now) if solo is None else worse(view.measured(now), solo.measured(now))
    telemetry.gauge(STATE, _GAUGE[measured], name)
    telemetry.gauge(FORCED, int(bool(view.forced(now))), name)
