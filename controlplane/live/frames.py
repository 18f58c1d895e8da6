"""From the beats of all processes to one frame: rates, shares, percentiles, the worst of each.

A rate of a process is what its counters grew by between two beats, by the process's own monotonic clock: hosts' may differ.
A process that is new gives none yet; one that has gone, or whose beat did not come, gives none any more; and a counter that is
smaller than before was set back, so it counts from nothing.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

Beat = Mapping[str, Any]

# Of beats, without one of which a process gives no rate any more: the third is missing.
LATE_BEATS: Final = 2.5
# Seconds that a process is still counted on its last beat though the store names it no more; two beats and a half of Redis'.
GONE_S: Final = 2.5
# Percentiles over so many seconds: one second has too few requests to tell a 99th from.
PERCENTILE_S: Final = 10.0


@dataclass(slots=True)
class _Seen:
    """A process as the sampler follows it. `came_at`: by the sampler's clock, when the newest beat was first seen."""

    newest: Beat
    came_at: float
    before: Beat | None = None
    taken: int = 0  # number of the last beat whose requests went into the percentiles


@dataclass(slots=True)
class Rates:
    """Growth a second, summed over processes."""

    values: dict[tuple[str, str], float] = field(default_factory=dict)
    is_known: bool = False

    def of(self, name: str, *labels: str) -> float | None:
        """The sum over the labels, all where none is named; None while no process has beaten twice."""
        if not self.is_known:
            return None
        return sum(value for (other, label), value in self.values.items() if other == name and (not labels or label in labels))


class Nodes:
    """Follows processes over their beats. `beat_s`: how often they come."""

    def __init__(self, monotonic: Callable[[], float], beat_s: float = 1.0) -> None:
        self._monotonic = monotonic
        self.beat_s = beat_s
        self._seen: dict[str, _Seen] = {}
        self._requests: deque[tuple[float, tuple[float, ...], tuple[int, ...]]] = deque(maxlen=4_000)

    def take(self, beats: Iterable[Beat]) -> None:
        """The last beat of each process that the store counts as alive."""
        now = self._monotonic()
        alive: dict[str, Beat] = {}
        for beat in beats:
            if not _is_whole(beat):
                continue
            other = alive.get(beat["node"])
            if other is None or other["seq"] < beat["seq"]:
                alive[beat["node"]] = beat
        for node in self._seen.keys() - alive.keys():
            # A store that lost its data names nobody until the next beats: that is no second without checks.
            if now - self._seen[node].came_at > GONE_S:
                del self._seen[node]
        for node, beat in alive.items():
            seen = self._seen.get(node)
            if seen is None:
                self._seen[node] = _Seen(beat, now)
            elif beat["seq"] > seen.newest["seq"]:
                seen.before, seen.newest, seen.came_at = seen.newest, beat, now
                self._take_requests(seen, now)
        while self._requests and self._requests[0][0] < now - max(PERCENTILE_S, 2 * self.beat_s):
            self._requests.popleft()

    def _take_requests(self, seen: _Seen, now: float) -> None:
        assert seen.before is not None  # noqa: S101 - the caller has just set it
        newest, before = seen.newest.get("requests") or {}, seen.before.get("requests") or {}
        bounds = tuple(newest.get("bounds") or ())
        if not bounds or bounds != tuple(before.get("bounds") or bounds):
            return
        grown = [0] * (len(bounds) + 1)
        for way, counts in newest["ways"].items():
            earlier = (before.get("ways") or {}).get(way) or [0] * len(counts)
            is_reset = any(new < old for new, old in zip(counts, earlier, strict=False))
            for place, count in enumerate(counts[: len(grown)]):
                grown[place] += count - (0 if is_reset or place >= len(earlier) else earlier[place])
        if any(grown):
            self._requests.append((now, bounds, tuple(grown)))

    def fresh(self) -> list[Beat]:
        """Beats that are no older than LATE_BEATS beats, by the sampler's clock."""
        return [seen.newest for seen in self._fresh()]

    def _fresh(self) -> list[_Seen]:
        since = self._monotonic() - LATE_BEATS * self.beat_s
        return [seen for seen in self._seen.values() if seen.came_at >= since]

    def rates(self) -> Rates:
        found = Rates()
        for seen in self._fresh():
            if seen.before is None:
                continue
            seconds = seen.newest["t"] - seen.before["t"]
            if seconds <= 0:
                continue
            found.is_known = True
            for name, values in seen.newest["counts"].items():
                earlier = seen.before["counts"].get(name) or {}
                for label, value in values.items():
                    grown = value - earlier.get(label, 0)
                    grown = value if grown < 0 else grown
                    found.values[name, label] = found.values.get((name, label), 0.0) + grown / seconds
        return found

    def highest(self, name: str, *labels: str) -> float | None:
        """The highest rate of any one process: for what every process counts for itself, such as revisions it applied."""
        highest = None
        for seen in self._fresh():
            if seen.before is None or seen.newest["t"] <= seen.before["t"]:
                continue
            values, earlier = seen.newest["counts"].get(name) or {}, seen.before["counts"].get(name) or {}
            grown = sum(max(0, value - earlier.get(label, 0)) for label, value in values.items() if not labels or label in labels)
            rate = grown / (seen.newest["t"] - seen.before["t"])
            highest = rate if highest is None else max(highest, rate)
        return highest

    def requests_per_s(self) -> float | None:
        total, is_known = 0.0, False
        for seen in self._fresh():
            if seen.before is None or seen.newest["t"] <= seen.before["t"]:
                continue
            is_known = True
            grown = _requested(seen.newest) - _requested(seen.before)
            total += (grown if grown >= 0 else _requested(seen.newest)) / (seen.newest["t"] - seen.before["t"])
        return total if is_known else None

    def percentiles(self, *shares: float) -> list[float | None]:
        """Seconds, over the last PERCENTILE_S; None where nothing was asked."""
        if not self._requests:
            return [None] * len(shares)
        bounds = self._requests[-1][1]
        counts = [0] * (len(bounds) + 1)
        for _, others, grown in self._requests:
            if others == bounds:
                counts = [one + more for one, more in zip(counts, grown, strict=True)]
        return [percentile(bounds, counts, share) for share in shares]


def percentile(bounds: tuple[float, ...], counts: list[int], share: float) -> float | None:
    """Within its bucket as if all lay evenly; beyond the last bound, that bound: more is not known."""
    total = sum(counts)
    if not total:
        return None
    wanted, below, low = share * total, 0, 0.0
    for bound, count in zip(bounds, counts, strict=False):
        if count and below + count >= wanted:
            return low + (bound - low) * max(0.0, wanted - below) / count
        below += count
        low = bound
    return bounds[-1]


def _requested(beat: Beat) -> float:
    ways = (beat.get("requests") or {}).get("ways") or {}
    return float(sum(map(sum, ways.values())))


def _is_whole(beat: object) -> bool:
    """Somebody else may write into the store, or a process of another version."""
    return (
        isinstance(beat, dict)
        and beat.get("v") == 1
        and isinstance(beat.get("node"), str)
        and isinstance(beat.get("seq"), int)
        and isinstance(beat.get("t"), int | float)
        and isinstance(beat.get("counts"), dict)
        and all(isinstance(values, dict) for values in beat["counts"].values())
        and isinstance(beat.get("gauges"), dict)
    )


def figures_of(nodes: Nodes) -> dict[str, Any]:
    """The part of a frame that the beats tell. None is what nobody knows; it is never shown as nothing."""
    rates, beats = nodes.rates(), nodes.fresh()
    checks = rates.of("permission_checks_total")
    hits, missed = rates.of("permission_cache_hits_total"), rates.of("permission_cache_misses_total")
    live = rates.of("permission_cache_live_total")
    asked = None if hits is None else hits + (missed or 0.0) + (live or 0.0)
    limited = rates.of("resilience_rate_limiter_decisions_total")
    refused = rates.of("resilience_rate_limiter_decisions_total", "refused")
    p50, p95, p99 = nodes.percentiles(0.5, 0.95, 0.99)
    newest = revisions(beats)
    versions = [beat["config_version"] for beat in beats if isinstance(beat.get("config_version"), int)]
    denied = rates.of("permission_checks_total", "denied")
    return {
        "nodes": len(beats),
        "checks_per_s": checks,
        "allowed_per_s": rates.of("permission_checks_total", "allowed"),
        "denied_per_s": denied,
        "errors_per_s": rates.of("permission_check_errors_total"),
        "deny_share": _share(denied, checks),
        "p50_ms": _ms(p50),
        "p95_ms": _ms(p95),
        "p99_ms": _ms(p99),
        "requests_per_s": nodes.requests_per_s(),
        "hit_rate": _share(hits, asked),
        "hit_l1": _share(rates.of("permission_cache_hits_total", "l1"), asked),
        "hit_redis": _share(rates.of("permission_cache_hits_total", "redis"), asked),
        "misses_per_s": missed,
        "penetration_per_s": rates.of("permission_cache_penetration_total"),
        "live_per_s": live,
        "invalidations_per_s": nodes.highest("permission_cache_events_total", "applied"),
        "l2_errors_per_s": rates.of("permission_cache_l2_errors_total"),
        "open_breakers": _names(beats, "resilience_circuit_breaker_state", 2),
        "forced_breakers": _names(beats, "resilience_circuit_breaker_forced", 1),
        "refused_per_s": refused,
        "limited_share": _share(refused, limited),
        "bulkhead_in_flight": _sum(beats, "resilience_bulkhead_in_flight"),
        "bulkhead_refused_per_s": rates.of("resilience_bulkhead_refused_total"),
        "storage_up": _lowest(beats, "resilience_storage_up"),
        "age_s": max((age for beat in beats for age in _ages(beat)), default=None),
        "revision": max(newest.values(), default=None),
        "revision_lag": max((lag_of(beat, newest) for beat in beats), default=None),
        "config_version": max(versions, default=None),
        "config_behind": sum(version < max(versions) for version in versions) if versions else None,
        "loop_lag_ms": _ms(
            max((lag for beat in beats for lag in _values(beat, "permsite_event_loop_lag_seconds")), default=None)
        ),
        "rss_mb": sum(beat.get("rss_mb") or 0 for beat in beats) if beats else None,
        "cpu_percent": sum(beat.get("cpu_percent") or 0 for beat in beats) if beats else None,
        "sockets": _sum(beats, "permsite_sockets_open"),
        "events_dropped_per_s": _added(rates.of("resilience_events_dropped_total"), rates.of("permsite_live_dropped_total")),
        "internal_errors_per_s": rates.of("resilience_internal_errors_total"),
        "condition_errors_per_s": rates.of("permission_condition_errors_total"),
    }


def revisions(beats: Iterable[Beat]) -> dict[str, int]:
    """By realm, the newest that any process has reached."""
    newest: dict[str, int] = {}
    for beat in beats:
        for realm, told in (beat.get("realms") or {}).items():
            newest[realm] = max(newest.get(realm, 0), told.get("revision") or 0)
    return newest


def lag_of(beat: Beat, newest: Mapping[str, int]) -> int:
    """Revisions by which the process is behind, in the realms it keeps in use; an idle one catches up when it is asked."""
    told = (beat.get("realms") or {}).items()
    return max((newest.get(realm, 0) - one["revision"] for realm, one in told if one.get("age_s") is not None), default=0)


def instance_of(beat: Beat, newest: Mapping[str, int], rate: float | None) -> dict[str, Any]:
    """A process as pages show it."""
    ages, leads = _ages(beat), (beat["gauges"].get("permsite_loop_leads") or {}).get("", 0)
    lags = _values(beat, "permsite_event_loop_lag_seconds")
    return {
        "id": beat["node"],
        "host": beat.get("host"),
        "pid": beat.get("pid"),
        "kind": beat.get("kind"),
        "version": beat.get("version"),
        "started_at": beat.get("started_at"),
        "at": beat.get("at"),
        "checks_per_s": rate,
        "config_version": beat.get("config_version"),
        "revisions": {realm: told.get("revision") for realm, told in (beat.get("realms") or {}).items()},
        "revision_lag": lag_of(beat, newest),
        "age_s": max(ages, default=None),
        "loop_lag_ms": _ms(max(lags, default=None)),
        "rss_mb": beat.get("rss_mb"),
        "cpu_percent": beat.get("cpu_percent"),
        "sockets": sum(_values(beat, "permsite_sockets_open")),
        "entries": beat["gauges"].get("permission_cache_entries") or {},
        "breakers": beat["gauges"].get("resilience_circuit_breaker_state") or {},
        "in_flight": beat["gauges"].get("resilience_bulkhead_in_flight") or {},
        "storage_up": min(_values(beat, "resilience_storage_up"), default=None),
        "leads": bool(leads),
        "counts": beat["counts"],
    }


def instances(nodes: Nodes) -> list[dict[str, Any]]:
    """All that beat, by host and number; `late`: no beat came lately, so its figures are old."""
    fresh = nodes.fresh()
    newest = revisions(fresh)
    alive = {beat["node"] for beat in fresh}
    found = []
    for seen in nodes._seen.values():
        rate = None
        if seen.before is not None and seen.newest["node"] in alive and seen.newest["t"] > seen.before["t"]:
            asked = sum((seen.newest["counts"].get("permission_checks_total") or {}).values())
            earlier = sum((seen.before["counts"].get("permission_checks_total") or {}).values())
            rate = max(0.0, asked - earlier) / (seen.newest["t"] - seen.before["t"])
        found.append({**instance_of(seen.newest, newest, rate), "late": seen.newest["node"] not in alive})
    return sorted(found, key=lambda one: (str(one["host"]), one["pid"] or 0))


def _values(beat: Beat, gauge: str) -> list[float]:
    return list((beat["gauges"].get(gauge) or {}).values())


def _ages(beat: Beat) -> list[float]:
    return [told["age_s"] for told in (beat.get("realms") or {}).values() if told.get("age_s") is not None]


def _sum(beats: Iterable[Beat], gauge: str) -> float | None:
    beats = list(beats)
    return sum(sum(_values(beat, gauge)) for beat in beats) if beats else None


def _lowest(beats: Iterable[Beat], gauge: str) -> float | None:
    return min((value for beat in beats for value in _values(beat, gauge)), default=None)


def _names(beats: Iterable[Beat], gauge: str, value: float) -> int | None:
    """How many labels have that value in any process."""
    beats = list(beats)
    held = {label for beat in beats for label, found in (beat["gauges"].get(gauge) or {}).items() if found == value}
    return len(held) if beats else None


def _share(part: float | None, whole: float | None) -> float | None:
    return None if part is None or not whole else part / whole


def _added(one: float | None, other: float | None) -> float | None:
    return None if one is None else one + (other or 0.0)


def _ms(seconds: float | None) -> float | None:
    return None if seconds is None else seconds * 1000
