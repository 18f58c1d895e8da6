"""From beats to a frame: rates that never jump, whoever dies, restarts or has another clock."""

from __future__ import annotations

from typing import Any

import pytest

from controlplane.live.frames import Nodes, figures_of, instances, percentile
from resilience.clock import FakeClock

BOUNDS = [0.001, 0.01, 0.1]


def beat(node: str, seq: int, t: float, checks: tuple[float, float] = (0, 0), **more: Any) -> dict[str, Any]:
    """`t`: the process's own monotonic clock; allowed and denied checks since its start."""
    counts = {
        "permission_checks_total": {"allowed": checks[0], "denied": checks[1]},
        "permission_cache_hits_total": {"l1": checks[0], "redis": checks[1]},
        "permission_cache_misses_total": {"": 0},
        "permission_cache_live_total": {"": 0},
        **more.pop("counts", {}),
    }
    whole = {"v": 1, "node": node, "seq": seq, "t": t, "at": 0.0, "counts": counts, "gauges": {}, "requests": {}, "realms": {}}
    return {**whole, "host": "h", "pid": 1, "config_version": 3, **more}


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def nodes(clock: FakeClock) -> Nodes:
    return Nodes(clock.monotonic)


def test_rates_are_growth_by_the_process_own_clock(nodes: Nodes, clock: FakeClock) -> None:
    """Two hosts, one up for a year, one for a second; the wall clock of neither is asked."""
    nodes.take([beat("a", 1, 3e7, (100, 0), at=9e9), beat("b", 1, 1.0, (0, 40), at=1.0)])
    clock.advance(1.0)
    nodes.take([beat("a", 2, 3e7 + 0.5, (200, 0), at=9e9), beat("b", 2, 3.0, (0, 60), at=1.0)])
    found = figures_of(nodes)
    assert found["allowed_per_s"] == pytest.approx(200)
    assert found["denied_per_s"] == pytest.approx(10)
    assert found["checks_per_s"] == pytest.approx(210)
    assert found["deny_share"] == pytest.approx(10 / 210)
    assert found["hit_rate"] == pytest.approx(1.0)


def test_a_process_that_is_new_gives_no_rate_yet(nodes: Nodes, clock: FakeClock) -> None:
    nodes.take([beat("a", 1, 10.0, (5_000_000, 0))])
    found = figures_of(nodes)
    assert found["nodes"] == 1
    assert found["checks_per_s"] is None and found["deny_share"] is None and found["p95_ms"] is None


def test_nothing_is_unknown_not_zero(nodes: Nodes) -> None:
    found = figures_of(nodes)
    assert found["nodes"] == 0
    assert {name: value for name, value in found.items() if value is not None} == {"nodes": 0}


def test_a_killed_process_leaves_the_rates_without_a_negative_one(nodes: Nodes, clock: FakeClock) -> None:
    for second in range(1, 4):
        nodes.take([beat("a", second, second, (100 * second, 0)), beat("b", second, second, (1000 * second, 0))])
        clock.advance(1.0)
    assert figures_of(nodes)["checks_per_s"] == pytest.approx(1100)
    seen = []
    for second in range(4, 12):
        # b beats no more; its last beat stays in the store for a while
        dead = [beat("b", 3, 3, (3000, 0))] if second < 8 else []
        nodes.take([beat("a", second, second, (100 * second, 0)), *dead])
        seen.append(figures_of(nodes)["checks_per_s"])
        clock.advance(1.0)
    assert all(rate in (pytest.approx(1100), pytest.approx(100)) for rate in seen)
    assert seen[2:] == [pytest.approx(100)] * len(seen[2:])


def test_a_store_that_forgets_who_there_is_makes_no_second_without_checks(nodes: Nodes, clock: FakeClock) -> None:
    seen = []
    for second in range(1, 8):
        beats = [beat("a", second, second, (100 * second, 0)), beat("b", second, second, (1000 * second, 0))]
        # Between two beats everything in Redis was dropped, and one has told itself again already.
        nodes.take([] if second == 4 else beats[1:] if second == 5 else beats)
        seen.append(figures_of(nodes))
        clock.advance(1.0)
    assert [one["checks_per_s"] for one in seen[1:]] == [pytest.approx(1100)] * 6
    assert [one["nodes"] for one in seen] == [2] * 7


def test_its_successor_begins_without_a_jump(nodes: Nodes, clock: FakeClock) -> None:
    nodes.take([beat("a", 1, 1, (100, 0))])
    clock.advance(1.0)
    nodes.take([beat("a", 2, 2, (200, 0))])
    clock.advance(1.0)
    nodes.take([beat("a", 3, 3, (300, 0)), beat("b", 1, 0.1, (50, 0))])
    assert figures_of(nodes)["checks_per_s"] == pytest.approx(100)
    clock.advance(1.0)
    nodes.take([beat("a", 4, 4, (400, 0)), beat("b", 2, 1.1, (80, 0))])
    assert figures_of(nodes)["checks_per_s"] == pytest.approx(130)


def test_a_counter_that_was_set_back_is_no_negative_rate(nodes: Nodes, clock: FakeClock) -> None:
    nodes.take([beat("a", 1, 1, (1_000_000, 500), requests={"bounds": BOUNDS, "ways": {"wire": [100, 5, 0, 0]}})])
    clock.advance(1.0)
    nodes.take([beat("a", 2, 2, (10, 510), requests={"bounds": BOUNDS, "ways": {"wire": [3, 0, 0, 0]}})])
    found = figures_of(nodes)
    assert found["allowed_per_s"] == pytest.approx(10)
    assert found["denied_per_s"] == pytest.approx(10)
    assert found["requests_per_s"] == pytest.approx(3)
    assert found["p99_ms"] is not None and 0 < found["p99_ms"] <= 1.0


def test_a_beat_that_comes_twice_or_late_counts_once(nodes: Nodes, clock: FakeClock) -> None:
    nodes.take([beat("a", 1, 1, (100, 0))])
    nodes.take([beat("a", 2, 2, (200, 0)), beat("a", 1, 1, (100, 0))])
    for _ in range(2):
        nodes.take([beat("a", 2, 2, (200, 0))])
        assert figures_of(nodes)["checks_per_s"] == pytest.approx(100)
    nodes.take([beat("a", 1, 1, (100, 0))])
    assert figures_of(nodes)["checks_per_s"] == pytest.approx(100)


def test_silence_of_all_makes_every_figure_unknown(nodes: Nodes, clock: FakeClock) -> None:
    nodes.take([beat("a", 1, 1, (100, 0))])
    clock.advance(1.0)
    nodes.take([beat("a", 2, 2, (200, 0))])
    clock.advance(3.0)
    nodes.take([beat("a", 2, 2, (200, 0))])
    found = figures_of(nodes)
    assert found["nodes"] == 0 and found["checks_per_s"] is None and found["rss_mb"] is None


def test_beats_each_five_seconds_are_followed_as_such(clock: FakeClock) -> None:
    nodes = Nodes(clock.monotonic, beat_s=5.0)
    nodes.take([beat("a", 1, 1, (100, 0))])
    clock.advance(5.0)
    nodes.take([beat("a", 2, 6, (600, 0))])
    clock.advance(9.0)
    assert figures_of(nodes)["checks_per_s"] == pytest.approx(100)
    clock.advance(4.0)
    assert figures_of(nodes)["checks_per_s"] is None


@pytest.mark.parametrize(
    "wrong",
    [None, [], "x", 7, {}, {"v": 2}, {**beat("a", 1, 1), "seq": "1"}, {**beat("a", 1, 1), "counts": []},
     {**beat("a", 1, 1), "counts": {"permission_checks_total": 7}}, {**beat("a", 1, 1), "gauges": None}],
)  # fmt: skip
def test_what_is_no_beat_of_ours_is_left_out(nodes: Nodes, wrong: Any) -> None:
    nodes.take([wrong, beat("b", 1, 1)])
    assert figures_of(nodes)["nodes"] == 1


def test_percentiles_lie_within_their_bucket() -> None:
    assert percentile((1.0, 2.0, 4.0), [0, 0, 0, 0], 0.5) is None
    assert percentile((1.0, 2.0, 4.0), [10, 0, 0, 0], 0.5) == pytest.approx(0.5)
    assert percentile((1.0, 2.0, 4.0), [0, 10, 0, 0], 0.5) == pytest.approx(1.5)
    assert percentile((1.0, 2.0, 4.0), [98, 0, 2, 0], 0.99) == pytest.approx(3.0)
    # More than the last bound is not known.
    assert percentile((1.0, 2.0, 4.0), [0, 0, 0, 5], 0.5) == pytest.approx(4.0)


def test_percentiles_are_of_the_last_ten_seconds_of_all_processes(nodes: Nodes, clock: FakeClock) -> None:
    def asked(counts: list[int]) -> dict[str, Any]:
        return {"bounds": BOUNDS, "ways": {"wire": counts, "page": [0, 0, 0, 0]}}

    nodes.take([beat("a", 1, 1, requests=asked([0, 0, 0, 0])), beat("b", 1, 1, requests=asked([0, 0, 0, 0]))])
    clock.advance(1.0)
    nodes.take([beat("a", 2, 2, requests=asked([90, 0, 0, 0])), beat("b", 2, 2, requests=asked([0, 0, 10, 0]))])
    found = figures_of(nodes)
    assert found["requests_per_s"] == pytest.approx(100)
    assert found["p50_ms"] == pytest.approx(1 * 50 / 90, rel=0.01)
    assert 10 < found["p99_ms"] <= 100
    clock.advance(11.0)
    nodes.take([beat("a", 3, 13, requests=asked([90, 0, 0, 0]))])
    assert figures_of(nodes)["p50_ms"] is None


def test_gauges_are_the_worst_of_each_and_names_count_once(nodes: Nodes) -> None:
    one = {
        "resilience_circuit_breaker_state": {"mail": 2, "sms": 0},
        "resilience_circuit_breaker_forced": {"sms": 1},
        "resilience_storage_up": {"redis": 1},
        "resilience_bulkhead_in_flight": {"x": 3},
        "permsite_event_loop_lag_seconds": {"": 0.002},
        "permsite_sockets_open": {"": 5},
    }
    other = {**one, "resilience_storage_up": {"redis": 0}, "permsite_event_loop_lag_seconds": {"": 0.5}}
    nodes.take(
        [
            beat("a", 1, 1, gauges=one, config_version=4, realms={"shop": {"revision": 7, "age_s": 0.1}}, rss_mb=100.0),
            beat("b", 1, 1, gauges=other, config_version=3, realms={"shop": {"revision": 5, "age_s": 2.5}}, rss_mb=50.0),
            beat("c", 1, 1, config_version=4, realms={"shop": {"revision": 1, "age_s": None}}),
        ]
    )
    found = figures_of(nodes)
    assert (found["open_breakers"], found["forced_breakers"], found["storage_up"]) == (1, 1, 0)
    assert (found["bulkhead_in_flight"], found["sockets"], found["rss_mb"]) == (6, 10, 150.0)
    assert found["loop_lag_ms"] == pytest.approx(500)
    assert (found["config_version"], found["config_behind"]) == (4, 1)
    # An idle process is no lag: it catches up when it is asked.
    assert (found["revision"], found["revision_lag"], found["age_s"]) == (7, 2, 2.5)
    shown = {one["id"]: one for one in instances(nodes)}
    assert shown["b"]["revision_lag"] == 2 and shown["c"]["revision_lag"] == 0 and shown["c"]["age_s"] is None
    assert shown["a"]["breakers"] == {"mail": 2, "sms": 0}


def test_an_instance_without_a_late_beat_is_marked(nodes: Nodes, clock: FakeClock) -> None:
    nodes.take([beat("a", 1, 1), beat("b", 1, 1)])
    clock.advance(3.0)
    nodes.take([beat("a", 1, 1), beat("b", 2, 4)])
    assert {one["id"]: one["late"] for one in instances(nodes)} == {"a": True, "b": False}
