"""runcontrol: the control loop alone, for hosts that serve nothing, or once, for cron."""

from __future__ import annotations

import argparse
import signal
from typing import Any, Final

from django.core.management.base import BaseCommand, CommandError
from django.db import DatabaseError, InterfaceError

from controlplane.collector import running as metrics
from controlplane.loop import lease
from controlplane.loop.leader import Leader, beside
from controlplane.loop.tasks import every_task

_ENDS: Final = (signal.SIGINT, signal.SIGTERM)


class Command(BaseCommand):
    help = (
        "Runs the control loop: pruning, roll-ups, expiry events. `serve` and `demo` run it too; of several one leads, "
        "the others stand by. SIGTERM or SIGINT ends it."
    )

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--once", action="store_true", help="every task until it has nothing more to do, then the end (cron)")

    def handle(self, *args: Any, once: bool, **options: Any) -> None:
        if once:
            self._once()
            return
        # Waited for, not handled: a handler that sets an event may run while this thread holds the event's own lock.
        signal.pthread_sigmask(signal.SIG_BLOCK, _ENDS)
        with metrics.beside(), beside(every_task()) as leader:
            self.stdout.write(f"The control loop runs as {leader.holder}.")
            self.stdout.flush()
            signal.sigwait(_ENDS)
        self.stdout.write("The control loop has ended.")

    def _once(self) -> None:
        leader = Leader(every_task())
        try:
            led = leader.once()
            if not led:
                self.stdout.write(f"Nothing was done: {self._who()} leads the control loop, and does it.")
                return
        except lease.LostLease:
            raise CommandError("another process took the lease on the way, and does the rest") from None
        except (DatabaseError, InterfaceError) as error:
            raise CommandError(f"the database does not answer as it should ({error}); has migrate been run?") from None
        if leader.failed:
            raise CommandError(f"failed: {', '.join(leader.failed)}; the log says why")
        self.stdout.write("Every task has been run.")

    def _who(self) -> str:
        seen = lease.peek()
        return seen.holder if seen is not None and seen.holder else "another process"
