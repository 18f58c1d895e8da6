"""runjobs: makes background jobs, for hosts that serve nothing, or once, for cron."""

from __future__ import annotations

import argparse
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import DatabaseError, InterfaceError

from controlplane.collector import running as metrics
from controlplane.jobs.worker import Worker, serve_until_told


class Command(BaseCommand):
    help = (
        "Makes background jobs: warm-ups, audits, imports. `serve` and `demo` do too; of several workers each job has one. "
        "SIGTERM or SIGINT ends it; a job in hand is put back."
    )

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--once", action="store_true", help="those that wait, then the end (cron)")

    def handle(self, *args: Any, once: bool, **options: Any) -> None:
        if not once:
            self.stdout.write("Jobs are made here.")
            self.stdout.flush()
            with metrics.beside("jobs"):
                serve_until_told()
            self.stdout.write("No more jobs are made here.")
            return
        worker, made = Worker(way="once"), 0
        try:
            while worker.once():
                made += 1
        except (DatabaseError, InterfaceError) as error:
            raise CommandError(f"the database does not answer as it should ({error}); has migrate been run?") from None
        self.stdout.write(f"Looked at {made} place{'' if made == 1 else 's'} in the queue.")
