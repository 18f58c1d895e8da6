"""A worker that gives no sign of life: its run is begun again or given up, and the one thought dead writes nothing."""

from __future__ import annotations

import datetime as dt
import threading
from collections.abc import Callable
from concurrent.futures import Future

import pytest
from django.db import DatabaseError
from django.utils import timezone
from django_tasks_db.models import DBTaskResult

from controlplane.jobs import reclaim, runner, service
from controlplane.jobs.worker import Worker
from controlplane.loop.jobs import JobRetention, Reclaim
from controlplane.loop.leader import Leader
from controlplane.models import OperationRun
from permissions.models import Realm
from resilience import telemetry
from tests.controlplane.jobs.conftest import PATIENCE_S, ROOT, Door, queued

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.both_databases]
Attempts = Callable[..., "Future[str]"]


def killed(run: OperationRun, *, attempt: int = 1) -> None:
    """As a worker leaves it that was killed a while ago: nothing says so."""
    DBTaskResult.objects.filter(id=str(run.task_id)).update(status="RUNNING", started_at=timezone.now())
    old = timezone.now() - dt.timedelta(seconds=120)
    OperationRun.objects.filter(id=run.id).update(state="running", attempt=attempt, worker="gone", heartbeat_at=old)


def lead() -> None:
    leader = Leader([Reclaim()])
    assert leader.once()
    assert not leader.failed


def test_a_killed_workers_run_is_begun_again_and_told_as_lost(realm: Realm, door: Door) -> None:
    told = telemetry.Queue(prefix="job.lost")
    run = service.start("stands", actor=ROOT)
    killed(run)
    lead()
    run.refresh_from_db()
    assert (run.state, queued("RUNNING"), queued("READY"), queued("FAILED")) == ("waiting", 0, 1, 1)
    assert "lost: no sign of life from gone" in run.log[-1][1]
    [event] = told.drain()
    assert event.attributes["job"] == str(run.id) and event.attributes["again"] is True
    told.close()
    door.opened.set()
    assert Worker().once()
    run.refresh_from_db()
    assert run.state == "done"


def test_one_whose_heart_beats_stays_where_it_is(realm: Realm, door: Door, attempts: Attempts) -> None:
    run = service.start("stands", actor=ROOT)
    made = attempts(run.id)
    assert door.entered.wait(PATIENCE_S)
    lead()
    run.refresh_from_db()
    assert run.state == "running"
    door.opened.set()
    assert made.result(PATIENCE_S) == "done"


def test_a_kind_that_must_not_be_begun_again_is_given_up(realm: Realm, door: Door) -> None:
    run = service.start("once", actor=ROOT)
    killed(run)
    lead()
    run.refresh_from_db()
    assert (run.state, run.error, queued("READY")) == ("lost", "its worker was lost", 0)


def test_a_run_that_takes_its_worker_down_each_time_is_given_up(realm: Realm, door: Door) -> None:
    run = service.start("stands", actor=ROOT)
    killed(run, attempt=reclaim.MOST_ATTEMPTS)
    lead()
    run.refresh_from_db()
    assert run.state == "lost"


def test_one_that_was_to_be_cancelled_is_not_begun_again(realm: Realm, door: Door) -> None:
    run = service.start("stands", actor=ROOT)
    killed(run)
    OperationRun.objects.filter(id=run.id).update(cancel_asked=True)
    lead()
    run.refresh_from_db()
    assert run.state == "lost"


def test_a_worker_that_was_only_frozen_writes_nothing_once_another_has_its_run(
    realm: Realm, door: Door, attempts: Attempts
) -> None:
    run = service.start("stands", actor=ROOT)
    # Its heart beats once an hour: as if the process stood still.
    frozen = attempts(run.id, runner.Worker("frozen"), beat_s=3600.0)
    assert door.entered.wait(PATIENCE_S)
    OperationRun.objects.filter(id=run.id).update(heartbeat_at=timezone.now() - dt.timedelta(seconds=120))
    lead()
    run.refresh_from_db()
    assert run.state == "waiting"
    second = attempts(run.id, runner.Worker("second"))
    door.opened.set()
    assert second.result(PATIENCE_S) == "done"
    ended_at = OperationRun.objects.get(id=run.id).ended_at
    # The heart that beats once an hour is not waited for: what ends an attempt wakes it.
    assert frozen.result(PATIENCE_S) == "lost"
    run.refresh_from_db()
    assert (run.state, run.worker, run.ended_at) == ("done", "second", ended_at)


def test_a_worker_cut_off_from_the_database_stops_before_anyone_may_think_it_lost(
    realm: Realm, door: Door, attempts: Attempts, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(self: object) -> None:
        raise DatabaseError("away")

    monkeypatch.setattr(runner._Attempt, "_beat_once", away)
    run = service.start("stands", actor=ROOT)
    made = attempts(run.id, runner.Worker("cut off"), lost_s=0.2)
    assert made.result(PATIENCE_S) == "lost"
    run.refresh_from_db()
    assert run.state == "running"


def test_one_without_a_place_in_the_queue_gets_one(realm: Realm, door: Door) -> None:
    run = service.start("stands", actor=ROOT)
    # A worker was killed after it had taken the queue's row, and before it had the run.
    DBTaskResult.objects.filter(id=str(run.task_id)).update(status="RUNNING")
    OperationRun.objects.filter(id=run.id).update(heartbeat_at=timezone.now() - dt.timedelta(seconds=120))
    lead()
    assert (queued("READY"), queued("RUNNING")) == (1, 0)
    door.opened.set()
    assert Worker().once()
    run.refresh_from_db()
    assert run.state == "done"


def test_one_that_waits_its_turn_keeps_its_place(realm: Realm, door: Door) -> None:
    run = service.start("stands", actor=ROOT)
    OperationRun.objects.filter(id=run.id).update(heartbeat_at=timezone.now() - dt.timedelta(seconds=120))
    lead()
    again = OperationRun.objects.get(id=run.id)
    assert (again.task_id, queued("READY")) == (run.task_id, 1)
    assert not reclaim.anything_silent(runner.LOST_S)


def test_what_ended_long_ago_goes_and_the_rest_stays(realm: Realm, door: Door) -> None:
    old, new, waiting = (service.start("stands", actor=ROOT) for _ in range(3))
    for run in (old, new):
        service.cancel(run.id, actor=ROOT)
    long_ago = timezone.now() - dt.timedelta(days=31)
    OperationRun.objects.filter(id=old.id).update(ended_at=long_ago)
    DBTaskResult.objects.filter(id=str(old.task_id)).update(finished_at=long_ago)
    assert Leader([JobRetention()]).once()
    assert set(OperationRun.objects.values_list("id", flat=True)) == {new.id, waiting.id}
    assert set(DBTaskResult.objects.values_list("id", flat=True)) == {new.task_id, waiting.task_id}


def test_a_stopped_thread_of_a_worker_ends(realm: Realm) -> None:
    worker = Worker(poll_s=3600.0)
    thread = threading.Thread(target=worker.run)
    thread.start()
    worker.stop()
    thread.join(PATIENCE_S)
    assert not thread.is_alive()
