"""The queue: a task of django-tasks for each attempt at a run, in the database and in the transaction of whoever asks."""

from __future__ import annotations

from typing import Final
from uuid import UUID

from django.utils import timezone
from django_tasks import task
from django_tasks.base import TaskResultStatus
from django_tasks_db.models import DBTaskResult

QUEUE: Final = "jobs"


@task(queue_name=QUEUE)
def attempt_run(run_id: str) -> str:
    """Any worker of the queue may call it, the library's own `db_worker` too; who claims the run first works at it."""
    from controlplane.jobs import runner  # noqa: PLC0415 - it enqueues in turn

    return runner.attempt(UUID(run_id))


def enqueue(run_id: UUID) -> UUID:
    return UUID(str(attempt_run.enqueue(str(run_id)).id))


def discard(task_id: UUID | None, why: str) -> None:
    """Ends the queue's row of an attempt that nobody will make, or that nobody makes any more."""
    if task_id is not None:
        DBTaskResult.objects.filter(id=task_id, status__in=[TaskResultStatus.READY, TaskResultStatus.RUNNING]).update(
            status=TaskResultStatus.FAILED, finished_at=timezone.now(), exception_class_path="", traceback=why
        )


def is_waiting(task_id: UUID | None) -> bool:
    return task_id is not None and DBTaskResult.objects.filter(id=task_id, status=TaskResultStatus.READY).exists()
