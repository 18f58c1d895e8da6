"""Suggestions: a closed table, each with its rule, its page and its translation; each comes up for its cause and not without."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from controlplane.insight.database import Database, Pool
from controlplane.insight.findings import Findings, without_values
from controlplane.insight.host import Host
from controlplane.insight.store import Store
from controlplane.insight.suggestions import PAGE, RULES, TABLE, Seen, suggestions
from controlplane.insight.verdict import LAG_S

ROOT = Path(__file__).resolve().parents[3]
GB = 1024**3
STORE = Store("valkey", "8.1", 1, 0.001, 1 * GB, 0, ("allkeys-lru",), 5, 0, 100, 1, 0, 0, 0, 0)
HOST = Host((0.1, 0.1, 0.1), 4, 8 * GB, 4 * GB, 100 * GB, 50 * GB)
DATABASE = Database("postgresql", "18.1", 0.001, GB, 0.0, {"active": 1, "idle": 5}, 100)
WELL = Seen(
    database=DATABASE,
    pool=Pool(5, 10, 4, 0, 100, 0, 0.0),
    findings=Findings(has_statements=True),
    store=STORE,
    has_store=True,
    host=HOST,
    is_led=True,
    lag_s=0.001,
    workers=4,
)
ILL = {
    "database_down": replace(WELL, database=None, database_down=True, findings=None),
    "database_connections": replace(WELL, database=replace(DATABASE, connections={"idle": 95})),
    "pool_exhausted": replace(WELL, pool=Pool(10, 10, 0, 3, 100, 0, 1.0)),
    "slow_queries": replace(WELL, findings=Findings(True, slow=[{"query": "SELECT ?", "mean_ms": 200.0}])),
    "long_running": replace(WELL, findings=Findings(True, long=[{"query": "SELECT ?", "seconds": 60.0}])),
    "statements_unknown": replace(WELL, findings=Findings(has_statements=False)),
    "unused_indexes": replace(WELL, findings=Findings(True, unused=[{"index": "roles_idx"}])),
    "missing_indexes": replace(WELL, findings=Findings(True, missing=[{"table": "roles"}])),
    "sqlite_shared": replace(WELL, database=Database("sqlite", "3.40", 0.001, 1), findings=Findings()),
    "store_down": replace(WELL, store=None, store_down=True),
    "store_missing": replace(WELL, store=None, has_store=False),
    "store_evicts": replace(WELL, store=replace(STORE, max_bytes=4 * GB)),
    "store_full": replace(WELL, store=replace(STORE, max_bytes=1 * GB, policies=("noeviction",))),
    "no_leader": replace(WELL, is_led=False),
    "config_behind": replace(WELL, config_behind=1),
    "breaker_open": replace(WELL, open_breakers=("mail",)),
    "breaker_forced": replace(WELL, forced_breakers=("mail",)),
    "loop_lag": replace(WELL, lag_s=LAG_S),
    "log_failing": replace(WELL, log_failing=True),
    "live_stale": replace(WELL, live_stale=True),
    "maintenance_open_ended": replace(WELL, open_ended=True),
    "low_disk": replace(WELL, host=replace(HOST, disk_free=GB)),
    "low_memory": replace(WELL, host=replace(HOST, memory_available=GB // 10)),
    "clock_skew": replace(WELL, database=replace(DATABASE, clock_skew_s=-30.0)),
    "debug_on": replace(WELL, debug=True),
    "static_missing": replace(WELL, static_missing=True),
    "history_off": replace(WELL, history_off=True),
    "plain_http": replace(WELL, plain_http=True),
}


def codes(seen: Seen) -> list[str]:
    return [line["code"] for line in suggestions(seen, with_detail=False)]


def test_nothing_is_suggested_where_all_is_well():
    assert codes(WELL) == []


def test_a_redis_without_persistence_or_without_a_limit_is_well_too():
    assert codes(replace(WELL, store=replace(STORE, max_bytes=0, policies=("noeviction",)))) == []


def test_what_could_not_be_looked_at_suggests_nothing():
    assert codes(Seen()) == []


def test_table_rules_and_page_name_the_same_codes():
    assert set(TABLE) == set(RULES) == set(ILL)
    text = (ROOT / PAGE).read_text()
    assert set(re.findall(r"^## (\w+)$", text, re.M)) == set(TABLE)


@pytest.mark.parametrize("code", TABLE)
def test_each_comes_up_for_its_cause_alone(code):
    assert codes(ILL[code]) == [code]
    (line,) = suggestions(ILL[code], with_detail=False)
    assert line["severity"] in ("info", "warning", "critical") and line["text"] and line["action"]
    assert line["link"] == f"{PAGE}#{code}" and "detail" not in line


def test_the_worst_comes_first():
    seen = replace(WELL, history_off=True, is_led=False, lag_s=9.0)
    assert codes(seen) == ["no_leader", "loop_lag", "history_off"]


def test_names_of_indexes_and_texts_of_statements_are_for_operators():
    seen = replace(WELL, findings=Findings(True, slow=[{"query": "SELECT secret_column"}], unused=[{"index": "roles_idx"}]))
    assert "secret_column" not in str(suggestions(seen, with_detail=False))
    shown = {line["code"]: line.get("detail") for line in suggestions(seen, with_detail=True)}
    assert shown == {
        "slow_queries": {"slow": [{"query": "SELECT secret_column"}]},
        "unused_indexes": {"unused": [{"index": "roles_idx"}]},
    }


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("SELECT * FROM t WHERE name = 'alice'", "SELECT * FROM t WHERE name = ?"),
        ("SELECT 'it''s me', 42, 1.5 FROM t1", "SELECT ?, ?, ? FROM t1"),
        ("SELECT\n  1", "SELECT ?"),
        ("", ""),
    ],
)
def test_a_statement_is_shown_without_its_values(text, shown):
    assert without_values(text) == shown


def test_a_long_statement_is_cut():
    assert len(without_values("SELECT " + "a, " * 10_000)) == 300
