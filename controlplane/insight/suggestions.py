"""What an operator may do about it: a closed table of suggestions, and the rules that bring each up.

A text names no identity and no address, for the page is open; what it is about in detail (statements, indexes) stands apart.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from django.utils.translation import gettext_lazy as _

from controlplane.insight.database import Database, Pool
from controlplane.insight.findings import Findings
from controlplane.insight.host import Host
from controlplane.insight.store import Store
from controlplane.insight.verdict import LAG_S, is_disk_low

Severity = Literal["info", "warning", "critical"]
PAGE: Final = "docs/operations/suggestions.md"
# Seconds between the clocks of host and database; ends of validity are compared by the database's.
SKEW_S: Final = 2.0
MEMORY_SHARE: Final = 0.05
FULL_SHARE: Final = 0.9


@dataclass(frozen=True, slots=True)
class Seen:
    """What was found, None for what could not be looked at. `errors`: components that did not answer."""

    database: Database | None = None
    database_down: bool = False
    pool: Pool | None = None
    findings: Findings | None = None
    store: Store | None = None
    store_down: bool = False
    has_store: bool = False
    host: Host | None = None
    is_led: bool | None = None
    lag_s: float | None = None
    workers: int = 1
    config_behind: int = 0
    config_problem: bool = False
    open_breakers: tuple[str, ...] = ()
    forced_breakers: tuple[str, ...] = ()
    log_failing: bool = False
    live_stale: bool = False
    open_ended: bool = False
    debug: bool = False
    static_missing: bool = False
    history_off: bool = False
    plain_http: bool = False


@dataclass(frozen=True, slots=True)
class Suggestion:
    severity: Severity
    text: Any
    action: Any


TABLE: Final[dict[str, Suggestion]] = {
    "database_down": Suggestion(
        "critical",
        _("The database does not answer."),
        _("Look at its log and at the network. Checks are answered from memory for as long as the bound of each realm allows."),
    ),
    "database_connections": Suggestion(
        "warning",
        _("The database has nearly as many sessions as it takes."),
        _("Raise max_connections, run fewer workers, or put a pooler in front."),
    ),
    "pool_exhausted": Suggestion(
        "critical",
        _("Every connection of this process's pool is in use, and callers wait for one."),
        _("Look for statements that run long; run more workers."),
    ),
    "slow_queries": Suggestion(
        "warning",
        _("Some statements take long on average."),
        _("Look at their plans with EXPLAIN (ANALYZE, BUFFERS), and whether autovacuum keeps up."),
    ),
    "long_running": Suggestion(
        "warning",
        _("A statement or an open transaction has lasted for many seconds."),
        _("Find who runs it; pg_terminate_backend ends it. It holds locks, and keeps VACUUM from cleaning up."),
    ),
    "statements_unknown": Suggestion(
        "info",
        _("The database does not count statements, so slow ones stay unknown until they run."),
        _("Load pg_stat_statements (shared_preload_libraries) and create the extension."),
    ),
    "unused_indexes": Suggestion(
        "info",
        _("Nobody has read some large indexes since the statistics began."),
        _("If no replica reads them either, drop them: each write has to keep them."),
    ),
    "missing_indexes": Suggestion(
        "warning",
        _("A big table is read whole again and again."),
        _("Look which statement does it; an index may be missing, or the statistics are old: run ANALYZE."),
    ),
    "sqlite_shared": Suggestion(
        "warning",
        _("Several processes share an SQLite file: one writes at a time."),
        _("Use PostgreSQL, or one worker."),
    ),
    "store_down": Suggestion(
        "critical",
        _("Redis does not answer: every process answers from its own memory."),
        _("Look at its log and at the network. Limits are divided among the processes meanwhile; answers are the same."),
    ),
    "store_missing": Suggestion(
        "warning",
        _("Several processes run without Redis: each counts limits and breakers by itself."),
        _("Set REDIS_URL to a Redis or Valkey."),
    ),
    "store_evicts": Suggestion(
        "warning",
        _("Redis drops keys when its memory is full: limits, locks and breakers may be among them."),
        _("Set maxmemory-policy to noeviction, or give caches a server of their own."),
    ),
    "store_full": Suggestion(
        "critical",
        _("Redis has used nearly all the memory it may."),
        _("Raise maxmemory, or find who fills it: what permsite keeps there has an end."),
    ),
    "no_leader": Suggestion(
        "critical",
        _("Nobody leads the control loop: no alert is evaluated, nothing is pruned."),
        _("Run serve or runcontrol where the database can be reached, and look at its log."),
    ),
    "config_behind": Suggestion(
        "warning",
        _("Some processes run an older version of the live configuration."),
        _("The page Configuration says which, and why they refused the newest."),
    ),
    "breaker_open": Suggestion(
        "warning",
        _("A circuit breaker is open: what it guards fails."),
        _("The resilience board says which, and when it is tried again."),
    ),
    "breaker_forced": Suggestion(
        "info",
        _("A person holds a circuit breaker open or closed."),
        _("Set it to automatic when the reason has gone."),
    ),
    "loop_lag": Suggestion(
        "warning",
        _("This process's event loop is late: every answer waits for it."),
        _("The processor is overloaded, or something blocks the loop. Run more workers or fewer neighbours."),
    ),
    "log_failing": Suggestion(
        "warning",
        _("The decision log cannot be written; decisions are missing from it."),
        _("Look at its disk, or at the Redis it goes to. Answers are not touched."),
    ),
    "live_stale": Suggestion(
        "warning",
        _("No live figures have come for some seconds: pages show none."),
        _("Figures are made by the leader; without one, or without a way from it to here, there are none."),
    ),
    "maintenance_open_ended": Suggestion(
        "info",
        _("Maintenance is on, and has no end."),
        _("Give it an end, or switch it off when you are done."),
    ),
    "low_disk": Suggestion(
        "critical",
        _("The disk of the site's own folder is nearly full."),
        _("Make room: a full disk stops the decision log, and the database if it lies there."),
    ),
    "low_memory": Suggestion(
        "warning",
        _("The host has hardly any memory left."),
        _("Run fewer workers, or give the host more: the kernel ends processes when it is gone."),
    ),
    "clock_skew": Suggestion(
        "warning",
        _("The clocks of this host and of the database differ."),
        _("Run a time service on both. Ends of validity follow the database's clock; logs and sessions follow the host's."),
    ),
    "debug_on": Suggestion(
        "critical",
        _("DEBUG is on: error pages show settings and source to everybody."),
        _("Switch it off."),
    ),
    "static_missing": Suggestion(
        "warning",
        _("The static files have not been collected: pages come without style."),
        _("Run manage.py collectstatic."),
    ),
    "history_off": Suggestion(
        "info",
        _("The history of rows is off: nobody can look back at who could do what."),
        _("Set ROW_HISTORY=1."),
    ),
    "plain_http": Suggestion(
        "warning",
        _("PUBLIC_URL does not begin with https: passwords and keys travel in clear."),
        _("Put a proxy that ends TLS in front, and set PUBLIC_URL."),
    ),
}

Detail = Mapping[str, Any]
Rule = Callable[[Seen], Detail | None]


def _when(yes: bool, **detail: Any) -> Detail | None:
    return detail if yes else None


def _listed(name: str) -> Rule:
    def rule(seen: Seen) -> Detail | None:
        rows = getattr(seen.findings, name, None)
        return {name: rows} if rows else None

    return rule


RULES: Final[dict[str, Rule]] = {
    "database_down": lambda s: _when(s.database_down),
    "database_connections": lambda s: (
        _when(sum(s.database.connections.values()) > FULL_SHARE * s.database.most, most=s.database.most)
        if s.database is not None and s.database.most
        else None
    ),
    "pool_exhausted": lambda s: _when(s.pool is not None and s.pool.is_exhausted),
    "slow_queries": _listed("slow"),
    "long_running": _listed("long"),
    "statements_unknown": lambda s: _when(
        s.findings is not None and s.database is not None and s.database.vendor == "postgresql" and not s.findings.has_statements
    ),
    "unused_indexes": _listed("unused"),
    "missing_indexes": _listed("missing"),
    "sqlite_shared": lambda s: _when(s.database is not None and s.database.vendor == "sqlite" and s.workers > 1),
    "store_down": lambda s: _when(s.store_down),
    "store_missing": lambda s: _when(not s.has_store and s.workers > 1),
    "store_evicts": lambda s: _when(s.store is not None and s.store.evicts, policies=s.store.policies if s.store else ()),
    "store_full": lambda s: _when(
        s.store is not None and s.store.max_bytes > 0 and s.store.used_bytes > FULL_SHARE * s.store.max_bytes
    ),
    "no_leader": lambda s: _when(s.is_led is False),
    "config_behind": lambda s: _when(s.config_behind > 0 or s.config_problem, processes=s.config_behind),
    "breaker_open": lambda s: _when(bool(s.open_breakers), breakers=s.open_breakers),
    "breaker_forced": lambda s: _when(bool(s.forced_breakers), breakers=s.forced_breakers),
    "loop_lag": lambda s: _when(s.lag_s is not None and s.lag_s >= LAG_S),
    "log_failing": lambda s: _when(s.log_failing),
    "live_stale": lambda s: _when(s.live_stale),
    "maintenance_open_ended": lambda s: _when(s.open_ended),
    "low_disk": lambda s: _when(s.host is not None and is_disk_low(s.host.disk_free, s.host.disk_total)),
    "low_memory": lambda s: _when(s.host is not None and s.host.memory_available < MEMORY_SHARE * s.host.memory_total),
    "clock_skew": lambda s: _when(
        s.database is not None and abs(s.database.clock_skew_s) > SKEW_S,
        seconds=round(s.database.clock_skew_s, 1) if s.database else 0,
    ),
    "debug_on": lambda s: _when(s.debug),
    "static_missing": lambda s: _when(s.static_missing),
    "history_off": lambda s: _when(s.history_off),
    "plain_http": lambda s: _when(s.plain_http),
}
_ORDER: Final = ("critical", "warning", "info")


def suggestions(seen: Seen, *, with_detail: bool) -> list[dict[str, Any]]:
    """The worst first. `with_detail`: for callers who may operate, what exactly it is about."""
    found = [(code, detail) for code, detail in _brought_up(seen)]
    found.sort(key=lambda pair: _ORDER.index(TABLE[pair[0]].severity))
    return [_line(code, detail if with_detail else {}) for code, detail in found]


def _brought_up(seen: Seen) -> Iterator[tuple[str, Detail]]:
    for code, rule in RULES.items():
        detail = rule(seen)
        if detail is not None:
            yield code, detail


def _line(code: str, detail: Detail) -> dict[str, Any]:
    row = TABLE[code]
    line: dict[str, Any] = {
        "code": code,
        "severity": row.severity,
        "text": str(row.text),
        "action": str(row.action),
        "link": f"{PAGE}#{code}",
    }
    if detail:
        line["detail"] = dict(detail)
    return line
