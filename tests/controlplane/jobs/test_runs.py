"""One run: asked for in a transaction, made once, told how far it is, cancelled, put back."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from uuid import uuid4

import pytest
from django.db import transaction

from controlplane.jobs import kinds, runner, service
from controlplane.jobs.context import MOST_LINES, Context
from controlplane.jobs.worker import Worker
from controlplane.models import OperationRun
from permissions.errors import Conflict, Invalid, NotFound
from permissions.models import AuditEvent, Realm
from resilience import telemetry, trace
from tests.controlplane.jobs.conftest import PATIENCE_S, ROOT, Door, of, queued

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.both_databases]
Attempts = Callable[..., "Future[str]"]


def start(kind: str = "stands", **more: object) -> OperationRun:
    return service.start(kind, actor=ROOT, reason="to see", **more)  # type: ignore[arg-type]


def test_a_run_waits_in_the_queue_until_a_worker_takes_it_and_is_in_the_audit(realm: Realm, door: Door) -> None:
    run = start()
    assert (run.state, queued(), run.reason, run.actor) == ("waiting", 1, "to see", "command:test")
    entry = AuditEvent.objects.get(action="control_job_start")
    assert (entry.object_id, entry.reason, (entry.after or {})["kind"]) == (str(run.id), "to see", "stands")
    door.opened.set()
    worker = Worker()
    assert worker.once()
    run.refresh_from_db()
    assert (run.state, run.result, run.done, run.total, run.attempt) == ("done", {"through": True}, 2, 2, 1)
    assert [line[1] for line in run.log] == ["stands at the door"] and run.ended_at is not None
    assert not worker.once() and queued("SUCCESSFUL") == 1


def test_what_was_asked_for_in_a_transaction_that_is_rolled_back_was_never_asked_for(realm: Realm, door: Door) -> None:
    with pytest.raises(RuntimeError), transaction.atomic():
        start()
        raise RuntimeError
    assert (OperationRun.objects.count(), queued()) == (0, 0)
    assert not AuditEvent.objects.filter(action="control_job_start").exists()


def test_two_workers_that_reach_for_one_run_make_it_once(realm: Realm, door: Door, attempts: Attempts) -> None:
    run = start()
    made = [attempts(run.id) for _ in range(4)]
    assert door.entered.wait(PATIENCE_S)
    door.opened.set()
    assert sorted(future.result(PATIENCE_S) for future in made) == ["", "", "", "done"]
    assert door.most == 1


def test_progress_is_written_and_told_while_it_runs(realm: Realm, door: Door, attempts: Attempts) -> None:
    told = telemetry.Queue(prefix="job.")
    run = start()
    made = attempts(run.id)
    assert door.entered.wait(PATIENCE_S)
    seen = threading.Event()
    leave = telemetry.subscribe(lambda event: seen.set(), "job.progress")
    assert seen.wait(PATIENCE_S) or any(event.name == "job.progress" for event in told.drain())
    run.refresh_from_db()
    assert (run.state, run.done, run.total, run.step) == ("running", 1, 2, "half")
    door.opened.set()
    assert made.result(PATIENCE_S) == "done"
    leave()
    told.close()


def test_one_that_waits_is_cancelled_at_once_and_never_begun(realm: Realm, door: Door) -> None:
    run = service.cancel(start().id, actor=ROOT, reason="not now")
    assert (run.state, run.cancelled_by, queued()) == ("cancelled", "command:test", 0)
    assert not Worker().once() and not door.entered.is_set()
    assert AuditEvent.objects.filter(action="control_job_cancel", reason="not now").exists()


def test_one_that_runs_is_told_to_end(realm: Realm, door: Door, attempts: Attempts) -> None:
    run = start()
    made = attempts(run.id)
    assert door.entered.wait(PATIENCE_S)
    assert service.cancel(run.id, actor=ROOT, reason="enough").state == "running"
    assert made.result(PATIENCE_S) == "cancelled"
    run.refresh_from_db()
    assert run.state == "cancelled" and run.ended_at is not None
    with pytest.raises(Conflict):
        service.cancel(run.id, actor=ROOT)


def test_a_worker_that_ends_puts_its_run_back_for_another(realm: Realm, door: Door, attempts: Attempts) -> None:
    run, ending = start(), threading.Event()
    made = attempts(run.id, runner.Worker("first", ending))
    assert door.entered.wait(PATIENCE_S)
    ending.set()
    assert made.result(PATIENCE_S) == "waiting"
    run.refresh_from_db()
    assert run.state == "waiting" and run.log[-1][1] == "the worker was stopped"
    door.opened.set()
    assert Worker().once() or Worker().once()
    run.refresh_from_db()
    while run.state == "waiting" and Worker().once():  # the queue's row of the first attempt is still there, and does nothing
        run.refresh_from_db()
    assert (run.state, run.attempt) == ("done", 2)


def test_one_that_was_cancelled_just_before_its_worker_ends_is_cancelled_and_waits_for_nobody(
    realm: Realm, door: Door, attempts: Attempts
) -> None:
    run, ending = start(), threading.Event()
    made = attempts(run.id, runner.Worker("first", ending), beat_s=PATIENCE_S)  # the heartbeat, which would tell it, comes later
    assert door.entered.wait(PATIENCE_S)
    service.cancel(run.id, actor=ROOT, reason="enough")
    ending.set()
    assert made.result(PATIENCE_S) == "cancelled"
    run.refresh_from_db()
    assert run.state == "cancelled" and run.ended_at is not None


def test_one_that_must_not_be_begun_again_is_lost_with_its_worker(realm: Realm, door: Door, attempts: Attempts) -> None:
    run, ending = start("once"), threading.Event()
    made = attempts(run.id, runner.Worker("first", ending))
    assert door.entered.wait(PATIENCE_S)
    ending.set()
    assert made.result(PATIENCE_S) == "lost"
    run.refresh_from_db()
    assert run.state == "lost" and "not begun again" in run.error


def test_a_fault_is_told_without_what_it_says(realm: Realm) -> None:
    def broken(context: Context) -> dict[str, object]:
        raise RuntimeError("the password is hunter2")

    kinds.register(of("breaks", broken))
    try:
        run = start("breaks")
        assert Worker().once()
        run.refresh_from_db()
        assert run.state == "failed" and run.error.startswith("RuntimeError") and "hunter2" not in run.error
    finally:
        kinds.unregister("breaks")


def test_a_log_keeps_its_newest_lines_and_counts_the_rest(realm: Realm) -> None:
    def talks(context: Context) -> dict[str, object]:
        for number in range(MOST_LINES + 50):
            context.log(f"line {number} " + "x" * 1000)
        return {}

    kinds.register(of("talks", talks))
    try:
        run = start("talks")
        assert Worker().once()
        run.refresh_from_db()
        assert (len(run.log), run.log_dropped) == (MOST_LINES, 50) and run.log[0][1].startswith("line 50 ")
        assert all(len(line[1]) <= 300 for line in run.log)
    finally:
        kinds.unregister("talks")


def test_the_same_key_is_the_same_run_and_never_another_job(realm: Realm, door: Door) -> None:
    first = start(key="k-1", args={"slot": ""})
    assert start(key="k-1", args={"slot": ""}).id == first.id and queued() == 1
    with pytest.raises(Conflict, match="another job"):
        start(key="k-1", args={"slot": "b"})
    with pytest.raises(Conflict):
        start("once", key="k-1", args={"slot": ""})


def test_of_one_thing_one_run_at_a_time_and_the_next_once_it_is_over(realm: Realm, door: Door) -> None:
    first = start(args={"slot": "a"})
    assert start(args={"slot": "a"}).id == first.id
    with pytest.raises(Conflict, match="works at it"):
        start(args={"slot": "a", "other": 1})
    service.cancel(first.id, actor=ROOT)
    assert start(args={"slot": "a"}).id != first.id


def test_an_ended_run_is_repeated_as_a_new_one(realm: Realm, door: Door) -> None:
    first = start(args={"slot": "a"})
    with pytest.raises(Conflict, match="not ended"):
        service.repeat(first.id, actor=ROOT)
    service.cancel(first.id, actor=ROOT)
    again = service.repeat(first.id, actor=ROOT, reason="now")
    assert again.id != first.id and again.repeat_of == first.id and again.arguments == {"slot": "a"}
    assert (AuditEvent.objects.get(action="control_job_repeat").after or {})["repeats"] == str(first.id)


def test_the_work_goes_on_with_the_trace_of_whoever_asked(realm: Realm) -> None:
    seen: list[dict[str, str]] = []

    def looks(context: Context) -> dict[str, object]:
        seen.append(trace.fields())
        return {}

    kinds.register(of("looks", looks))
    try:
        with trace.going_on(f"00-{'a' * 32}-{'b' * 16}-01", "r-1"):
            run = start("looks")
        assert (run.trace_id, run.request_id) == ("a" * 32, "r-1")
        assert Worker().once()
        assert seen[0]["trace_id"] == "a" * 32 and seen[0]["request_id"] == "r-1" and seen[0]["actor"] == "command:test"
    finally:
        kinds.unregister("looks")


@pytest.mark.parametrize("kind", ["", "nothing", 7, True, None, ["import"], "\U0001f600"])
def test_what_is_no_kind_is_refused_and_leaves_nothing(realm: Realm, kind: object) -> None:
    with pytest.raises(Invalid, match="kind"):
        service.start(kind, actor=ROOT)
    assert not OperationRun.objects.exists()


@pytest.mark.parametrize("args", [[], "x", 7, True])
def test_arguments_are_an_object(realm: Realm, door: Door, args: object) -> None:
    with pytest.raises(Invalid, match="arguments"):
        start(args=args)
    assert not OperationRun.objects.exists()


@pytest.mark.parametrize("key", ["k\n", "x" * 201, 7, None, True])
def test_a_key_is_a_short_line(realm: Realm, door: Door, key: object) -> None:
    with pytest.raises(Invalid, match="key"):
        start(key=key)
    assert not OperationRun.objects.exists()


def test_a_job_that_there_is_not(realm: Realm) -> None:
    for act in (service.cancel, service.repeat, service.one):
        with pytest.raises(NotFound):
            act(uuid4(), actor=ROOT)
    assert runner.attempt(uuid4()) == ""
