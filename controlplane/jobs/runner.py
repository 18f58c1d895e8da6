"""One attempt at a run: claimed by its fence, worked at under a heartbeat, ended in one statement that proves the fence.

1. Whoever raises `attempt` in the row has the run; everybody else's later write misses it. So no run ends twice, and a worker
   that was thought dead writes nothing once another has the run.
2. The heartbeat is the database's clock. A worker that could not beat for half of `LOST_S` stops by itself, before anyone may
   think it lost; work that ends in a transaction of its own proves the fence there instead.
"""

from __future__ import annotations

import logging
import os
import secrets
import socket
import threading
import time
from contextvars import ContextVar
from typing import Any, Final
from uuid import UUID

from django.db import DatabaseError, InterfaceError, connection, transaction
from django.db.models.functions import Now

from controlplane.jobs import kinds, queue
from controlplane.jobs.context import Cancelled, Context, Ending, Lost
from controlplane.models import OperationRun
from controlplane.models.jobs import CANCELLED, DONE, FAILED, LOST, RUNNING, WAITING
from permissions.errors import Refused
from permissions.writing import Actor
from resilience import telemetry, trace

log = logging.getLogger("controlplane.jobs")

# Seconds. Without a heartbeat for so long a run is lost: far above what a busy database or a paused process needs.
LOST_S: Final = 60.0
BEAT_S: Final = 1.0
# Tries to write an end, and seconds between them: a database that is away for a moment. Longer, and the run is found lost.
END_TRIES: Final = 5
END_WAIT_S: Final = 1.0
MOST_ERROR: Final = 1_000


class Worker:
    """Who makes attempts, as rows name it, and whether it is about to end."""

    def __init__(self, name: str, ending: threading.Event | None = None) -> None:
        self.name = name
        self.ending = ending or threading.Event()


working: Final[ContextVar[Worker | None]] = ContextVar("controlplane_worker", default=None)


def attempt(run_id: UUID, *, beat_s: float = BEAT_S, lost_s: float = LOST_S) -> str:
    """The state in which the run is afterwards; empty where it was somebody else's, or there is none."""
    worker = working.get() or Worker(name_of("worker"))
    run = _claim(run_id, worker.name)
    if run is None:
        return ""
    with trace.going_on(run.traceparent, run.request_id, actor=run.actor):
        return _Attempt(run, worker, beat_s, lost_s).make()


def _claim(run_id: UUID, worker: str) -> OperationRun | None:
    seen = OperationRun.objects.filter(id=run_id, state=WAITING, cancel_asked=False).first()
    if seen is None:
        return None
    mine = OperationRun.objects.filter(id=run_id, state=WAITING, cancel_asked=False, attempt=seen.attempt)
    taken = mine.update(
        state=RUNNING, attempt=seen.attempt + 1, worker=worker[:300], heartbeat_at=Now(), started_at=Now(), error="", result=None
    )
    if not taken:
        return None
    seen.attempt += 1
    return seen


class _Attempt:
    def __init__(self, run: OperationRun, worker: Worker, beat_s: float, lost_s: float) -> None:
        self._run = run
        self._worker = worker
        self._beat_s = beat_s
        self._silence_s = lost_s / 2
        self._over = threading.Event()
        self._told: dict[str, Any] = {}
        # Only while the row is still this attempt's.
        self._mine = OperationRun.objects.filter(id=run.id, attempt=run.attempt, state=RUNNING)
        self.context = Context(
            str(run.id),
            run.attempt,
            arguments=run.arguments,
            actor=actor_of(run),
            reason=run.reason,
            request_id=run.request_id,
            key=run.key,
            finish=lambda result: self._end(DONE, result=result),
            log=run.log,
            ending=worker.ending,
        )

    def make(self) -> str:
        run, context = self._run, self.context
        log.info("job %s begins", run.kind, extra={"job": str(run.id), "attempt": run.attempt, "worker": self._worker.name})
        tell("job.running", run, attempt=run.attempt)
        pulse = threading.Thread(target=self._beat, name="job-heartbeat", daemon=True)
        pulse.start()
        try:
            state, ended = self._work()
        finally:
            self._over.set()
            pulse.join()
        if state == WAITING:
            state = self._put_back()
        elif state != LOST and not (state == DONE and context.is_finished) and not self._ended(state, ended):
            state = LOST
        if state == LOST:
            # Said by whoever took it away, or will be by the leader who finds it.
            log.warning("job %s is no longer this worker's", run.kind, extra={"job": str(run.id)})
            return state
        level = logging.ERROR if state == FAILED else logging.INFO
        log.log(level, "job %s: %s", run.kind, state, extra={"job": str(run.id), "error": ended.get("error", "")})
        if state != WAITING:
            telemetry.count("permsite_jobs_ended_total", run.kind, state)
            tell(f"job.{state}", run, done=context.done, total=context.total, error=ended.get("error", ""))
        return state

    def _work(self) -> tuple[str, dict[str, Any]]:
        """The state that follows, and the columns that go with it. WAITING: to be put back. LOST: to be left alone."""
        context = self.context
        kind = kinds.find(self._run.kind)
        if kind is None:
            return FAILED, {"error": f"this version knows no job {self._run.kind!r}"}
        try:
            context.check()
            return DONE, {"result": kind.work(context)}
        except Lost:
            return LOST, {}
        except Cancelled:
            return CANCELLED, {}
        except Ending:
            return WAITING, {}
        except Refused as error:
            for problem in getattr(error, "problems", ())[:50]:
                context.log(str(problem))
            return FAILED, {"error": error.detail[:MOST_ERROR]}
        except Exception as error:
            # Its text may hold what a row that many may read should not: that goes to the log alone.
            log.exception("job %s failed", self._run.kind, extra={"job": str(self._run.id)})
            return FAILED, {"error": f"{type(error).__name__}; the log says more under {self._run.request_id or self._run.id}"}

    # The end
    def _ended(self, state: str, columns: dict[str, Any]) -> bool:
        for left in reversed(range(END_TRIES)):
            try:
                self._end(state, **columns)
            except Lost:
                return False
            except (DatabaseError, InterfaceError) as error:
                # Inside a transaction, a test's, there is nothing to wait for.
                if connection.in_atomic_block:
                    raise
                log.warning("the end of a job could not be written (%s)", type(error).__name__)
                connection.close()
                if left:
                    time.sleep(END_WAIT_S)
            else:
                return True
        return False

    def _end(self, state: str, **columns: Any) -> None:
        """Raises Lost where the run is another's by now."""
        snapshot = self.context.snapshot()
        if state == DONE and snapshot["total"]:
            snapshot["done"] = snapshot["total"]
        if not self._mine.update(state=state, ended_at=Now(), heartbeat_at=None, **snapshot, **columns):
            raise Lost

    def _put_back(self) -> str:
        """For another worker; a kind that cannot be begun again is lost."""
        kind = kinds.find(self._run.kind)
        try:
            with transaction.atomic():
                # Locked: a run that waits while its end is asked for would be claimed by nobody, for ever.
                asked = self._mine.select_for_update().values_list("cancel_asked", flat=True).first()
                if asked is None:
                    raise Lost
                if asked:
                    self._end(CANCELLED)
                    return CANCELLED
                self.context.log("the worker was stopped")
                if kind is None or not kind.again:
                    self._end(LOST, error="the worker was stopped, and this kind is not begun again by itself")
                    say_lost(self._run, again=False)
                    return LOST
                put = {"state": WAITING, "worker": "", "heartbeat_at": Now(), "task_id": queue.enqueue(self._run.id)}
                if not self._mine.update(**self.context.snapshot(), **put):
                    raise Lost
        except Lost:
            return LOST
        except (DatabaseError, InterfaceError) as error:
            log.warning("a job could not be put back (%s): the leader will find it lost", type(error).__name__)
            return LOST
        tell("job.waiting", self._run)
        return WAITING

    # The heartbeat
    def _beat(self) -> None:
        beaten_s = time.monotonic()
        try:
            while not self._over.wait(self._beat_s):
                try:
                    self._beat_once()
                    beaten_s = time.monotonic()
                except (DatabaseError, InterfaceError) as error:
                    if time.monotonic() - beaten_s > self._silence_s:
                        self.context.silent.set()
                    log.warning("the heartbeat of a job failed (%s)", type(error).__name__)
                    connection.close()
        finally:
            connection.close()

    def _beat_once(self) -> None:
        snapshot = self.context.snapshot()
        is_new = snapshot != self._told
        if not self._mine.update(heartbeat_at=Now(), **(snapshot if is_new else {})):
            self.context.lost.set()
            return
        if OperationRun.objects.filter(id=self._run.id, cancel_asked=True).exists():
            self.context.cancelled.set()
        if is_new:
            self._told = snapshot
            tell("job.progress", self._run, **{name: snapshot[name] for name in ("done", "total", "step")})


def name_of(way: str) -> str:
    """Host, process and way for people, and random bits: a process that has another's number is not that other."""
    return f"{socket.gethostname()[:200]}:{os.getpid()}:{way}:{secrets.token_hex(4)}"


def ended(run: OperationRun) -> None:
    """Counts and tells of an end that no attempt came to."""
    telemetry.count("permsite_jobs_ended_total", run.kind, run.state)
    tell(f"job.{run.state}", run)


def say_lost(run: OperationRun, *, again: bool) -> None:
    log.warning("job %s was lost", run.kind, extra={"job": str(run.id), "worker": run.worker, "again": again})
    telemetry.count("permsite_jobs_lost_total", run.kind)
    if not again:
        telemetry.count("permsite_jobs_ended_total", run.kind, LOST)
    tell("job.lost", run, again=again, worker=run.worker)


def actor_of(run: OperationRun) -> Actor:
    return Actor(run.actor_kind, run.actor, subject=run.actor_subject or None, administrator=run.is_administrator)  # type: ignore[arg-type]  # stored from one


def tell(name: str, run: OperationRun, **more: Any) -> None:
    telemetry.emit(name, job=str(run.id), kind=run.kind, actor=run.actor, **more)
