"""The leader: gets the lease, keeps it, and does the tasks that are due; without it, it stands by.

One thread does everything, so a task that hangs loses the lease by itself. Each step of a task is one short transaction under the
fence; a task that fails is logged, counted and tried again later, and stops no other.
"""

from __future__ import annotations

import logging
import random
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final, Protocol

from django.db import DatabaseError, InterfaceError, connection

from controlplane.loop import lease
from controlplane.loop.lease import Act, LostLease, Term
from resilience import telemetry
from resilience.clock import SYSTEM, Clock

log = logging.getLogger("controlplane.loop")

RENEW_S: Final = 3.0
POLL_S: Final = 1.0
# Between two steps of a task that has more to do: SQLite's lock is not fair, so other writers need a moment to get it.
PAUSE_S: Final = 0.05
# Seconds at most until a task that fails is tried again.
MAX_RETRY_S: Final = 300.0
# A tenth more or less, or the tasks of a site whose hosts were started together would meet in the database.
JITTER: Final = 0.1
STOP_S: Final = 10.0


class Task(Protocol):
    """Something done once for the whole site, every `interval_s`."""

    name: str
    interval_s: float

    def look(self, term: Term) -> bool:
        """Whether there is anything to do. Holds no lock, writes nothing."""
        ...

    def step(self, act: Act) -> bool:
        """A bounded share of the work, in the open transaction of `act`. True: there is more."""
        ...


@dataclass(slots=True)
class _Job:
    task: Task
    due: float = 0.0
    failures: int = 0


class Leader:
    """One candidate. Not for several threads; `run` in a thread of its own."""

    def __init__(
        self, tasks: Sequence[Task], *, holder: str = "", clock: Clock = SYSTEM, chance: random.Random | None = None
    ) -> None:
        self.holder = holder or lease.new_holder()
        self.term: Term | None = None
        self._jobs = [_Job(task) for task in tasks]
        self._clock = clock
        self._chance = chance or random.Random()  # noqa: S311 - it spreads load, it keeps no secret
        self._renew_at = 0.0
        self._stands_by_for = ""
        # The database did not answer when it was last asked.
        self.is_away = False

    def run(self, stop: threading.Event) -> None:
        """Until `stop` is set; then the lease is given back, so that another takes over at once."""
        while not stop.is_set():
            try:
                pause_s = self.turn()
            except Exception as error:  # noqa: BLE001 - the loop outlives its own faults; a dead thread would tell nobody
                telemetry.internal_error("loop", "turn", error)
                self._step_down("a fault of its own")
                pause_s = POLL_S
            stop.wait(pause_s)
        self.close()

    def close(self) -> None:
        term = self.term
        if term is not None:
            self._step_down("it is ending", level=logging.INFO)
            try:
                lease.release(term)
            except (DatabaseError, InterfaceError) as error:
                log.warning("the lease could not be given back (%s): it runs out by itself", type(error).__name__)
        if not connection.in_atomic_block:
            connection.close()

    def turn(self) -> float:
        """Does what is due; answers in how many seconds to come again."""
        try:
            if self.term is None and not self._elect():
                return self._jittered(POLL_S)
            for job in sorted(self._jobs, key=lambda job: job.due):
                if self._clock.monotonic() >= job.due:
                    self._keep()
                    self._do(job)
            self._keep()
        except LostLease as error:
            self._step_down(str(error))
            return self._jittered(POLL_S)
        except (DatabaseError, InterfaceError) as error:
            self._away(error)
            return self._jittered(POLL_S)
        finally:
            # Back to the pool, or closed where it broke: nobody else does it for a thread without requests. In a transaction it
            # is a test's.
            if not connection.in_atomic_block:
                connection.close_if_unusable_or_obsolete()
        next_at = min(self._renew_at, *(job.due for job in self._jobs)) if self._jobs else self._renew_at
        return max(0.0, next_at - self._clock.monotonic())

    def once(self) -> bool:
        """Every task until it has nothing more to do, then the lease is given back. False: another process leads."""
        try:
            if not self._elect():
                return False
            for job in self._jobs:
                more = True
                while more:
                    self._keep()
                    more = self._do(job)
            return True
        finally:
            self.close()

    @property
    def failed(self) -> list[str]:
        """The tasks whose last try failed."""
        return [job.task.name for job in self._jobs if job.failures]

    def _elect(self) -> bool:
        asked_at = self._clock.monotonic()
        seen = lease.peek()
        self._answers()
        if seen is not None and seen.is_led and seen.holder != self.holder:
            if self._stands_by_for != seen.holder:
                self._stands_by_for = seen.holder
                log.info("stands by: another process leads", extra={"leader": seen.holder, "fence": seen.fence})
            return False
        term = lease.take(self.holder)
        if term is None:
            return False
        self.term, self._renew_at, self._stands_by_for = term, asked_at + RENEW_S, ""
        for job in self._jobs:
            job.due = asked_at
        telemetry.gauge("permsite_loop_leads", 1)
        telemetry.emit("loop.led", holder=self.holder, fence=term.fence)
        log.info("leads the control loop", extra={"holder": self.holder, "fence": term.fence})
        return True

    def _keep(self) -> None:
        """Renews the lease when it is time. Raises LostLease where it is another's."""
        term, asked_at = self.term, self._clock.monotonic()
        if term is None or asked_at < self._renew_at:
            return
        if not lease.renew(term):
            raise LostLease(f"the lease under fence {term.fence} could not be renewed")
        self._renew_at = asked_at + RENEW_S

    def _do(self, job: _Job) -> bool:
        """One step of a task. True: it has more to do at once."""
        term, name, more, result = self.term, job.task.name, False, "idle"
        if term is None:
            return False
        try:
            if job.task.look(term):
                with lease.acting(term, name) as act:
                    more = job.task.step(act)
                result = "ok"
        except LostLease:
            telemetry.count("permsite_loop_steps_total", name, "lost")
            raise
        except Exception as error:  # noqa: BLE001 - one task's fault must stop no other
            self._failed(job, error)
            return False
        telemetry.count("permsite_loop_steps_total", name, result)
        if job.failures:
            log.info("task %s works again", name)
        job.failures = 0
        job.due = self._clock.monotonic() + (PAUSE_S if more else self._jittered(job.task.interval_s))
        return more

    def _failed(self, job: _Job, error: Exception) -> None:
        telemetry.count("permsite_loop_steps_total", job.task.name, "failed")
        job.failures += 1
        wait_s = min(max(job.task.interval_s, POLL_S) * 2 ** min(job.failures - 1, 10), MAX_RETRY_S)
        now = self._clock.monotonic()
        job.due = now + self._jittered(wait_s)
        # With its trace the first time only: a fault that stays would fill the log.
        first = error if job.failures == 1 and not isinstance(error, DatabaseError | InterfaceError) else None
        log.error("task %s failed (%s in a row): %s", job.task.name, job.failures, type(error).__name__, exc_info=first)
        if isinstance(error, DatabaseError | InterfaceError):
            # Is it the task's statement or the whole database? The renewal, asked next, finds out before other tasks run into it.
            self._renew_at = now

    def _away(self, error: Exception) -> None:
        if not self.is_away:
            self.is_away = True
            log.warning("the database does not answer (%s); asks again each second", type(error).__name__)
        self._step_down(f"the database does not answer ({type(error).__name__})")

    def _answers(self) -> None:
        if self.is_away:
            self.is_away = False
            log.info("the database answers again")

    def _step_down(self, why: str, *, level: int = logging.WARNING) -> None:
        term, self.term = self.term, None
        if term is None:
            return
        telemetry.gauge("permsite_loop_leads", 0)
        telemetry.emit("loop.lost", holder=self.holder, fence=term.fence)
        log.log(level, "leads the control loop no longer: %s", why, extra={"holder": self.holder, "fence": term.fence})

    def _jittered(self, seconds: float) -> float:
        return seconds * self._chance.uniform(1 - JITTER, 1 + JITTER)


@contextmanager
def beside(tasks: Sequence[Task]) -> Iterator[Leader]:
    """A candidate in a thread of its own while the block runs, in the process that starts a server; with it the sampler, and
    what tells of this process and hears of the others."""
    # Above this module: the sampler knows the leader.
    from controlplane.loop.beside import live  # noqa: PLC0415

    leader, stop = Leader(tasks), threading.Event()
    # A daemon: a step that hangs must not keep the process from ending; the lease then runs out.
    thread = threading.Thread(target=leader.run, args=(stop,), name="control-loop", daemon=True)
    thread.start()
    try:
        with live(leader):
            yield leader
    finally:
        stop.set()
        thread.join(STOP_S)
