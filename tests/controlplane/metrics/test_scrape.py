"""One scrape: bounded in time, with the last values and a counted error where something hangs or is unknown."""

from __future__ import annotations

import threading

import pytest

from controlplane.collector import shared
from controlplane.collector.running import ERRORS, Collector
from controlplane.collector.scrape import Scrape
from controlplane.live.hub import Hub
from resilience import telemetry

STATE = ("permsite_state", ())


def errors(source: str) -> float:
    return telemetry.collect()[ERRORS].get((source,), 0)


@pytest.fixture
def collector(settings, tmp_path):
    settings.VAR = tmp_path
    return Collector()


def test_a_process_without_a_slot_tells_its_own_figures(collector):
    telemetry.count("resilience_lock_lost_total", "mine")
    found = Scrape(collector, lambda: {STATE: 1.0}).figures()
    assert found.gauges[STATE] == 1 and found.counters["resilience_lock_lost_total", ("mine",)] >= 1
    assert found.gauges["permsite_process_threads", ("0",)] >= 1


def test_a_state_that_hangs_is_told_as_it_was_and_the_error_counted(collector):
    free = threading.Event()
    answers = iter([{STATE: 2.0}])

    def state():
        for found in answers:
            return found
        free.wait(30)
        return {STATE: 0.0}

    scrape = Scrape(collector, state, limit_s=0.05)
    before = errors("frame")
    assert scrape.figures().gauges[STATE] == 2
    assert scrape.figures().gauges[STATE] == 2, "the last value stays"
    assert scrape.figures().gauges[STATE] == 2, "and no second thread waits for the same"
    assert errors("frame") == before + 2
    free.set()


def test_without_any_frame_nothing_is_said_of_the_state_and_the_error_is_counted(collector, monkeypatch):
    monkeypatch.setattr(shared, "HUB", Hub())
    before = errors("frame")
    found = Scrape(collector, shared.figures).figures()
    assert STATE not in found.gauges and ("permsite_led", ()) not in found.gauges
    assert errors("frame") == before + 1


def test_a_fresh_frame_is_told_and_unknown_figures_are_left_out():
    frame = {"state": "degraded", "nodes": 3, "p95_ms": 12.5, "hit_rate": None, "maintenance_open_ended": True, "firing": 0}
    found = shared.of_frame(frame, 0.4)
    assert found[STATE] == 1 and found["permsite_nodes", ()] == 3 and found["permsite_latency_seconds", ("0.95",)] == 0.0125
    assert found["permsite_led", ()] == 1 and found["permsite_maintenance_open_ended", ()] == 1
    assert found["permsite_alerts_firing", ()] == 0, "zero is known"
    assert ("permsite_cache_hit_ratio", ()) not in found


def test_an_old_frame_tells_its_age_and_nothing_as_now():
    found = shared.of_frame({"state": "ok", "nodes": 3}, shared.STALE_S + 0.1)
    assert found == {("permsite_frame_age_seconds", ()): shared.STALE_S + 0.1, ("permsite_led", ()): 0.0}


def test_a_folder_that_cannot_be_written_leaves_the_process_its_own_figures(settings, tmp_path):
    (tmp_path / "file").write_text("in the way")
    settings.VAR = tmp_path / "file"
    before = errors("slots")
    collector = Collector()
    collector._looked = {("permsite_host_cpus", ()): 2.0}
    collector._looked_s = collector._clock()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("controlplane.collector.running.look_around", lambda looker: {})
        collector.start("server")
        try:
            assert errors("slots") == before + 1
            assert Scrape(collector, dict).figures().gauges["permsite_process_threads", ("0",)] >= 1
        finally:
            collector.stop()


def test_two_users_of_one_process_share_its_slot_and_the_last_one_frees_it(settings, tmp_path, monkeypatch):
    monkeypatch.setattr("controlplane.collector.running.look_around", lambda looker: {})
    settings.VAR = tmp_path
    collector = Collector()
    collector.start("server")
    collector.start("server")
    collector.stop()
    assert collector.is_running and collector.gather().gauges["permsite_processes", ("server",)] == 1
    collector.stop()
    assert not collector.is_running


def test_only_the_lowest_slot_that_writes_looks_for_all(settings, tmp_path, monkeypatch):
    from controlplane.collector.slots import Figures, Slot

    monkeypatch.setattr("controlplane.collector.running.look_around", lambda looker: {("permsite_host_cpus", ()): 2.0})
    settings.VAR = tmp_path
    now = [100.0]
    first = Slot(tmp_path / "metrics", "server", lambda: now[0])
    first.write(Figures())
    collector = Collector(lambda: now[0])
    collector._slot = Slot(tmp_path / "metrics", "server", lambda: now[0])
    collector.look()
    assert collector._looked == {}
    now[0] += 10  # the first one stands still, and does not let go of its slot
    collector.look()
    assert collector._looked == {("permsite_host_cpus", ()): 2.0}
    collector._slot.close()
    first.close()
