"""Each component in detail, and what to do about it: looked at when asked, at most once a second, each for a fifth of one."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import psutil
from django.conf import settings
from django.db import DatabaseError, InterfaceError
from redis.exceptions import RedisError

from controlplane.health.component import Component, Word
from controlplane.health.monitor import Monitor
from controlplane.insight import database, findings, host, store
from controlplane.insight.bounded import Bounded
from controlplane.insight.database import Database
from controlplane.insight.findings import Findings
from controlplane.insight.host import Host
from controlplane.insight.store import Store
from controlplane.insight.suggestions import Seen
from controlplane.insight.verdict import LAG_S, Facts, Verdict, is_disk_low, verdict
from controlplane.live.hub import HUB
from controlplane.live.store import current as live_store
from permissions import pdp
from permissions.cache import l2, warmup
from resilience import config, maintenance, registry

KEPT_S: Final = 1.0
# A frame a second: three missed ones are no slip of the clock any more.
STALE_S: Final = 3.0
_FAULTS: Final = (DatabaseError, InterfaceError, RedisError, psutil.Error, OSError, ValueError)


@dataclass(frozen=True, slots=True)
class Detail:
    """`components` as shown to anybody; `seen` is what suggestions are made of."""

    verdict: Verdict
    components: Mapping[str, Mapping[str, Any]]
    seen: Seen


class Details:
    """One a process; what it found last is kept for a second. For several threads."""

    def __init__(self, monitor: Monitor, clock: Callable[[], float] = time.monotonic) -> None:
        self._monitor, self._clock = monitor, clock
        self._lock = threading.Lock()
        self._kept: Detail | None = None
        self._kept_at = 0.0
        looker = store.Looker()
        self._database: Bounded[Database] = Bounded("health-database", database.look)
        self._findings: Bounded[Findings] = Bounded("health-findings", findings.look)
        self._store: Bounded[Store | None] = Bounded("health-store", looker.look)
        self._host: Bounded[Host] = Bounded("health-host", host.look)
        now = time.time()
        names = ("database", "store", "cache_l1", "cache_l2", "event_loop", "decision_log", "live", "config", "host", "workers")
        self._components = {name: Component("none", now) for name in names}

    def get(self) -> Detail:
        with self._lock:
            if self._kept is None or not 0 <= self._clock() - self._kept_at < KEPT_S:
                self._kept = self._looked()
                self._kept_at = self._clock()
            return self._kept

    def _looked(self) -> Detail:
        seen_database, database_error = _tried(self._database)
        found, _ = _tried(self._findings) if seen_database is not None else (None, "")
        seen_store, store_error = _tried(self._store)
        seen_host, host_error = _tried(self._host)
        breakers = registry.health()["breakers"]
        age_s = HUB.frame_age_s()
        frame = (HUB.frame() or {}) if age_s is not None and age_s <= STALE_S else {}
        # Without a hub in this process nobody promised figures here.
        is_stale = age_s is not None and age_s > STALE_S
        seen = Seen(
            database=seen_database,
            database_down=_is_down(seen_database, database_error, self._monitor.database),
            pool=database.pool(),
            findings=found,
            store=seen_store,
            store_down=bool(settings.REDIS_URL) and _is_down(seen_store, store_error, self._monitor.store),
            has_store=bool(settings.REDIS_URL),
            host=seen_host,
            is_led=self._led(),
            lag_s=self._monitor.lag.seconds,
            workers=max(1, sum(1 for node in HUB.nodes() if node.get("kind") != "loop")),
            config_behind=int(frame.get("config_behind") or 0),
            open_breakers=tuple(name for name, told in breakers.items() if told["measured_state"] == "open"),
            forced_breakers=tuple(name for name, told in breakers.items() if str(told["state"]).startswith("forced")),
            log_failing=self._monitor.is_log_failing,
            live_stale=is_stale,
            open_ended=maintenance.status().on and maintenance.status().until is None,
            debug=bool(settings.DEBUG),
            static_missing=not Path(settings.STATIC_ROOT).is_dir(),
            history_off=not settings.ROW_HISTORY,
            plain_http=_is_plain_http(settings.PUBLIC_URL),
        )
        self._measure(seen, database_error, store_error, host_error, age_s)
        judged = verdict(
            Facts(
                database_away_s=self._monitor.away_s,
                store_up=not seen.store_down if seen.has_store else None,
                is_led=seen.is_led,
                open_breakers=len(seen.open_breakers),
                config_behind=seen.config_behind,
                lag_s=seen.lag_s,
                log_failing=seen.log_failing,
                live_up=None if age_s is None else not is_stale,
                disk_free_bytes=seen_host.disk_free if seen_host else None,
                disk_total_bytes=seen_host.disk_total if seen_host else None,
            )
        )
        return Detail(judged, {name: component.to_dict() for name, component in self._components.items()}, seen)

    def _led(self) -> bool | None:
        """None while the database, which would say it, does not answer."""
        return None if self._monitor.database.state == "down" else self._monitor.loop.state == "ok"

    def _measure(self, seen: Seen, database_error: str, store_error: str, host_error: str, age_s: float | None) -> None:
        parts = self._components
        told = seen.database
        parts["database"].measured(
            "down" if seen.database_down else "degraded" if told is None else "ok",
            None if told is None else told.latency_s * 1000,
            database_error,
            None if told is None else {"version": told.version, "size_bytes": told.size_bytes, **_pool(seen)},
        )
        kv = seen.store
        parts["store"].measured(
            "none" if not seen.has_store else "down" if seen.store_down else "degraded" if kv is None else "ok",
            None if kv is None else kv.latency_s * 1000,
            store_error,
            {"server": kv.server, "version": kv.version, "nodes": kv.nodes, "used_bytes": kv.used_bytes} if kv else None,
        )
        realms = pdp.stats()["realms"].values()
        warm = warmup.last()
        parts["cache_l1"].measured(
            "ok" if realms else "none",
            more={
                "entries": sum(each["subjects"] + each["resources"] for each in realms),
                "age_s": max((each["age_s"] for each in realms), default=None),
                "warmup": None if warm is None else warm.state,
            },
        )
        parts["cache_l2"].measured("none" if not seen.has_store else "ok" if l2.second_layer().is_up else "down")
        lag_s = seen.lag_s
        late = lag_s is not None and lag_s >= LAG_S
        parts["event_loop"].measured(
            "none" if lag_s is None else "degraded" if late else "ok",
            more={"lag_ms": None if lag_s is None else round(lag_s * 1000, 1)},
        )
        parts["decision_log"].measured("degraded" if seen.log_failing else "ok")
        word: Word = "none" if age_s is None else "degraded" if seen.live_stale else "ok"
        parts["live"].measured(word, more={"frame_age_s": None if age_s is None else round(age_s, 1), "by": live_store().name})
        now = config.LIVE.current()
        parts["config"].measured(
            "degraded" if seen.config_behind else "ok",
            more={"version": now.version, "source": config.LIVE.source, "behind": seen.config_behind},
        )
        machine = seen.host
        low = machine is not None and is_disk_low(machine.disk_free, machine.disk_total)
        parts["host"].measured(
            "down" if machine is None else "degraded" if low else "ok", error=host_error, more=_machine(machine)
        )
        parts["workers"].measured("ok", more={"processes": len(HUB.nodes()) or 1, "servers": seen.workers})


def _tried(bounded: Bounded[Any]) -> tuple[Any, str]:
    try:
        return bounded.get(), ""
    except _FAULTS as error:  # TimeoutError is an OSError
        return None, type(error).__name__


def _is_down(found: object, error: str, measured: Component) -> bool:
    """A look that took too long, while what is measured each second goes on, says that something is slow."""
    return found is None and not (error == "TimeoutError" and measured.state == "ok")


def _pool(seen: Seen) -> dict[str, Any]:
    found = seen.pool
    return (
        {} if found is None else {"pool": {"size": found.size, "used": found.used, "waiting": found.waiting, "most": found.most}}
    )


def _machine(machine: Host | None) -> dict[str, Any] | None:
    if machine is None:
        return None
    return {
        "cpus": machine.cpus,
        "load_1m": round(machine.load[0], 2),
        "memory_available_bytes": machine.memory_available,
        "memory_total_bytes": machine.memory_total,
        "disk_free_bytes": machine.disk_free,
        "disk_total_bytes": machine.disk_total,
    }


def _is_plain_http(url: str) -> bool:
    parts = urlsplit(url)
    return parts.scheme == "http" and parts.hostname not in ("127.0.0.1", "localhost", "::1")
