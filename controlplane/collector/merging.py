"""How the figures of several processes become one: counters add up, a gauge follows its declared rule."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final, Literal

from controlplane.collector.slots import Figures, Read, Series, added_up, samples_of
from resilience.telemetry import Metric

Rule = Literal["sum", "max", "min", "slot"]

# By gauge. `slot`: a series for each process, named by its slot, so that a successor goes on with the same series; a pid would
# leave one behind with every restart.
RULES: Final[dict[str, Rule]] = {
    "permission_cache_entries": "sum",
    # The slowest process is the one to know of.
    "permission_cache_age_seconds": "max",
    "permission_cache_revision": "min",
    "permission_cache_warmup_ratio": "min",
    "permsite_loop_leads": "max",
    "resilience_circuit_breaker_state": "max",
    "resilience_circuit_breaker_forced": "max",
    "resilience_bulkhead_in_flight": "sum",
    "resilience_storage_up": "min",
    "resilience_config_version": "min",
    "resilience_maintenance_mode": "max",
    "permsite_build_info": "max",
    "permsite_sockets_open": "sum",
    "permsite_processes": "sum",
    "permsite_process_resident_memory_bytes": "slot",
    "permsite_process_open_fds": "slot",
    "permsite_process_threads": "slot",
    "permsite_process_start_time_seconds": "slot",
    "permsite_event_loop_lag_seconds": "slot",
    "permsite_database_pool_connections": "sum",
    "permsite_database_pool_max": "sum",
    "permsite_database_pool_waiting": "sum",
}
# What the whole host or site has in common: told by one look or one frame, so nothing has to be merged.
SHARED: Final = (
    *("permsite_host_", "permsite_redis_", "permsite_database_"),
    *("permsite_state", "permsite_frame_", "permsite_nodes", "permsite_breakers_", "permsite_alerts_", "permsite_led"),
    *("permsite_age_", "permsite_revision_lag", "permsite_config_behind", "permsite_maintenance_", "permsite_checks_per_"),
    *("permsite_denied_", "permsite_cache_hit_ratio", "permsite_latency_"),
)
# Of a gauge that nobody placed; a test finds it.
DEFAULT: Final[Rule] = "max"
# Counters that are told by slot too.
BY_SLOT: Final = frozenset({"permsite_process_cpu_seconds_total", "permsite_process_gc_collections_total"})
# Seconds after which what somebody looked for all is no longer true of now.
LOOKED_S: Final = 30.0


def rule_of(name: str) -> Rule:
    return RULES.get(name, DEFAULT)


def is_told(metric: Metric, series: Series) -> bool:
    """A file may be of another release, whose figures had other names or labels."""
    return series[0] == metric.name and len(series[1]) == len(metric.labels)


def merged(reads: Iterable[Read], now_s: float) -> Figures:
    """Of all processes of one host."""
    reads = list(reads)
    result = Figures()
    for read in reads:
        for name, labels, value in samples_of(read.page.counters):
            add(result.counters, _series(read, name, labels), value, "sum")
        if read.is_held:
            add(result.gauges, ("permsite_processes", (read.page.kind,)), 1, "sum")
            for name, labels, value in samples_of(read.page.gauges):
                add(result.gauges, _series(read, name, labels), value, rule_of(name))
    result.histograms = added_up(
        [{(each.name, tuple(each.labels)): (each.counts, each.total) for each in read.page.histograms} for read in reads]
    )
    for series, value in looked(reads, now_s).items():
        (result.counters if series[0].endswith("_total") else result.gauges)[series] = value
    return result


def looked(reads: Iterable[Read], now_s: float) -> Mapping[Series, float]:
    """What the last look at host, Redis and database saw. Their counters are theirs: never added up, never carried on."""
    fresh = [read.page for read in reads if read.is_held and read.page.looked and 0 <= now_s - read.page.looked_s <= LOOKED_S]
    if not fresh:
        return {}
    newest = max(fresh, key=lambda page: page.looked_s)
    return {(name, labels): value for name, labels, value in samples_of(newest.looked)}


def _series(read: Read, name: str, labels: tuple[str, ...]) -> Series:
    by_slot = name in BY_SLOT or rule_of(name) == "slot"
    return name, (*labels, str(read.slot)) if by_slot else labels


def add(held: dict[Series, float], series: Series, value: float, rule: Rule) -> None:
    """One more process, or one more realm, of the same series."""
    before = held.get(series)
    if before is None:
        held[series] = value
    elif rule == "sum":
        held[series] = before + value
    elif rule == "min":
        held[series] = min(before, value)
    else:
        held[series] = max(before, value)
