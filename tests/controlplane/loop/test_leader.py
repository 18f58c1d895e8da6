"""The leader's schedule, by a clock that a test moves: what is due is done, what fails stops nothing, a lost lease ends it."""

from __future__ import annotations

import logging
import random
import threading
from collections.abc import Callable, Iterator
from itertools import pairwise

import pytest
from django.db import OperationalError

from controlplane.loop import leader as module
from controlplane.loop import lease
from controlplane.loop.leader import MAX_RETRY_S, PAUSE_S, POLL_S, RENEW_S, Leader, beside
from controlplane.loop.lease import Act, Term
from resilience import telemetry
from resilience.clock import FakeClock
from tests.controlplane.loop.rows import run_out, seen

pytestmark = [pytest.mark.django_db, pytest.mark.both_databases]


class Fixed(random.Random):
    """No jitter: the middle of every range."""

    def uniform(self, a: float, b: float) -> float:
        return (a + b) / 2


class Work:
    """`rounds`: what its steps answer, then False for ever. `fault`: raised by each look while it is set."""

    def __init__(self, name: str = "work", interval_s: float = 10.0, rounds: list[bool] | None = None) -> None:
        self.name = name
        self.interval_s = interval_s
        self.rounds = rounds or []
        self.looks = 0
        self.steps = 0
        self.has_work = True
        self.fault: Exception | None = None
        self.during: Callable[[], object] = lambda: None

    def look(self, term: Term) -> bool:
        self.looks += 1
        if self.fault is not None:
            raise self.fault
        self.during()
        return self.has_work

    def step(self, act: Act) -> bool:
        self.steps += 1
        return self.rounds.pop(0) if self.rounds else False


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


def candidate(*tasks: Work, clock: FakeClock, holder: str = "") -> Leader:
    return Leader(tasks, holder=holder, clock=clock, chance=Fixed())


@pytest.fixture(autouse=True)
def _uncounted() -> Iterator[None]:
    telemetry.reset()
    yield
    telemetry.reset()


def counted(task: str, result: str) -> float:
    return telemetry.collect()["permsite_loop_steps_total"].get((task, result), 0)


def test_it_leads_does_what_is_due_and_says_when_to_come_again(clock):
    work = Work(interval_s=10.0)
    leads = candidate(work, clock=clock)
    assert leads.turn() == pytest.approx(RENEW_S)
    assert leads.term is not None and work.steps == 1
    clock.advance(RENEW_S)
    assert leads.turn() == pytest.approx(RENEW_S)
    assert work.steps == 1
    clock.advance(7.0)
    leads.turn()
    assert work.steps == 2


class Renewals(list[float]):
    """In place of `lease.renew`: always granted, and when it was asked for."""

    def __init__(self, clock: FakeClock) -> None:
        super().__init__()
        self._clock = clock

    def __call__(self, term: Term) -> bool:
        self.append(self._clock.monotonic())
        return True


def test_the_lease_is_renewed_in_time(clock, monkeypatch):
    renewed = Renewals(clock)
    monkeypatch.setattr(lease, "renew", renewed)
    leads = candidate(Work(interval_s=0.5), clock=clock)
    for _ in range(40):
        clock.advance(leads.turn())
    gaps = [b - a for a, b in pairwise(renewed)]
    assert len(renewed) > 4 and max(gaps) <= RENEW_S + 0.5


def test_another_stands_by_and_does_nothing(clock):
    work = Work()
    candidate(clock=clock, holder="first").turn()
    second = candidate(work, clock=clock)
    assert second.turn() == pytest.approx(POLL_S)
    assert second.term is None and work.looks == 0


def test_it_takes_over_once_the_lease_has_run_out(clock):
    work = Work()
    candidate(clock=clock, holder="first").turn()
    second = candidate(work, clock=clock)
    second.turn()
    run_out()
    second.turn()
    assert second.term is not None and work.steps == 1


def test_it_takes_over_at_once_from_one_that_has_ended(clock):
    first, second = candidate(clock=clock), candidate(clock=clock)
    first.turn()
    second.turn()
    first.close()
    second.turn()
    assert second.term is not None and first.term is None


def test_a_lease_lost_before_a_step_is_noticed_before_it_acts(clock):
    work = Work()

    def lose() -> None:
        run_out()
        lease.take("another")

    work.during = lose
    leads = candidate(work, clock=clock)
    assert leads.turn() == pytest.approx(POLL_S)
    assert work.steps == 0 and leads.term is None
    assert counted("work", "lost") == 1
    assert seen().holder == "another"


def test_a_lease_that_cannot_be_renewed_ends_the_leading_before_the_next_task(clock):
    work = Work(interval_s=0.1)
    leads = candidate(work, clock=clock)
    leads.turn()
    run_out()
    clock.advance(RENEW_S)
    looks = work.looks
    leads.turn()
    assert leads.term is None and work.looks == looks


def test_a_task_with_more_to_do_goes_on_after_a_pause_that_lets_others_write(clock):
    work, other = Work(interval_s=60.0, rounds=[True, True]), Work("other", interval_s=0.04)
    leads = candidate(work, other, clock=clock)
    for steps in (1, 2, 3):
        assert leads.turn() <= PAUSE_S
        assert work.steps == steps
        clock.advance(PAUSE_S)
    leads.turn()
    assert work.steps == 3 and other.steps == 4


def test_a_task_with_nothing_to_do_opens_no_transaction(clock):
    work = Work()
    work.has_work = False
    candidate(work, clock=clock).turn()
    assert (work.looks, work.steps) == (1, 0)
    assert counted("work", "idle") == 1


def test_a_task_that_fails_stops_no_other_and_is_tried_again(clock, caplog):
    bad, good = Work("bad", interval_s=1.0), Work("good", interval_s=1.0)
    bad.fault = ValueError("broken")
    leads = candidate(bad, good, clock=clock)
    with caplog.at_level(logging.INFO, logger="controlplane.loop"):
        leads.turn()
        assert (bad.looks, good.steps) == (1, 1) and counted("bad", "failed") == 1
        assert "task bad failed (1 in a row): ValueError" in caplog.text and "broken" in caplog.text
        clock.advance(1.0)
        leads.turn()
        assert (bad.looks, good.steps) == (2, 2)
        bad.fault = None
        clock.advance(2.0)
        leads.turn()
    assert bad.steps == 1 and leads.failed == [] and "task bad works again" in caplog.text


def test_a_task_that_keeps_failing_is_tried_less_and_less_often_but_for_ever(clock):
    bad = Work("bad", interval_s=1.0)
    bad.fault = ValueError("broken")
    leads = candidate(bad, clock=clock)
    leads.turn()
    tried = []
    for _ in range(4000):
        clock.advance(1.0)
        before = bad.looks
        leads.turn()
        if bad.looks > before:
            tried.append(clock.monotonic())
    gaps = [b - a for a, b in pairwise(tried)]
    assert gaps == sorted(gaps) and gaps[0] == 2.0 and gaps[-1] == MAX_RETRY_S


def test_the_trace_of_a_fault_that_stays_is_logged_once(clock, caplog):
    bad = Work("bad", interval_s=1.0)
    bad.fault = ValueError("broken")
    leads = candidate(bad, clock=clock)
    for _ in range(50):
        leads.turn()
        clock.advance(1.0)
    assert counted("bad", "failed") > 3 and caplog.text.count("Traceback") == 1


def test_a_fault_of_the_database_in_a_task_has_the_lease_asked_for_before_the_next(clock, monkeypatch):
    bad, good = Work("bad"), Work("good")
    bad.fault = OperationalError("gone")
    looks = []

    def renew(term: Term) -> bool:
        looks.append((bad.looks, good.looks))
        return True

    monkeypatch.setattr(lease, "renew", renew)
    candidate(bad, good, clock=clock).turn()
    assert looks[0] == (1, 0) and good.steps == 1


def test_without_its_database_it_steps_down_says_so_once_and_comes_back(clock, monkeypatch, caplog):
    leads = candidate(Work(), clock=clock)
    leads.turn()

    def away(*_: object) -> None:
        raise OperationalError("no route to db.internal")

    with monkeypatch.context() as patch, caplog.at_level(logging.INFO, logger="controlplane.loop"):
        patch.setattr(lease, "renew", away)
        patch.setattr(lease, "peek", away)
        for _ in range(5):
            clock.advance(RENEW_S)
            assert leads.turn() == pytest.approx(POLL_S)
        assert leads.term is None
        assert caplog.text.count("the database does not answer (OperationalError); asks again") == 1
        assert "db.internal" not in caplog.text
    # Its own lease still holds, and is its own to take.
    with caplog.at_level(logging.INFO, logger="controlplane.loop"):
        leads.turn()
    assert (seen().holder, seen().fence, seen().is_led) == (leads.holder, 2, True)
    assert "the database answers again" in caplog.text


def test_who_leads_is_told_to_listeners_and_counted(clock):
    heard: list[str] = []
    telemetry.subscribe(lambda event: heard.append(f"{event.name} {event.attributes['fence']}"), "loop.")
    leads = candidate(clock=clock)
    leads.turn()
    assert telemetry.collect()["permsite_loop_leads"][()] == 1
    leads.close()
    assert heard == ["loop.led 1", "loop.lost 1"]
    assert telemetry.collect()["permsite_loop_leads"][()] == 0


def test_the_tasks_of_two_sites_do_not_meet_for_ever(clock):
    leads = Leader([Work(interval_s=100.0)], clock=clock, chance=random.Random(7))
    leads.turn()
    due = {round(leads._jittered(100.0), 3) for _ in range(50)}
    assert len(due) > 40 and 90 <= min(due) < max(due) <= 110


def test_once_runs_every_task_to_its_end_and_gives_the_lease_back(clock):
    work, other = Work(rounds=[True] * 5), Work("other")
    leads = candidate(work, other, clock=clock)
    assert leads.once()
    assert (work.steps, other.steps) == (6, 1) and not seen().is_led


def test_once_leaves_it_to_the_leader_there_is(clock):
    lease.take("another")
    work = Work()
    assert not candidate(work, clock=clock).once()
    assert work.looks == 0 and seen().holder == "another"


def test_once_tells_which_task_failed_and_runs_the_rest(clock):
    bad, good = Work("bad"), Work("good")
    bad.fault = ValueError("broken")
    leads = candidate(bad, good, clock=clock)
    assert leads.once()
    assert leads.failed == ["bad"] and good.steps == 1


def test_a_long_sweep_renews_the_lease_on_its_way(clock, monkeypatch):
    renewed = Renewals(clock)
    monkeypatch.setattr(lease, "renew", renewed)
    work = Work(rounds=[True] * 20)
    work.during = lambda: clock.advance(1.0)
    assert candidate(work, clock=clock).once()
    assert len(renewed) >= 6


@pytest.mark.django_db(transaction=True)
def test_a_fault_of_its_own_does_not_end_the_thread(monkeypatch):
    turned, again = [], threading.Event()

    def turn(self: Leader) -> float:
        turned.append(1)
        if len(turned) == 1:
            raise ZeroDivisionError
        again.set()
        return 0.01

    monkeypatch.setattr(module.Leader, "turn", turn)
    monkeypatch.setattr(module, "POLL_S", 0.01)
    with beside([]):
        assert again.wait(timeout=30)
    assert telemetry.collect()["resilience_internal_errors_total"]["loop", "turn"] == 1


@pytest.mark.django_db(transaction=True)
def test_beside_a_server_it_leads_from_the_start_and_gives_the_lease_back_at_the_end():
    done = threading.Event()
    work = Work()
    work.during = done.set
    with beside([work]):
        assert done.wait(timeout=30)
        assert seen().is_led
    assert not seen().is_led
