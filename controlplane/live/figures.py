"""What a process tells of itself each second: counters since its start, gauges, histograms, how far it has come."""

from __future__ import annotations

import os
import secrets
import socket
import time
from typing import Any, Final

import msgspec
import psutil

from controlplane.live import tables
from permissions.cache.reading import boot_ns
from permissions.cache.realm import STATES
from resilience import config, telemetry
from resilience.clock import SYSTEM, Clock

# Counters: by the label whose values stay apart; what the other labels tell is summed up. None: one number.
COUNTERS: Final[dict[str, int | None]] = {
    "permission_checks_total": 0,
    "permission_check_errors_total": 0,
    "permission_condition_errors_total": None,
    "permission_cache_hits_total": 0,
    "permission_cache_misses_total": None,
    "permission_cache_penetration_total": None,
    "permission_cache_live_total": None,
    "permission_cache_stale_total": None,
    "permission_cache_l2_errors_total": None,
    "permission_cache_events_total": 0,
    "permission_cache_fills_total": 0,
    "permission_cache_lock_waits_total": 0,
    "permission_cache_prefetch_total": 0,
    "resilience_rate_limiter_decisions_total": 1,
    "resilience_bulkhead_refused_total": None,
    "resilience_fallback_total": 1,
    "resilience_retry_total": 1,
    "resilience_events_dropped_total": None,
    "resilience_internal_errors_total": None,
    "permsite_live_dropped_total": 0,
    "permsite_socket_dropped_total": None,
}
# Gauges, all of their labels.
GAUGES: Final = (
    "resilience_circuit_breaker_state",
    "resilience_circuit_breaker_forced",
    "resilience_bulkhead_in_flight",
    "resilience_storage_up",
    "resilience_config_version",
    "resilience_maintenance_mode",
    "permission_cache_entries",
    "permsite_loop_leads",
    "permsite_sockets_open",
    "permsite_event_loop_lag_seconds",
)
REQUESTS: Final = "permission_request_seconds"
# Realms whose revision and age a beat carries: the most lately used. More would make it large.
REALMS: Final = 20
# Seconds without a check after which a realm is no longer followed, so that its age means nothing (`cache/follower.py`).
IDLE_S: Final = 5.0
# Labels of a gauge in one beat: names of breakers are a closed set, and still somebody's hundred.
LABELS: Final = 200


class Process:
    """This one. `kind`: "server" for one that answers requests, "loop" for one that runs the control loop alone."""

    def __init__(self, version: str, clock: Clock = SYSTEM) -> None:
        self._clock = clock
        self.version = version
        self.kind = "loop"
        self.host = socket.gethostname()[:100]
        self.started_at = time.time()
        self.seq = 0
        # Its own for each process: of two containers both may run as 1, and a number is given again.
        self.node = f"{self.host}:{os.getpid()}:{secrets.token_hex(4)}"
        self._machine = psutil.Process()
        self._machine.cpu_percent(None)

    def figures(self) -> dict[str, Any]:
        """`t`: this process's monotonic clock, by which alone its rates are reckoned; `at` is for people."""
        self.seq += 1
        collected = telemetry.collect()
        gauges = {name: _gauge(collected.get(name, {})) for name in GAUGES if collected.get(name)}
        return {
            "v": 1,
            "node": self.node,
            "host": self.host,
            "pid": os.getpid(),
            "kind": self.kind,
            "version": self.version,
            "started_at": round(self.started_at, 3),
            "seq": self.seq,
            "t": self._clock.monotonic(),
            "at": round(time.time(), 3),
            "counts": {name: _counter(collected.get(name, {}), place) for name, place in COUNTERS.items()},
            "gauges": gauges,
            "requests": _requests(),
            "realms": _realms(),
            "config_version": config.current().version,
            "rss_mb": round(self._machine.memory_info().rss / 1_048_576, 1),
            "cpu_percent": self._machine.cpu_percent(None),
            **tables.figures(collected),
        }

    def beat(self) -> bytes:
        return msgspec.json.encode(self.figures())


def _counter(values: dict[telemetry.Labels, float], place: int | None) -> dict[str, float]:
    found: dict[str, float] = {}
    for labels, value in values.items():
        label = "" if place is None or place >= len(labels) else labels[place]
        found[label] = found.get(label, 0) + value
    return found


def _gauge(values: dict[telemetry.Labels, float]) -> dict[str, float]:
    return {"|".join(labels): value for labels, value in list(values.items())[:LABELS]}


def _requests() -> dict[str, Any]:
    """Counts by bucket, by way; `bounds` in seconds."""
    found = telemetry.distributions().get(REQUESTS, {})
    ways = {"|".join(labels): list(held.counts) for labels, held in found.items()}
    return {"bounds": list(next(iter(found.values())).bounds) if found else [], "ways": ways}


def _realms() -> dict[str, dict[str, Any]]:
    """W, and the age of T; the age only where checks keep the realm in use."""
    now_ns = boot_ns()
    states = sorted(STATES.items(), key=lambda item: -item[1].cache.used_ns)[:REALMS]
    return {
        name: {
            "revision": state.rev,
            "age_s": round(max(0, now_ns - state.known_head_ns) / 1e9, 3) if _is_used(state, now_ns) else None,
        }
        for name, state in states
    }


def _is_used(state: Any, now_ns: int) -> bool:
    return bool(now_ns - state.cache.used_ns <= IDLE_S * 1e9)
