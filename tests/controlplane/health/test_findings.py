"""What a real PostgreSQL notices about itself is found: planted slow statements, unread indexes, tables read whole."""

from __future__ import annotations

import threading

import pytest
from django.db import connection, connections

from controlplane.insight import database, findings

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def _in_time(request, monkeypatch):
    """What is told is tested here, not how fast a busy machine tells it."""
    if "too_long" not in request.node.name:
        monkeypatch.setattr(database, "TIMEOUT_MS", 20_000)


@pytest.fixture
def table(monkeypatch):
    monkeypatch.setattr(findings, "INDEX_BYTES", 8192)
    monkeypatch.setattr(findings, "OBSERVED_S", 0.0)
    with connection.cursor() as cursor:
        cursor.execute("CREATE TABLE planted (id int PRIMARY KEY, name text, other int)")
        cursor.execute("INSERT INTO planted SELECT n, 'name ' || n, n FROM generate_series(1, 20000) n")
        cursor.execute("CREATE INDEX planted_unread ON planted (other)")
        cursor.execute("CREATE UNIQUE INDEX planted_rule ON planted (name)")
        # Counted before ANALYZE counts them, or the rows are there twice.
        told(cursor)
        cursor.execute("ANALYZE planted")
    yield
    with connection.cursor() as cursor:
        cursor.execute("DROP TABLE planted")


def told(cursor) -> None:
    """Statistics are written at the end of a transaction, at most once a second, unless asked for."""
    cursor.execute("SELECT pg_stat_force_next_flush()")


def test_an_index_that_nobody_reads_is_named_and_a_rule_of_uniqueness_is_not(table):
    found = [row["index"] for row in findings.look().unused]
    assert "planted_unread" in found
    assert not {"planted_rule", "planted_pkey"} & set(found)


def test_a_big_table_that_is_read_whole_is_named_and_one_read_by_its_index_is_not(table, monkeypatch):
    monkeypatch.setattr(findings, "WHOLE_READS", 5)
    with connection.cursor() as cursor:
        for _ in range(8):
            cursor.execute("SELECT max(name), max(other + id) FROM planted WHERE other % 2 = 0")
        told(cursor)
    (row,) = [row for row in findings.look().missing if row["table"] == "planted"]
    assert row["rows"] == 20_000 and row["whole_reads"] >= 8
    with connection.cursor() as cursor:
        for number in range(400):
            cursor.execute("SELECT other FROM planted WHERE id = %s", [number])
        told(cursor)
    assert [row for row in findings.look().missing if row["table"] == "planted"] == []


def test_a_statement_that_runs_long_is_named_without_its_values(monkeypatch):
    monkeypatch.setattr(findings, "LONG_S", 0.2)
    begun, ended = threading.Event(), threading.Event()

    def hold() -> None:
        with connections["default"].cursor() as cursor:
            cursor.execute("BEGIN")
            cursor.execute("SELECT 'user:alice'")
            begun.set()
            ended.wait(30)
            cursor.execute("ROLLBACK")
        connections["default"].close()

    thread = threading.Thread(target=hold)
    thread.start()
    try:
        assert begun.wait(30)
        found: list[dict[str, object]] = []
        while not found:
            found = [row for row in findings.look().long if row["query"] == "SELECT ?"]
        assert found[0]["state"] == "idle in transaction"
    finally:
        ended.set()
        thread.join()


def test_without_pg_stat_statements_nothing_is_claimed_of_slow_statements():
    found = findings.look()
    assert not found.has_statements and found.slow == []


def test_the_server_ends_a_look_that_takes_too_long(monkeypatch):
    from django.db import OperationalError

    with pytest.raises(OperationalError), database.bounded() as cursor:
        cursor.execute("SELECT pg_sleep(30)")
    monkeypatch.setattr(database, "TIMEOUT_MS", 20_000)
    assert database.look().vendor == "postgresql", "and the next one is answered"


def test_what_the_database_says_of_itself_is_whole():
    found = database.look()
    assert found.version.startswith(("15", "16", "17", "18")) and found.size_bytes > 1_000_000 and (found.most or 0) > 10
    assert sum(found.connections.values()) >= 1 and abs(found.clock_skew_s) < 60 and found.commits > 0
    names = {name for name, _, _ in database.samples(found)}
    assert {"permsite_database_up", "permsite_database_connections", "permsite_database_deadlocks_total"} <= names
