"""What the leader does about jobs: those whose worker is gone are begun again or given up, and old rows go.

A worker that was killed says nothing, and the queue's row of its attempt stays RUNNING for ever. The fence makes it safe: whoever
was thought dead and comes back finds its run another attempt's, and writes nothing.
"""

from __future__ import annotations

import datetime as dt
import logging
from collections.abc import Callable
from typing import Any, Final

from django.db.models import Q
from django.db.models.functions import Now
from django_tasks.base import TaskResultStatus
from django_tasks_db.models import DBTaskResult

from controlplane.jobs import kinds, queue, runner
from controlplane.models import OperationRun
from controlplane.models.jobs import ENDED, LOST, RUNNING, WAITING

log = logging.getLogger("controlplane.jobs")

BATCH: Final = 20
# A job that takes its worker down with it each time would do so for ever.
MOST_ATTEMPTS: Final = 3
KEEP_S: Final = 30 * 86_400.0
FORGET_BATCH: Final = 500

# Called just before the commit: news that leave only once nothing but the commit can fail.
Told = Callable[[Callable[[], object]], None]


def silent(lost_s: float) -> Any:
    """Runs without a sign of life: a worker's, or, for one that waits, of a place in the queue."""
    return OperationRun.objects.filter(state__in=[WAITING, RUNNING], heartbeat_at__lt=Now() - dt.timedelta(seconds=lost_s))


def anything_silent(lost_s: float) -> bool:
    return bool(silent(lost_s).exists())


def reclaim(lost_s: float, told: Told) -> bool:
    """Some of them, in the open transaction. True: there may be more."""
    rows = list(silent(lost_s).select_for_update(skip_locked=True).order_by("heartbeat_at")[:BATCH])
    for run in rows:
        if run.state == WAITING:
            _see_to_queue(run)
        else:
            _lost(run, lost_s, told)
    return len(rows) == BATCH


def _see_to_queue(run: OperationRun) -> None:
    """One that waits for its place in the queue is only looked at again later; one that has none gets one."""
    task_id = run.task_id
    if not queue.is_waiting(task_id):
        queue.discard(task_id, "nobody worked at it")
        task_id = queue.enqueue(run.id)
        log.warning("job %s had no place in the queue, and has one again", run.kind, extra={"job": str(run.id)})
    OperationRun.objects.filter(id=run.id, attempt=run.attempt, state=WAITING).update(heartbeat_at=Now(), task_id=task_id)


def _lost(run: OperationRun, lost_s: float, told: Told) -> None:
    kind = kinds.find(run.kind)
    again = kind is not None and kind.again and run.attempt < MOST_ATTEMPTS and not run.cancel_asked
    queue.discard(run.task_id, "its worker was lost")
    line = [dt.datetime.now(dt.UTC).isoformat(timespec="seconds"), f"lost: no sign of life from {run.worker} for {lost_s:g} s"]
    # The fence is raised: the old attempt can write no more, whether the job is begun again or not.
    changes: dict[str, Any] = {"attempt": run.attempt + 1, "log": [*run.log, line][-200:]}
    if again:
        changes |= {"state": WAITING, "worker": "", "heartbeat_at": Now(), "task_id": queue.enqueue(run.id)}
    else:
        changes |= {"state": LOST, "ended_at": Now(), "heartbeat_at": None, "error": "its worker was lost"}
    OperationRun.objects.filter(id=run.id, attempt=run.attempt, state=RUNNING).update(**changes)
    told(lambda: runner.say_lost(run, again=again))


def anything_old(keep_s: float) -> bool:
    return bool(_old(keep_s).exists() or _old_tasks(keep_s).exists())


def forget(keep_s: float) -> bool:
    """Some of what ended long ago. True: there may be more."""
    runs = list(_old(keep_s).order_by("ended_at").values_list("id", flat=True)[:FORGET_BATCH])
    OperationRun.objects.filter(id__in=runs).delete()
    tasks = list(_old_tasks(keep_s).order_by().values_list("id", flat=True)[:FORGET_BATCH])
    DBTaskResult.objects.filter(id__in=tasks).delete()
    return FORGET_BATCH in (len(runs), len(tasks))


def _old(keep_s: float) -> Any:
    return OperationRun.objects.filter(state__in=ENDED, ended_at__lt=Now() - dt.timedelta(seconds=keep_s))


def _old_tasks(keep_s: float) -> Any:
    """One that the library holds for running has its end set by `reclaim`; nothing else here is ever left without."""
    ended = Q(status__in=[TaskResultStatus.FAILED, TaskResultStatus.SUCCESSFUL])
    return DBTaskResult.objects.filter(ended, queue_name=queue.QUEUE, finished_at__lt=Now() - dt.timedelta(seconds=keep_s))
