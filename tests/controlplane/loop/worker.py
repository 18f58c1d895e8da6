"""A candidate in a process of its own: it marks each act in a table, and freezes itself where a file says so.

`worker.py FOLDER LEASE_S [unfenced]`. A lease of LEASE_S seconds, and every other time in proportion. `FOLDER/before`: who leads
freezes once all that memory can tell says that it does, before the act's transaction. `FOLDER/inside`: it freezes in the
transaction, before its write. `unfenced` plants the fault that the fence is there for.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import django

os.environ["DJANGO_SETTINGS_MODULE"] = "permsite.settings"
django.setup()

from django.db import connection, transaction  # noqa: E402 - Django is set up first

from controlplane.loop import leader as leading  # noqa: E402
from controlplane.loop import lease  # noqa: E402
from controlplane.loop.leader import Leader  # noqa: E402
from controlplane.loop.lease import Act, Term  # noqa: E402

FOLDER = Path(sys.argv[1])


def freeze(where: str) -> None:
    sign = FOLDER / where
    try:
        sign.rename(FOLDER / f"frozen-{os.getpid()}")
    except FileNotFoundError:
        return
    # This thread itself: a signal to the process goes to its main thread, and this one would run on until that one gets a turn.
    signal.pthread_kill(threading.get_ident(), signal.SIGSTOP)


def hasten(factor: float) -> None:
    its: Any = lease
    its.LEASE_S, its.STALLED_S, its.WAIT_S = lease.LEASE_S * factor, lease.STALLED_S * factor, lease.WAIT_S * factor
    its._LEASE_US = int(lease._LEASE_US * factor)
    its = leading
    its.RENEW_S, its.POLL_S = leading.RENEW_S * factor, leading.POLL_S * factor


class Mark:
    name = "mark"
    interval_s = 0.02

    def look(self, term: Term) -> bool:
        self.fence = term.fence
        freeze("before")
        return True

    def step(self, act: Act) -> bool:
        freeze("inside")
        act.cursor = (act.cursor or 0) + 1
        with connection.cursor() as cursor:
            cursor.execute(
                "INSERT INTO loop_marks (fence, pid, number) VALUES (%s, %s, %s)", [self.fence, os.getpid(), act.cursor]
            )
        return False


class Failing:
    """Beside the other, always: what it does must not show."""

    name = "failing"
    interval_s = 0.02

    def look(self, term: Term) -> bool:
        raise RuntimeError("this task fails each time")

    def step(self, act: Act) -> bool:
        raise AssertionError("never looked at")


@contextmanager
def unfenced(term: Term, task: str) -> Iterator[Act]:
    with transaction.atomic():
        yield Act(0, term.cursors.get(task))


def main() -> None:
    hasten(float(sys.argv[2]) / lease.LEASE_S)
    if "unfenced" in sys.argv[3:]:
        patched: Any = lease
        patched.acting = unfenced
    stop = threading.Event()
    leader = Leader([Mark(), Failing()])
    thread = threading.Thread(target=leader.run, args=(stop,))
    signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGTERM,))
    thread.start()
    signal.sigwait((signal.SIGTERM,))
    stop.set()
    thread.join()


main()
