"""The worker: takes one run after the other from the queue, in a thread or a process of its own."""

from __future__ import annotations

import logging
import signal
import threading
from types import FrameType
from typing import Final

from django.db import DatabaseError, InterfaceError, connection
from django_tasks.base import DEFAULT_TASK_BACKEND_ALIAS
from django_tasks_db.management.commands.db_worker import Worker as LibraryWorker
from django_tasks_db.models import DBTaskResult
from django_tasks_db.utils import exclusive_transaction

from controlplane.jobs import runner
from controlplane.jobs.queue import QUEUE
from controlplane.live.heartbeat import HEARTBEAT
from controlplane.services.following import Share

log = logging.getLogger("controlplane.jobs")

POLL_S: Final = 1.0
# Seconds that a run has to stop in, once its worker is told to end; what takes longer is found lost, and begun again.
GRACE_S: Final = 5.0


class Worker(LibraryWorker):
    """The library's, with a loop that may run in any thread, asks without a lock whether there is anything, and outlives a
    database that is away."""

    def __init__(self, *, way: str = "worker", poll_s: float = POLL_S) -> None:
        self.me = runner.Worker(runner.name_of(way))
        super().__init__(
            queue_names=[QUEUE],
            interval=poll_s,
            batch=False,
            backend_name=DEFAULT_TASK_BACKEND_ALIAS,
            startup_delay=False,
            max_tasks=None,
            worker_id=self.me.name[-64:],
            excluded_queue_names=[],
        )

    def stop(self) -> None:
        """A run in hand stops at its next look, and is put back."""
        self.me.ending.set()

    def run(self) -> None:
        runner.working.set(self.me)
        is_away = False
        try:
            while not self.me.ending.is_set():
                try:
                    taken = self.once()
                    is_away = False
                except (DatabaseError, InterfaceError) as error:
                    taken = False
                    if not is_away:
                        is_away = True
                        log.warning("the database does not answer (%s); the jobs' worker asks on", type(error).__name__)
                    connection.close()
                if not taken:
                    self.me.ending.wait(self.interval)
        finally:
            if not connection.in_atomic_block:
                connection.close()

    def once(self) -> bool:
        """Whether there was a run to work at."""
        runner.working.set(self.me)
        connection.close_if_unusable_or_obsolete() if not connection.in_atomic_block else None
        waiting = DBTaskResult.objects.ready().filter(backend_name=self.backend_name, queue_name=QUEUE)
        if not waiting.exists():
            return False
        with exclusive_transaction(waiting.db):
            found = waiting.get_locked()
            if found is None:
                return False
            found.claim(self.worker_id)
        self.run_task(found)
        return True


def serve_until_told() -> None:
    """In the main thread of a process: SIGTERM or SIGINT ends it."""
    worker = Worker(way="process")

    def told(number: int, frame: FrameType | None) -> None:
        # Not an event's own `set`: the handler may run while this thread holds the event's lock.
        threading.Thread(target=worker.stop, daemon=True).start()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, told)
    configuration = Share()
    configuration.start()
    # What its jobs tell reaches the open pages of all the others.
    HEARTBEAT.start("loop")
    try:
        worker.run()
    finally:
        HEARTBEAT.stop()
        configuration.stop()
