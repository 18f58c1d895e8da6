"""The sampler: who leads makes the frames, through every loss of the database, of the store, and of the lead."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from controlplane.live.history import RECENT
from controlplane.live.hub import Hub
from controlplane.live.memory import MemoryStore
from controlplane.live.port import FRAME, LiveError
from controlplane.loop import lease, probing
from controlplane.loop.lease import LostLease, Term
from controlplane.loop.probing import Probe
from controlplane.loop.sampling import Lead, Sampler
from controlplane.models import FrameMean
from permsite.launcher import Launcher
from resilience.clock import FakeClock
from resilience.redis_client import redis_client
from tests.controlplane.live.test_frames import beat


class Leader:
    def __init__(self, fence: int) -> None:
        self.term: Term | None = Term(f"host:1:lead{fence}", fence, {})
        self.is_away = False


class Site:
    """A store that all share, one hub a process, no threads."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.clock = FakeClock()
        self.store = MemoryStore(self.clock)
        self.is_store_away = False
        self.frames: list[dict[str, Any]] = []
        self.store.listen(lambda kind, body: self.frames.append(msgspec.json.decode(body)) if kind == FRAME else None)
        self.ticks: list[tuple[int, bool]] = []
        monkeypatch.setattr(probing.Probe, "start", lambda _self: None)

    def make(self) -> MemoryStore:
        return self.store

    def sampler(self, leader: Leader) -> Sampler:
        hub = Hub(self.clock, self.make)
        self.store.listen(hub._heard)
        made = Sampler(leader, self, clock=self.clock, make=self.make, hub=hub)
        made.hub = hub  # type: ignore[attr-defined]  # for the tests
        return made

    def tick(self, frame: Any, lead: Lead) -> None:
        self.ticks.append((lead.fence, lead.database_away))

    def second(self, *samplers: Sampler) -> None:
        self.clock.advance(1.0)
        for sampler in samplers:
            sampler._hub.turn()
            sampler.turn()
            sampler.turn_rows()


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Any:
    made = Site(monkeypatch)
    monkeypatch.setattr(Sampler, "_roll_up", lambda _self, _lead: None)
    yield made
    RECENT.end()


def last(site: Site) -> tuple[int, int]:
    return site.frames[-1]["fence"], site.frames[-1]["seq"]


def test_only_who_leads_makes_frames(site: Site) -> None:
    leader, other = Leader(1), Leader(0)
    other.term = None
    one, two = site.sampler(leader), site.sampler(other)
    for _ in range(3):
        site.second(one, two)
    assert [frame["seq"] for frame in site.frames] == [1, 2, 3]
    assert site.ticks == [(1, False)] * 3
    assert len(site.store.frames(60)) == 3


def test_a_frame_is_small_and_names_every_figure(site: Site) -> None:
    site.store.beat("a", msgspec.json.encode(beat("a", 1, 1.0)))
    sampler = site.sampler(Leader(1))
    site.second(sampler)
    site.store.beat("a", msgspec.json.encode(beat("a", 2, 2.0, (1234567.891, 3))))
    site.second(sampler)
    frame = site.frames[-1]
    assert frame["checks_per_s"] == 1234570.0
    wanted = (
        "v seq at state nodes checks_per_s allowed_per_s denied_per_s errors_per_s deny_share p50_ms p95_ms p99_ms "
        "requests_per_s hit_rate hit_l1 hit_redis misses_per_s penetration_per_s live_per_s invalidations_per_s "
        "l2_errors_per_s open_breakers forced_breakers refused_per_s limited_share bulkhead_in_flight "
        "bulkhead_refused_per_s storage_up database_up database_ms redis_ms age_s revision revision_lag config_version "
        "config_behind loop_lag_ms rss_mb cpu_percent sockets events_dropped_per_s internal_errors_per_s "
        "condition_errors_per_s firing pending maintenance maintenance_open_ended leader alerts_at "
    )
    assert set(wanted.split()) <= set(frame)
    assert len(msgspec.json.encode(frame)) < 2_048


def test_the_last_leader_goes_on_without_the_database_and_says_so(site: Site) -> None:
    leader = Leader(3)
    sampler = site.sampler(leader)
    site.second(sampler)
    leader.term, leader.is_away = None, True
    for _ in range(5):
        site.second(sampler)
    assert last(site) == (3, 6) and site.frames[-1]["database_up"] == 0
    assert site.ticks[-1] == (3, True)
    with pytest.raises(LostLease), Lead(Term("h", 3, {}), database_away=True).acting():
        pass


def test_who_never_led_does_not_begin_because_the_database_is_away(site: Site) -> None:
    leader = Leader(3)
    leader.term, leader.is_away = None, True
    sampler = site.sampler(leader)
    site.second(sampler)
    assert site.frames == []


def test_who_lost_the_lease_to_another_makes_no_more(site: Site) -> None:
    leader = Leader(3)
    sampler = site.sampler(leader)
    site.second(sampler)
    leader.term = None
    site.second(sampler)
    assert last(site) == (3, 1)


def test_a_leader_that_hears_a_later_term_stands_down_and_the_figures_of_the_next_go_on(site: Site) -> None:
    """The old one was cut off from the database, or stopped: it does not know yet."""
    old, new = Leader(1), Leader(2)
    new.term, term = None, new.term
    one, two = site.sampler(old), site.sampler(new)
    site.second(one, two)
    old.term, old.is_away = None, True
    new.term = term
    for _ in range(3):
        site.second(two, one)
    assert {frame["fence"] for frame in site.frames[1:]} == {2}
    # The new one is killed: nobody else is heard, and the old one may be the last there is.
    for _ in range(7):
        site.second(one)
    assert site.frames[-1]["fence"] == 1


def test_frames_go_on_while_the_store_is_away_and_know_nothing(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    sampler = site.sampler(Leader(1))
    for seq in (1, 2):
        site.store.beat("a", msgspec.json.encode(beat("a", seq, float(seq), (100.0 * seq, 0))))
        site.second(sampler)
    assert sampler._frame is not None and sampler._frame["checks_per_s"] == 100.0

    def away(*_given: object) -> Any:
        raise LiveError("away")

    with monkeypatch.context() as gone:
        for name in ("nodes", "publish", "put_frame"):
            gone.setattr(site.store, name, away)
        for _ in range(4):
            site.second(sampler)
        assert sampler._frame["nodes"] == 0 and sampler._frame["checks_per_s"] is None
        assert site.ticks[-1] == (1, False)
    site.second(sampler)
    assert site.frames[-1]["seq"] == 7


def test_a_fault_of_the_alerts_stops_no_frame(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(frame: Any, lead: Lead) -> None:
        raise RuntimeError("the rule's fault")

    sampler = site.sampler(Leader(1))
    monkeypatch.setattr(site, "tick", failing)
    site.second(sampler)
    site.second(sampler)
    assert last(site) == (1, 2)


def test_a_new_leader_goes_on_with_the_history_of_the_old(site: Site) -> None:
    one = site.sampler(Leader(1))
    for _ in range(3):
        site.second(one)
    one._stand_down()
    two = site.sampler(Leader(2))
    site.second(two)
    assert [frame["fence"] for frame in RECENT.since(0.0)] == [1, 1, 1, 2]


def test_a_probe_that_hangs_is_a_no_after_a_while() -> None:
    clock = FakeClock()
    fault: list[Exception] = []

    def ask() -> None:
        if fault:
            raise fault[0]

    probe = Probe("redis", ask, (OSError,), clock)
    probe._began_at = clock.monotonic()
    seen: list[int | None] = [probe.up]
    clock.advance(4.0)
    seen.append(probe.up)
    probe.turn()
    seen.append(probe.up)
    assert probe.ms is not None
    clock.advance(4.0)
    seen.append(probe.up)
    fault.append(OSError("refused"))
    probe.turn()
    assert [*seen, probe.up, probe.ms] == [None, 0, 1, 0, 0, None]


@pytest.mark.django_db
@pytest.mark.both_databases
def test_roll_ups_are_written_under_the_fence_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease, "STALLED_S", 600.0)
    made = Site(monkeypatch)
    term = lease.take("host:1:me")
    assert term is not None
    leader = Leader(term.fence)
    leader.term = term
    sampler = made.sampler(leader)
    old = [{"at": 1_700_000_000.0 + second, "checks_per_s": float(second)} for second in range(130)]
    RECENT.begin(old)
    monkeypatch.setattr("controlplane.loop.sampling.time.time", lambda: 1_700_000_130.0)
    sampler._roll_up(Lead(Term("host:2:other", term.fence + 1, {})))
    assert not FrameMean.objects.exists()
    sampler._roll_up(Lead(term))
    assert FrameMean.objects.filter(step_s=60).count() == 2
    RECENT.end()


def test_a_redis_that_takes_nothing_is_as_good_as_away(settings: Any) -> None:
    with Launcher() as launcher:
        settings.REDIS_URL = launcher.redis().url
        probe = probing.redis()
        assert probe is not None
        probe.turn()
        seen = [probe.up]
        with redis_client(settings.REDIS_URL, timeout_s=5.0) as server:
            for name, full, free in (("maxmemory", "1", "0"), ("min-replicas-to-write", "1", "0")):
                server.config_set(name, full)
                probe.turn()
                seen.append(probe.up)
                server.config_set(name, free)
                probe.turn()
                seen.append(probe.up)
        assert seen == [1, 0, 1, 0, 1]
