"""What the database says of itself, and this process's pool of connections to it."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from django.db import connection, transaction

from resilience.telemetry import Sample

# Of one question about the server. A statement that hangs must not hang the page that should report it.
TIMEOUT_MS: Final = 200
# Sessions by what they do, as pg_stat_activity says it; whatever else there is counts as other.
STATES: Final = ("active", "idle", "idle in transaction")


@dataclass(frozen=True, slots=True)
class Pool:
    """Connections of this process. `waiting`: callers that wait for one right now."""

    size: int
    most: int
    idle: int
    waiting: int
    requests: int
    errors: int
    waited_s: float

    @property
    def used(self) -> int:
        return max(0, self.size - self.idle)

    @property
    def is_exhausted(self) -> bool:
        return self.waiting > 0 and self.idle == 0 and self.size >= self.most


@dataclass(frozen=True, slots=True)
class Database:
    """`connections` by state; `most` None where it has no limit. `clock_skew_s`: its clock minus ours."""

    vendor: str
    version: str
    latency_s: float
    size_bytes: int
    clock_skew_s: float = 0.0
    connections: Mapping[str, int] = field(default_factory=dict)
    most: int | None = None
    longest_s: float = 0.0
    commits: int = 0
    rollbacks: int = 0
    deadlocks: int = 0


def pool() -> Pool | None:
    """None without a pool (SQLite), and before its first connection."""
    made = getattr(connection, "_connection_pools", {}).get(connection.alias)
    if made is None:
        return None
    told = made.get_stats()
    return Pool(
        size=told.get("pool_size", 0),
        most=told.get("pool_max", 0),
        idle=told.get("pool_available", 0),
        waiting=told.get("requests_waiting", 0),
        requests=told.get("requests_num", 0),
        errors=told.get("requests_errors", 0),
        waited_s=told.get("requests_wait_ms", 0) / 1000,
    )


def pool_samples() -> Iterator[Sample]:
    """Of this process; the collector adds the processes up."""
    found = pool()
    if found is None:
        return
    yield "permsite_database_pool_connections", ("used",), found.used
    yield "permsite_database_pool_connections", ("idle",), found.idle
    yield "permsite_database_pool_max", (), found.most
    yield "permsite_database_pool_waiting", (), found.waiting
    yield "permsite_database_pool_requests_total", (), found.requests
    yield "permsite_database_pool_errors_total", (), found.errors
    yield "permsite_database_pool_wait_seconds_total", (), found.waited_s


@contextmanager
def bounded() -> Iterator[Any]:
    """A cursor whose statements the server ends after TIMEOUT_MS. Gives the connection back where it is nobody else's."""
    try:
        with transaction.atomic(), connection.cursor() as cursor:
            if connection.vendor == "postgresql":
                cursor.execute("SELECT set_config('statement_timeout', %s, true)", [str(TIMEOUT_MS)])
            yield cursor
    finally:
        # In a transaction it is a test's, or the caller's.
        if not connection.in_atomic_block:
            connection.close()


def look() -> Database:
    """Raises DatabaseError and InterfaceError."""
    return _postgresql() if connection.vendor == "postgresql" else _sqlite()


def _sqlite() -> Database:
    path = Path(str(connection.settings_dict["NAME"]))
    began_s = time.perf_counter()
    try:
        # Not in a transaction: ours begin with BEGIN IMMEDIATE, and a look must wait for no writer.
        with connection.cursor() as cursor:
            cursor.execute("SELECT sqlite_version(), (SELECT count(*) FROM sqlite_master)")
            version = cursor.fetchone()[0]
    finally:
        if not connection.in_atomic_block:
            connection.close()
    latency_s = time.perf_counter() - began_s
    size = sum(part.stat().st_size for part in (path, path.with_name(path.name + "-wal")) if part.is_file())
    return Database("sqlite", version, latency_s, size)


def _postgresql() -> Database:
    with bounded() as cursor:
        began_s, began_at = time.perf_counter(), time.time()
        cursor.execute("SELECT extract(epoch FROM clock_timestamp())::float8, current_setting('server_version')")
        now_at, version = cursor.fetchone()
        latency_s = time.perf_counter() - began_s
        # In the middle of the round trip the server looked at its clock.
        skew_s = now_at - (began_at + latency_s / 2)
        cursor.execute(
            "SELECT coalesce(state, 'other'), count(*), "
            "coalesce(max(extract(epoch FROM clock_timestamp() - query_start)) FILTER "
            "(WHERE state = 'active' AND pid <> pg_backend_pid()), 0)::float8 "
            "FROM pg_stat_activity WHERE datname = current_database() AND backend_type = 'client backend' GROUP BY 1"
        )
        rows = cursor.fetchall()
        cursor.execute(
            "SELECT pg_database_size(datname), xact_commit, xact_rollback, deadlocks, current_setting('max_connections')::int "
            "FROM pg_stat_database WHERE datname = current_database()"
        )
        size, commits, rollbacks, deadlocks, most = cursor.fetchone()
    counted = dict.fromkeys((*(state.replace(" ", "_") for state in STATES), "other"), 0)
    for state, number, _ in rows:
        counted[state.replace(" ", "_") if state in STATES else "other"] += number
    return Database(
        "postgresql",
        version.split()[0],
        latency_s,
        size,
        clock_skew_s=skew_s,
        connections=counted,
        most=most,
        longest_s=max([row[2] for row in rows], default=0.0),
        commits=commits,
        rollbacks=rollbacks,
        deadlocks=deadlocks,
    )


def samples(found: Database) -> Iterator[Sample]:
    yield "permsite_database_up", (), 1
    yield "permsite_database_latency_seconds", (), found.latency_s
    yield "permsite_database_size_bytes", (), found.size_bytes
    if found.vendor != "postgresql":
        return
    yield "permsite_database_clock_skew_seconds", (), found.clock_skew_s
    for state, number in found.connections.items():
        yield "permsite_database_connections", (state,), number
    if found.most is not None:
        yield "permsite_database_connections_max", (), found.most
    yield "permsite_database_longest_statement_seconds", (), found.longest_s
    yield "permsite_database_transactions_total", ("commit",), found.commits
    yield "permsite_database_transactions_total", ("rollback",), found.rollbacks
    yield "permsite_database_deadlocks_total", (), found.deadlocks
