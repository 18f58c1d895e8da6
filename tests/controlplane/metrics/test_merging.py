"""Several processes as one: counters add up, each gauge by its declared rule, what all share from the newest look."""

from __future__ import annotations

from controlplane.collector import merging
from controlplane.collector.slots import VERSION, Page, Read
from resilience import telemetry

NOW_S = 1000.0


def read(slot, *, held=True, counters=(), gauges=(), looked=(), looked_s=0.0, kind="server"):
    page = Page(VERSION, kind, 1, NOW_S, list(counters), list(gauges), [], list(looked), looked_s)
    return Read(slot, page, held)


def test_every_gauge_has_its_rule_and_every_rule_its_gauge():
    gauges = {name for name, metric in telemetry.METRICS.items() if metric.kind == "gauge"}
    placed = {name for name in gauges if name in merging.RULES or name.startswith(merging.SHARED)}
    assert gauges - placed == set(), "declare in controlplane/collector/merging.py how processes' values become one"
    assert set(merging.RULES) <= gauges
    assert all("slot" in telemetry.METRICS[name].labels for name, rule in merging.RULES.items() if rule == "slot")
    assert all("slot" in telemetry.METRICS[name].labels for name in merging.BY_SLOT)


def test_no_label_names_a_process_or_a_caller():
    forbidden = {"pid", "process", "subject", "resource", "key", "id", "user", "address", "host", "instance"}
    assert {name for name, metric in telemetry.METRICS.items() if forbidden & set(metric.labels)} == set()


def test_counters_of_the_dead_count_and_their_gauges_do_not():
    count = ("permission_checks_total", ("allowed",), 5.0)
    entries = ("permission_cache_entries", ("subject",), 10.0)
    found = merging.merged(
        [read(0, counters=[count], gauges=[entries]), read(1, held=False, counters=[count], gauges=[entries])], NOW_S
    )
    assert found.counters["permission_checks_total", ("allowed",)] == 10
    assert found.gauges["permission_cache_entries", ("subject",)] == 10
    assert found.gauges["permsite_processes", ("server",)] == 1


def test_each_rule_does_what_it_says():
    def of(value):
        return [
            ("permission_cache_entries", ("subject",), value),
            ("resilience_circuit_breaker_state", ("mail",), value),
            ("resilience_storage_up", ("redis",), value),
            ("permsite_process_threads", (), value),
        ]

    found = merging.merged([read(0, gauges=of(2.0)), read(3, gauges=of(1.0))], NOW_S).gauges
    assert found["permission_cache_entries", ("subject",)] == 3
    assert found["resilience_circuit_breaker_state", ("mail",)] == 2
    assert found["resilience_storage_up", ("redis",)] == 1
    assert found["permsite_process_threads", ("0",)] == 2 and found["permsite_process_threads", ("3",)] == 1


def test_counters_of_redis_and_the_database_are_theirs_and_never_added_up():
    def seen(value):
        return [("permsite_redis_commands_total", (), value), ("permsite_redis_clients", (), value)]

    found = merging.merged(
        [read(0, looked=seen(100.0), looked_s=NOW_S - 9), read(1, looked=seen(120.0), looked_s=NOW_S - 1)], NOW_S
    )
    assert found.counters["permsite_redis_commands_total", ()] == 120 and found.gauges["permsite_redis_clients", ()] == 120


def test_what_somebody_saw_long_ago_or_before_he_died_is_not_told_as_now():
    seen = [("permsite_redis_up", (), 1.0)]
    old = read(0, looked=seen, looked_s=NOW_S - merging.LOOKED_S - 1)
    dead = read(1, held=False, looked=seen, looked_s=NOW_S)
    booted = read(2, looked=seen, looked_s=NOW_S + 500)  # written before the machine was started anew
    assert merging.merged([old, dead, booted], NOW_S).gauges == {("permsite_processes", ("server",)): 2}
