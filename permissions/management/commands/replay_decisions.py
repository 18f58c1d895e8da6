"""replay_decisions FILE: decides each line of a decision log once more at its revision; exit status 1 if any answer differs."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from django.core.management.base import CommandParser
from tqdm import tqdm

from permissions.engine.reasons import Unavailable
from permissions.management.asking import DENIED, FAILED, AskingCommand
from permissions.timeline.replay import Replay, surveyed

# Lines of each kind that are named one by one; differences all are.
MOST_NAMED = 20


class Command(AskingCommand):
    help = (
        "Decide each line of a decision log once more, with the rows of its revision and at its instant. Exit 1 on a difference."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("file", help="a file of the decision log (JSON lines)")

    def handle(self, *_: Any, file: str, **options: Any) -> None:
        try:
            self._replay(Path(file))
        except OSError as error:
            self.fail(f"{file} cannot be read: {error.strerror or error}")
        except Unavailable as error:
            self.fail(str(error))

    def _replay(self, path: Path) -> None:
        # Half a character of a torn line is no reason to stop: the line is told to be unreadable.
        with path.open(encoding="utf-8", errors="replace") as lines:
            number, needed = surveyed(lines)
        named = {"skipped": 0, "unreadable": 0}
        with (
            Replay(needed) as replay,
            path.open(encoding="utf-8", errors="replace") as lines,
            tqdm(total=number, desc="replay", unit=" lines", disable=not self.stderr.isatty(), leave=False) as bar,
        ):
            for outcome in replay.outcomes(lines):
                bar.update(outcome.number - bar.n)
                if outcome.result in named:
                    named[outcome.result] += 1
                    if named[outcome.result] > MOST_NAMED:
                        continue
                if outcome.result != "same":
                    # Past the bar, which would be drawn over it.
                    bar.clear()
                    self.stdout.write(f"line {outcome.number} {outcome.result}: {outcome.told}")
        counts = replay.counts
        total = sum(counts.values())
        self.stdout.write(
            f"{total} decisions: {counts['same']} the same, {counts['different']} different, "
            f"{counts['skipped']} that cannot be replayed, {counts['unreadable']} lines that cannot be read"
        )
        if counts["different"] or counts["unreadable"]:
            sys.exit(DENIED)
        if total == 0:
            self.stderr.write("the file holds no decision")
            sys.exit(FAILED)
