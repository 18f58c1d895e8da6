"""What PostgreSQL has noticed about itself: slow statements, indexes that nobody reads, tables that are read whole.

Names of tables and texts of statements are for operators. A text goes without its values: Django writes them into the statement,
and they may be anybody's.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any, Final

from django.db import connection

from controlplane.insight.database import bounded

# Milliseconds on average, of at least so many calls: far above what any statement of ours takes on a table in memory.
SLOW_MS: Final = 100.0
SLOW_CALLS: Final = 20
# Seconds that one statement has been running.
LONG_S: Final = 5.0
# An index that small costs nothing. Statistics younger than a day do not know what a nightly job reads.
INDEX_BYTES: Final = 8 * 1024 * 1024
OBSERVED_S: Final = 86_400.0
# Rows, and reads of all of them: below that the whole table is the quickest way.
BIG_ROWS: Final = 10_000
WHOLE_READS: Final = 100
MOST: Final = 5
MAX_TEXT: Final = 300
_VALUES: Final = re.compile(r"'(?:[^']|'')*'|\b\d+(?:\.\d+)?\b")


@dataclass(frozen=True, slots=True)
class Findings:
    """Each: what to show an operator, the worst first. `has_statements`: whether the server counts statements at all."""

    has_statements: bool = False
    slow: list[dict[str, Any]] = field(default_factory=list)
    long: list[dict[str, Any]] = field(default_factory=list)
    unused: list[dict[str, Any]] = field(default_factory=list)
    missing: list[dict[str, Any]] = field(default_factory=list)


def without_values(text: str) -> str:
    return " ".join(_VALUES.sub("?", text).split())[:MAX_TEXT]


def look() -> Findings:
    """Nothing on SQLite. Raises DatabaseError and InterfaceError."""
    if connection.vendor != "postgresql":
        return Findings()
    with bounded() as cursor:
        has_statements, slow = _slow(cursor)
        return Findings(has_statements, slow, _long(cursor), _unused(cursor), _missing(cursor))


def _rows(cursor: Any, names: tuple[str, ...]) -> list[dict[str, Any]]:
    return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]


def _slow(cursor: Any) -> tuple[bool, list[dict[str, Any]]]:
    # Installed here, loaded by the server, and readable by our login: each alone is not enough.
    cursor.execute(
        "SELECT to_regclass('pg_stat_statements') IS NOT NULL "
        "AND current_setting('shared_preload_libraries', true) LIKE '%pg_stat_statements%'"
    )
    if not cursor.fetchone()[0]:
        return False, []
    cursor.execute(
        "SELECT query, calls, mean_exec_time::float8, total_exec_time::float8 FROM pg_stat_statements "
        "WHERE dbid = (SELECT oid FROM pg_database WHERE datname = current_database()) AND calls >= %s AND mean_exec_time >= %s "
        "ORDER BY total_exec_time DESC LIMIT %s",
        [SLOW_CALLS, SLOW_MS, MOST],
    )
    found = _rows(cursor, ("query", "calls", "mean_ms", "total_ms"))
    return True, [{**row, "query": without_values(row["query"])} for row in found]


def _long(cursor: Any) -> list[dict[str, Any]]:
    cursor.execute(
        "SELECT query, extract(epoch FROM clock_timestamp() - query_start)::float8, state, coalesce(wait_event_type, '') "
        "FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid() "
        "AND backend_type = 'client backend' AND state IN ('active', 'idle in transaction') "
        "AND clock_timestamp() - CASE state WHEN 'active' THEN query_start ELSE state_change END > make_interval(secs => %s) "
        "ORDER BY 2 DESC LIMIT %s",
        [LONG_S, MOST],
    )
    found = _rows(cursor, ("query", "seconds", "state", "waits_for"))
    return [{**row, "query": without_values(row["query"])} for row in found]


def _unused(cursor: Any) -> list[dict[str, Any]]:
    # A unique index is a rule, whether anybody reads it or not. A replica's readers are not counted here, and said so.
    cursor.execute(
        "SELECT s.relname, s.indexrelname, pg_relation_size(s.indexrelid) FROM pg_stat_user_indexes s "
        "JOIN pg_index i ON i.indexrelid = s.indexrelid WHERE s.idx_scan = 0 AND NOT i.indisunique AND NOT i.indisprimary "
        "AND pg_relation_size(s.indexrelid) >= %s AND clock_timestamp() - coalesce("
        "(SELECT stats_reset FROM pg_stat_database WHERE datname = current_database()), pg_postmaster_start_time()) "
        "> make_interval(secs => %s) ORDER BY 3 DESC LIMIT %s",
        [INDEX_BYTES, OBSERVED_S, MOST],
    )
    return _rows(cursor, ("table", "index", "bytes"))


def _missing(cursor: Any) -> list[dict[str, Any]]:
    cursor.execute(
        "SELECT relname, n_live_tup, seq_scan, coalesce(idx_scan, 0) FROM pg_stat_user_tables WHERE n_live_tup >= %s "
        "AND seq_scan >= %s AND seq_tup_read / greatest(seq_scan, 1) >= n_live_tup / 2 AND seq_scan > coalesce(idx_scan, 0) / 10 "
        "ORDER BY seq_tup_read DESC LIMIT %s",
        [BIG_ROWS, WHOLE_READS, MOST],
    )
    return _rows(cursor, ("table", "rows", "whole_reads", "index_reads"))
