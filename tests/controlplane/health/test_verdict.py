"""Degraded told apart from down: as a table of facts, and the same for probes, health page and frame."""

from __future__ import annotations

import pytest

from controlplane.insight.verdict import BOUND_S, DISK_BYTES, LAG_S, Facts, of_frame, verdict

GB = 1024**3


@pytest.mark.parametrize(
    ("facts", "state", "causes"),
    [
        (Facts(), "ok", ()),
        (Facts(0.0, True, True, 0, 0, 0.0, False, True, 50.0 * GB, 100.0 * GB), "ok", ()),
        (Facts(database_away_s=0.1), "degraded", ("database_away",)),
        (Facts(database_away_s=BOUND_S), "degraded", ("database_away",)),
        (Facts(database_away_s=BOUND_S + 0.01), "down", ("database_down",)),
        (Facts(store_up=False), "degraded", ("store_down",)),
        (Facts(is_led=False), "degraded", ("no_leader",)),
        (Facts(open_breakers=1), "degraded", ("breaker_open",)),
        (Facts(config_behind=2), "degraded", ("config_behind",)),
        (Facts(lag_s=LAG_S), "degraded", ("loop_lag",)),
        (Facts(lag_s=LAG_S - 0.01), "ok", ()),
        (Facts(log_failing=True), "degraded", ("log_failing",)),
        (Facts(live_up=False), "degraded", ("live_down",)),
        (Facts(disk_free_bytes=1.0 * GB, disk_total_bytes=100.0 * GB), "degraded", ("disk_full",)),
        (Facts(disk_free_bytes=DISK_BYTES - 1.0, disk_total_bytes=0.2 * GB), "degraded", ("disk_full",)),
        (Facts(disk_free_bytes=1.0), "ok", ()),
        (Facts(is_closed=True), "degraded", ("maintenance_full",)),
        (Facts(processes=0), "degraded", ("no_process",)),
        (Facts(BOUND_S + 1, store_up=False, is_led=False), "down", ("database_down", "store_down", "no_leader")),
    ],
)
def test_each_fact_has_its_word(facts, state, causes):
    told = verdict(facts)
    assert (told.state, told.causes) == (state, causes)


def test_only_the_database_brings_the_site_down():
    """Redis, leader, breakers, log and live transport all at once leave every answer right."""
    everything = Facts(0.0, False, False, 9, 9, 9.0, True, False, 0.0, 1.0 * GB, True, 0)
    assert verdict(everything).state == "degraded" and len(verdict(everything).causes) == 10


@pytest.mark.parametrize(
    ("frame", "state"),
    [
        ({}, "ok"),
        ({"database_up": 1, "storage_up": 1, "open_breakers": 0, "nodes": 2, "maintenance": "off"}, "ok"),
        ({"database_up": 1, "storage_up": 0}, "degraded"),
        ({"database_up": None, "storage_up": None, "open_breakers": None, "loop_lag_ms": None}, "ok"),
        ({"database_up": 1, "open_breakers": 1}, "degraded"),
        ({"database_up": 1, "loop_lag_ms": 1200.0}, "degraded"),
        ({"database_up": 1, "maintenance": "full"}, "degraded"),
        ({"database_up": 1, "maintenance": "read_only"}, "ok"),
        ({"database_up": 0, "storage_up": 1}, "down"),
    ],
)
def test_a_frame_is_judged_by_the_same_rules(frame, state):
    assert of_frame(frame).state == state
