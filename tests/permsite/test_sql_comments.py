"""Trace ids in statements: only where asked for, only ids, and never a way into the statement."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.db import connection

from permsite.sql_comments import Comments
from resilience import trace

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = f"00-{TRACE}-00f067aa0ba902b7"


@pytest.fixture(autouse=True)
def _alone() -> Iterator[None]:
    trace.clear()
    yield
    trace.clear()


def seen(mode: str, sql: Any = "SELECT 1") -> Any:
    kept: list[Any] = []
    Comments(only_sampled=mode == "sampled")(lambda sql, *_: kept.append(sql), sql, None, False, {})
    return kept[0]


def test_a_statement_says_which_trace_it_is_of() -> None:
    begun = trace.begin(f"{PARENT}-01")
    assert seen("sampled") == f"SELECT 1 /* trace_id={TRACE} span_id={begun.span_id} */"
    assert seen("all") == seen("sampled")


def test_a_trace_that_nobody_keeps_is_told_only_where_all_are() -> None:
    trace.begin(f"{PARENT}-00")
    assert seen("sampled") == "SELECT 1"
    assert TRACE in seen("all")


def test_outside_of_a_request_a_statement_stays_as_it_is() -> None:
    assert seen("all") == "SELECT 1"
    trace.begin(f"{PARENT}-01")
    assert seen("all", "") == "" and seen("all", b"SELECT 1") == b"SELECT 1"


def test_a_request_id_and_a_forged_trace_never_reach_a_statement() -> None:
    trace.begin("00-*/ DROP TABLE x; --" + "a" * 12 + "-00f067aa0ba902b7-01", "*/ DROP TABLE x; --")
    trace.note(realm="*/ r", actor="*/ a")
    assert "DROP" not in seen("all") and seen("all").count("*/") == 1


@pytest.mark.both_databases
def test_the_database_takes_it_with_and_without_values(db: None) -> None:
    trace.begin(f"{PARENT}-01")
    with connection.execute_wrapper(Comments(only_sampled=True)), connection.cursor() as cursor:
        cursor.execute("SELECT %s || '%%'", ["50"])
        assert cursor.fetchone() == ("50%",)
        cursor.execute("SELECT 1")
        assert cursor.fetchone() == (1,)
