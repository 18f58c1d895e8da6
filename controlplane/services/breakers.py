"""Circuit breakers as operators see and hold them: what is measured, what a person forces, and until when."""

from __future__ import annotations

from collections import deque
from dataclasses import asdict
from typing import Any, Final

from controlplane.services import boards, forces
from controlplane.services.boards import Fresh, action, checked_end, found, is_shared
from controlplane.services.instances import Figures
from controlplane.services.rights import OPERATE, VIEW, on_page, require
from permissions.writing import Actor
from resilience import registry
from resilience.circuit_breaker.breaker import CircuitBreaker
from resilience.control import FORCE_S
from resilience.errors import ConfigInvalid
from resilience.telemetry import internal_error

PAGE: Final = on_page("resilience")
STATE: Final = "resilience_circuit_breaker_state"
CALLS: Final = "resilience_circuit_breaker_calls_total"
_STATES: Final = {0: "closed", 1: "half_open", 2: "open"}
# Looks kept for the small curve: two minutes and a half at one a second.
LOOKS: Final = 150

_curves: dict[str, deque[tuple[float, int, int]]] = {}


def breakers(*, actor: Actor) -> list[dict[str, Any]]:
    """Every breaker that code or configuration names, the troubled ones first. Raises Forbidden."""
    require(actor, VIEW, PAGE)
    return board()


def breaker_one(name: str, *, actor: Actor) -> dict[str, Any]:
    """Raises Forbidden, NotFound."""
    require(actor, VIEW, PAGE)
    return _line(_found(name), Figures.now())


def breaker_force(
    name: str,
    *,
    actor: Actor,
    to: str,
    reason: object,
    until: object = None,
    for_s: object = None,
    request_id: str = "",
) -> dict[str, Any]:
    """`to`: open or closed. Raises Forbidden, NotFound, Invalid, and StoreAway: then nobody is forced."""
    require(actor, OPERATE, PAGE)
    breaker = _found(name)
    end = checked_end(until, for_s, default_s=FORCE_S)
    with action(actor, reason, request_id=request_id) as why:
        if forces.is_own(breaker):
            forces.breaker_hold(name, to=to, actor=actor.name, reason=why, until=end)
        else:
            force = registry.control.force_open if to == "open" else registry.control.force_closed
            force(name, actor=actor.name, reason=why, until=end)
    return _line(breaker, Figures.now())


def breaker_auto(name: str, *, actor: Actor, reason: object, request_id: str = "") -> dict[str, Any]:
    """Follows what is measured again. Raises as breaker_force."""
    require(actor, OPERATE, PAGE)
    breaker = _found(name)
    with action(actor, reason, request_id=request_id) as why:
        if forces.is_own(breaker):
            forces.breaker_release(name, actor=actor.name, reason=why)
        else:
            registry.control.auto(name, actor=actor.name, reason=why)
    return _line(breaker, Figures.now())


def _found(name: str) -> CircuitBreaker:
    """Raises NotFound."""
    forces.known()
    breaker: CircuitBreaker = found("breaker", name)
    return breaker


# Reading


def board() -> list[dict[str, Any]]:
    """As `breakers`, for a caller whose right was asked."""
    return _board.get()


def _read() -> list[dict[str, Any]]:
    names = forces.known()
    for gone in set(_curves) - set(names):
        _curves.pop(gone, None)
    figures = Figures.now()
    lines = [_guarded(name, figures) for name in names[: boards.MOST]]
    return sorted(lines, key=lambda line: (_order(line), line["name"]))


_board: Final = Fresh(_read)


def _order(line: dict[str, Any]) -> int:
    """What a person holds, then what is open, comes first."""
    if line["force"] is not None:
        return 0
    return {"open": 1, "half_open": 2, "unknown": 3}.get(line["measured_state"], 4)


def _guarded(name: str, figures: Figures) -> dict[str, Any]:
    """One breaker's fault must not hide the others."""
    try:
        return _line(registry.find("breaker", name), figures)
    except ConfigInvalid as error:
        return _empty(name, error.problem)
    except Exception as error:  # noqa: BLE001 - as it says
        internal_error("boards", "breaker", error)
        return _empty(name, f"{type(error).__name__}")


def _line(breaker: CircuitBreaker, figures: Figures) -> dict[str, Any]:
    seen = asdict(breaker.snapshot())
    force = {"to": seen["force"], "reason": seen["force_reason"], "author": seen["force_author"], "until": seen["force_until"]}
    calls, failures = seen["calls"], seen["failures"]
    return {
        "name": breaker.name,
        "state": seen["state"],
        "measured_state": seen["measured_state"],
        "force": force if seen["force"] else None,
        # Of what lies in the shared store, a view is what this process last heard; the rest this process alone knows.
        "shared": is_shared(breaker.store) and seen["source"] == "redis",
        "of": "all" if is_shared(breaker.store) else "process",
        "source": seen["source"],
        "epoch": seen["epoch"],
        "since": seen["since"],
        "openings": seen["openings"],
        "next_probe_s": _rounded(seen["retry_after_s"]) if seen["measured_state"] == "open" else None,
        "calls": calls,
        "failures": failures,
        "slow_calls": seen["slow_calls"],
        "failure_share": round(failures / calls, 4) if calls else None,
        "consecutive_failures": seen["consecutive_failures"],
        "probes": {"running": seen["probes_running"], "succeeded": seen["probes_succeeded"], "failed": seen["probes_failed"]},
        "reporters": {"seen": seen["reporters_seen"], "failing": seen["reporters_failing"]},
        "solo_state": seen["solo_state"],
        "shadow": seen["shadow"],
        "window_s": breaker.options["window_s"],
        "failure_ratio": breaker.options["failure_ratio"],
        "minimum_calls": breaker.options["minimum_calls"],
        "outcomes": figures.by_label(CALLS, breaker.name),
        "instances": figures.spread(STATE, breaker.name, _STATES),
        "curve": _curve(breaker.name, calls, failures),
        "problem": "",
    }


def _empty(name: str, problem: str) -> dict[str, Any]:
    return {
        "name": name,
        "state": "unknown",
        "measured_state": "unknown",
        "force": None,
        "shared": False,
        "of": "process",
        "source": "none",
        "epoch": 0,
        "since": None,
        "openings": 0,
        "next_probe_s": None,
        "calls": 0,
        "failures": 0,
        "slow_calls": 0,
        "failure_share": None,
        "consecutive_failures": 0,
        "probes": {"running": 0, "succeeded": 0, "failed": 0},
        "reporters": {"seen": 0, "failing": 0},
        "solo_state": "unknown",
        "shadow": False,
        "window_s": None,
        "failure_ratio": None,
        "minimum_calls": None,
        "outcomes": {},
        "instances": {},
        "curve": [],
        "problem": problem,
    }


def _curve(name: str, calls: int, failures: int) -> list[list[float]]:
    """[seconds ago, calls, failures] of the last looks, oldest first."""
    now = boards.now_s()
    looks = _curves.setdefault(name, deque(maxlen=LOOKS))
    if not looks or now - looks[-1][0] >= boards.EVERY_S / 2:
        looks.append((now, calls, failures))
    return [[round(now - at, 1), calls, failures] for at, calls, failures in list(looks)]


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 3)
