"""What goes wrong during a run, one function a fault; each is played every so many seconds, in a thread of its own."""

from __future__ import annotations

import contextlib
import random
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import psycopg

from tests.chaos.consistency import tables
from tests.chaos.consistency.records import boot_ns
from tests.chaos.consistency.servers import frozen

if TYPE_CHECKING:
    from tests.chaos.consistency.harness import Run


@contextlib.contextmanager
def _outage(run: Run) -> Iterator[None]:
    """The database is away, and everybody may say so."""
    with run.database_lock:
        started_ns = boot_ns()
        try:
            yield
        finally:
            run.outages.append((started_ns, boot_ns()))


@dataclass(frozen=True, slots=True)
class Fault:
    every_s: float
    act: Callable[[Run, random.Random], None]


def kill_valkey(run: Run, draw: random.Random) -> None:
    """SIGKILL; it comes back empty, or with an old dump, as if a replica far behind had been promoted."""
    run.valkey.dump()
    run.valkey.kill()
    run.ended.wait(draw.choice((0.0, 0.1, 0.7)))
    run.valkey.start()
    if draw.random() < 0.8:
        run.kills["old values put back"] += run.valkey.restore()


def resurrect(run: Run, draw: random.Random) -> None:
    """Values of earlier are set again over newer ones."""
    with contextlib.suppress(Exception):
        if draw.random() < 0.3:
            run.valkey.dump()
        run.kills["old values put back"] += run.valkey.restore(0.5, draw.random)


def flush_valkey(run: Run, draw: random.Random) -> None:
    with contextlib.suppress(Exception), run.valkey.client() as client:
        client.flushall()


def freeze_valkey(run: Run, draw: random.Random) -> None:
    assert run.valkey.server is not None
    with contextlib.suppress(ProcessLookupError), frozen(run.valkey.server.processes[0].pid):
        run.ended.wait(draw.uniform(0.2, 1.5))


def late_valkey(run: Run, draw: random.Random) -> None:
    """A server that was configured and not there; now it is."""
    if run.valkey.server is None:
        run.valkey.start()


def freeze_process(run: Run, draw: random.Random) -> None:
    with contextlib.suppress(ProcessLookupError), frozen(draw.choice(run.processes).child.pid):
        run.ended.wait(draw.uniform(0.2, 2.5))


def kill_process(run: Run, draw: random.Random) -> None:
    """In the middle of reads, fills and writes; what it was writing is in doubt, and its successor starts cold."""
    run.respawn(draw.randrange(len(run.processes)))


def terminate_backend(run: Run, draw: random.Random) -> None:
    """Rather a connection that is at work than one that waits: in mid-fill, in mid-write."""
    with contextlib.suppress(psycopg.OperationalError), run.postgres.admin() as admin:
        found = admin.execute(
            "SELECT pid, state, left(query, 6), pg_terminate_backend(pid) FROM (SELECT * FROM pg_stat_activity WHERE datname = %s"
            " ORDER BY (state = 'idle'), random() LIMIT 1) a",
            [run.database],
        ).fetchone()
        if found is not None:
            run.kills[f"backend {found[1]}"] += 1


def restart_fast(run: Run, draw: random.Random) -> None:
    with _outage(run):
        run.postgres.stop(signal.SIGINT)
        run.ended.wait(draw.choice((0.0, 0.4, 1.5)))
        run.postgres.start()


def restart_crash(run: Run, draw: random.Random) -> None:
    with _outage(run):
        run.postgres.stop(signal.SIGQUIT)
        run.ended.wait(draw.choice((0.0, 0.4)))
        run.postgres.start()


def new_epoch(run: Run, draw: random.Random) -> None:
    """As `restore` ends: another epoch, here over the same rows."""
    with run.database_lock, contextlib.suppress(psycopg.OperationalError), run.postgres.admin(run.database) as admin:
        admin.execute("UPDATE permissions_realm SET epoch = gen_random_uuid()")


def lose_commits(run: Run, draw: random.Random) -> None:
    """A copy of a moment ago takes the place of the database: same epoch, same timeline, acknowledged commits gone."""
    _put_back(run, draw)


def lose_unseen(run: Run, draw: random.Random) -> None:
    """The same, and all processes but one are frozen until the lost numbers have been made again."""
    _put_back(run, draw, frozen_s=2.5)


def restore_backup(run: Run, draw: random.Random) -> None:
    """The same, and an epoch of its own, as the command `restore` draws one."""
    _put_back(run, draw, draws_epoch=True)


def _put_back(run: Run, draw: random.Random, *, draws_epoch: bool = False, frozen_s: float = 0.0) -> None:
    with _outage(run):
        run.postgres.stop(signal.SIGINT)
        run.postgres.copy_base()
        run.postgres.start()
    # A short while loses a commit or none: then the same numbers are made again before anybody has looked.
    run.ended.wait(draw.choice((0.3, 0.6) if frozen_s else (0.05, 0.15, 0.3, 1.0, 3.0)))
    with contextlib.ExitStack() as stack, contextlib.suppress(ProcessLookupError):
        for process in run.processes[1:] if frozen_s else ():
            stack.enter_context(frozen(process.child.pid))
        _swap(run, draws_epoch=draws_epoch)
        run.ended.wait(frozen_s)


def _swap(run: Run, *, draws_epoch: bool) -> None:
    with _outage(run):
        run.postgres.stop(signal.SIGQUIT)
        closed_ns = boot_ns()
        # What the crash left is read behind closed doors: commits in doubt are in it or not, for good.
        run.postgres.start(private=True)
        with run.postgres.admin(run.database, private=True) as admin:
            rows = tables.noted(admin)
        run.postgres.stop(signal.SIGINT)
        run.postgres.put_back()
        if draws_epoch:
            run.postgres.start(private=True)
            with run.postgres.admin(run.database, private=True) as admin:
                admin.execute("UPDATE permissions_realm SET epoch = gen_random_uuid()")
            run.postgres.stop(signal.SIGINT)
        run.close_history(rows, closed_ns)
        run.postgres.start()


def kill_master(run: Run, draw: random.Random) -> None:
    """Of the cluster; its replica takes over after the second that the others wait. Two at most: no more replicas are there."""
    assert run.valkey.server is not None
    alive = [process for process in run.valkey.server.processes[:3] if process.poll() is None]
    if len(alive) > 1:
        victim = draw.choice(alive)
        victim.kill()
        victim.wait()
        time.sleep(1.0)


FAULTS: Final = {
    "kill valkey": Fault(2.0, kill_valkey),
    "resurrect": Fault(0.5, resurrect),
    "flush valkey": Fault(3.0, flush_valkey),
    "freeze valkey": Fault(4.0, freeze_valkey),
    "late valkey": Fault(3.0, late_valkey),
    "freeze process": Fault(2.5, freeze_process),
    "kill process": Fault(12.0, kill_process),
    "terminate backend": Fault(0.7, terminate_backend),
    "restart fast": Fault(25.0, restart_fast),
    "restart crash": Fault(20.0, restart_crash),
    "new epoch": Fault(10.0, new_epoch),
    "lose commits": Fault(40.0, lose_commits),
    "lose commits unseen": Fault(50.0, lose_unseen),
    "restore": Fault(60.0, restore_backup),
    "kill master": Fault(15.0, kill_master),
}
OF_VALKEY: Final = frozenset({"kill valkey", "resurrect", "flush valkey", "freeze valkey"})
OF_PROCESSES: Final = frozenset({"freeze process", "kill process"})
OF_DATABASE: Final = frozenset(
    {"terminate backend", "restart fast", "restart crash", "new epoch", "lose commits", "lose commits unseen", "restore"}
)
EVERYTHING: Final = OF_VALKEY | OF_PROCESSES | OF_DATABASE
