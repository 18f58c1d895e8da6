"""What every process tells of itself, summed for the boards; this process's own figures where nobody tells anything."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

from controlplane.live import store as stores
from controlplane.live import tables
from controlplane.live.port import LiveError
from controlplane.services.fresh import Fresh
from permissions.cache import figures as cache_figures
from resilience import config, telemetry
from resilience.telemetry import Labels

# A State that must ask before it answers again has no age: its head counts as heard of before the machine started.
UNKNOWN_AGE_S: Final = 1e8
# Gauges of a beat that the boards show by process.
ENTRIES: Final = "permission_cache_entries"
_GAUGES: Final = (ENTRIES, "resilience_circuit_breaker_state", "resilience_bulkhead_in_flight")

Beat = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Figures:
    """`nodes`: a line for each process; `complete`: others are heard of, so the sums are those of all."""

    nodes: tuple[dict[str, Any], ...]
    sums: Mapping[str, Mapping[Labels, float]]
    gauges: tuple[tuple[str, Mapping[str, Mapping[str, float]]], ...]
    locks: frozenset[str] = field(default_factory=frozenset)
    complete: bool = False

    @staticmethod
    def now() -> Figures:
        """Asked of the store at most once a second."""
        return _figures.get()

    def counts(self, metric: str) -> Mapping[Labels, float]:
        return self.sums.get(metric, {})

    def rows(self, metric: str, name: str) -> dict[Labels, float]:
        """By the labels that follow the first, of one name."""
        found: dict[Labels, float] = {}
        for labels, value in self.counts(metric).items():
            if labels[:1] == (name,):
                found[labels[1:]] = found.get(labels[1:], 0.0) + value
        return found

    def total(self, metric: str, first: str = "") -> float:
        """Over all labels; of one value of the first where it is given."""
        return sum(value for labels, value in self.counts(metric).items() if not first or labels[:1] == (first,))

    def by_label(self, metric: str, name: str) -> dict[str, int]:
        """By the second label, of one name."""
        return {labels[0]: round(value) for labels, value in sorted(self.rows(metric, name).items()) if labels}

    def by_first(self, metric: str) -> dict[str, int]:
        found: dict[str, float] = {}
        for labels, value in self.counts(metric).items():
            if labels:
                found[labels[0]] = found.get(labels[0], 0.0) + value
        return {label: round(value) for label, value in sorted(found.items())}

    def spread(self, gauge: str, name: str, words: Mapping[int, str]) -> dict[str, int]:
        """In how many processes it has which value."""
        found: dict[str, int] = {}
        for _, gauges in self.gauges:
            value = gauges.get(gauge, {}).get(name)
            if value is not None:
                word = words.get(round(value), "unknown")
                found[word] = found.get(word, 0) + 1
        return dict(sorted(found.items()))

    def each(self, gauge: str, name: str) -> list[dict[str, Any]]:
        """By process, what is not nothing."""
        found = [(node, gauges.get(gauge, {}).get(name)) for node, gauges in self.gauges]
        return [{"process": node, "value": round(value)} for node, value in found if value]


def _read() -> Figures:
    beats = _beats()
    is_told = any((beat.get("host"), beat.get("pid")) == _here() for beat in beats)
    told = beats if is_told else [*beats, _own_beat()]
    sums: dict[str, dict[Labels, float]] = {}
    for beat in told:
        _add(sums, beat)
    locks = {name for beat in told for name in beat.get("locks") or () if isinstance(name, str)}
    gauges = tuple((str(beat.get("node")), beat.get("gauges") or {}) for beat in told)
    return Figures(tuple(_line(beat) for beat in told), sums, gauges, frozenset(locks), bool(beats))


_figures: Final = Fresh(_read)


def _beats() -> list[Beat]:
    """None where the store of the live page does not answer: then this process speaks for itself alone."""
    try:
        raw = stores.current().nodes()
    except LiveError:
        return []
    except Exception as error:  # noqa: BLE001 - a board without the others' figures is better than none
        telemetry.internal_error("boards", "nodes", error)
        return []
    beats: list[Beat] = []
    for text in raw.values():
        try:
            beat = msgspec.json.decode(text)
        except msgspec.DecodeError:
            continue  # of another version, or somebody else's
        if isinstance(beat, dict) and isinstance(beat.get("counts"), dict) and isinstance(beat.get("gauges"), dict):
            beats.append(beat)
    return beats


def _here() -> tuple[str, int]:
    return socket.gethostname()[:100], os.getpid()


def _own_beat() -> Beat:
    """As this process would tell it, where nothing beats: a server without the live transport, a test."""
    collected = telemetry.collect()
    told = cache_figures.stats()["realms"]
    host, pid = _here()
    return {
        "node": f"{host}:{pid}",
        "host": host,
        "pid": pid,
        "kind": "server",
        "counts": {name: {tables.MARK.join(labels): value for labels, value in rows.items()} for name, rows in collected.items()},
        "gauges": {
            name: {tables.MARK.join(labels): value for labels, value in collected.get(name, {}).items()} for name in _GAUGES
        },
        "realms": {
            name: {"revision": one["revision"], "age_s": one["age_s"] if one["age_s"] < UNKNOWN_AGE_S else None}
            for name, one in told.items()
        },
        "config_version": config.current().version,
        **tables.figures(collected),
    }


def _add(sums: dict[str, dict[Labels, float]], beat: Beat) -> None:
    whole = beat.get("tables") or {}
    for name, rows in {**beat["counts"], **whole}.items():
        if not isinstance(rows, Mapping):
            continue
        found = sums.setdefault(name, {})
        for text, value in rows.items():
            labels = tables.labels_of(name, text) if name in whole else ((text,) if text else ())
            found[labels] = found.get(labels, 0.0) + value


def _line(beat: Beat) -> dict[str, Any]:
    realms = beat.get("realms") or {}
    ages = [one["age_s"] for one in realms.values() if one.get("age_s") is not None]
    entries = (beat.get("gauges") or {}).get(ENTRIES) or {}
    return {
        "id": str(beat.get("node")),
        "here": (beat.get("host"), beat.get("pid")) == _here(),
        "host": beat.get("host"),
        "pid": beat.get("pid"),
        "kind": beat.get("kind"),
        "version": beat.get("version"),
        "config_version": beat.get("config_version"),
        "entries": {kind: round(entries.get(kind, 0)) for kind in ("subject", "resource", "absent")},
        "realms": [{"realm": name, "revision": one.get("revision"), "age_s": one.get("age_s")} for name, one in realms.items()],
        "age_s": max(ages, default=None),
    }
