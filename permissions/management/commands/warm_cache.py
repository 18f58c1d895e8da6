"""warm_cache: fills the second cache layer with what is hot, as every server process does for itself at its start."""

from __future__ import annotations

import sys
from typing import Any, Final

from django.core.management.base import BaseCommand, CommandParser

from permissions.cache import l2, warmup
from permissions.cache.warmup import Progress, Step
from permissions.management.commands.apply import Bars

FAILED, INVALID = 1, 2
# What waits for the store after the last part: some hundred snapshots.
SETTLE_S: Final = 10.0

WITH_STORE: Final = (
    "Servers find it in Redis or Valkey, where it is kept for an hour; the memory filled here ends with this command."
)
WITHOUT_STORE: Final = (
    "Without Redis or Valkey nothing is shared: what is filled here ends with this command. It shows how long a start takes and "
    "that the database can serve it; to fill a server's memory, start that server or POST /api/v1/system/cache/warm."
)


class Command(BaseCommand):
    help = "Fill the caches with what was asked about in the last 24 hours. Exit 1 if a component failed; the others are filled."
    requires_migrations_checks = False

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--realm", default=None, help="realm to warm (default: default)")
        parser.add_argument("--all", action="store_true", help="warm every realm")
        parser.add_argument(
            "--rate", type=float, default=warmup.RATE, metavar="N", help="at most N snapshots a second (default: %(default)s)"
        )

    def handle(self, *_: Any, realm: str | None, rate: float, **options: Any) -> None:
        if realm is not None and options["all"]:
            self.refuse("give --realm or --all, not both")
        with Bars(shown=self.stderr.isatty()) as bars:
            try:
                progress = warmup.run(
                    None if options["all"] else "default" if realm is None else realm,
                    report=lambda step: self.report(bars, step),
                    rate=rate,
                )
            except ValueError as error:
                self.refuse(f"--{error}")
        self.tell(progress)
        if progress.error:
            self.refuse(progress.error)
        if progress.state != "done":
            sys.exit(FAILED)

    def report(self, bars: Bars, step: Step) -> None:
        bars.step(f"{step.component} of {step.realm}", step.done, step.total)
        # What waits for the store is bounded; a fast database would fill it quicker than the store takes it.
        layer = l2.second_layer()
        if isinstance(layer, l2.RedisLayer):
            layer.writer.settle(SETTLE_S)

    def tell(self, progress: Progress) -> None:
        for step in progress.steps:
            self.stdout.write(_line(step))
        if progress.steps:
            self.stdout.write(f"{progress.state} after {(progress.ended_s or 0) - progress.started_s:.1f} s. {self.kept()}")

    def kept(self) -> str:
        """Where it is now. A command is a process of its own, so all that outlives it is in the store."""
        layer = l2.second_layer()
        if not isinstance(layer, l2.RedisLayer):
            return WITHOUT_STORE
        if not layer.writer.settle(SETTLE_S) or not layer.is_up:
            return f"The store does not answer. {WITHOUT_STORE}"
        return WITH_STORE

    def refuse(self, message: str) -> None:
        self.stderr.write(message)
        sys.exit(INVALID)


def _line(step: Step) -> str:
    told = f"{step.realm}: {step.component} {step.state}"
    if step.total and step.component != "table":
        told += f", {step.done:,} of {step.total:,}"
    return f"{told}: {step.error}" if step.error else told
