"""apply FILE: brings a realm to what a bundle says, in one transaction, and prints the difference and the new revision token."""

from __future__ import annotations

import getpass
import sys
from pathlib import Path
from typing import Any, NoReturn

from django.core.management.base import BaseCommand, CommandParser
from tqdm import tqdm

from permissions.bundle.difference import render
from permissions.bundle.reader import BadBundle, read
from permissions.conditions import cel
from permissions.errors import Invalid, Refused
from permissions.services.bundles import bundle_apply, unknown_names
from permissions.writing import Actor

FAILED = 2


class Command(BaseCommand):
    help = "Load a bundle (YAML or JSON) into its realm, or roll it back again with --dry-run."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("file", help="the bundle; - reads standard input")
        parser.add_argument("--realm", default=None, help="apply to this realm instead of the one the bundle names")
        parser.add_argument("--dry-run", action="store_true", help="do everything, print the difference, and roll back")
        parser.add_argument("--prune", action="store_true", help="remove what a section of the bundle does not name")
        parser.add_argument("--reason", default="", help="why, for the audit")

    def handle(self, *_: Any, file: str, **options: Any) -> None:
        try:
            text = sys.stdin.buffer.read().decode() if file == "-" else Path(file).read_bytes().decode()
        except (OSError, UnicodeDecodeError) as error:
            self.fail([f"{file}: {error}"])
        with Bars(shown=self.stderr.isatty()) as bars:
            try:
                bundle = read(text, name="standard input" if file == "-" else file, conditions=cel.language())
                applied = bundle_apply(
                    actor=command_actor("apply"),
                    bundle=bundle,
                    realm_name=options["realm"],
                    prune=options["prune"],
                    dry_run=options["dry_run"],
                    progress=bars.step,
                    reason=options["reason"],
                )
            except BadBundle as error:
                # Nothing was asked of the database yet: name what only its rows can tell along with the rest.
                problems = [*error.problems, *unknown_names(error.bundle, options["realm"])]
                self.fail([str(problem) for problem in sorted(dict.fromkeys(problems), key=lambda p: p.line or 0)])
            except Invalid as error:
                self.fail([str(problem) for problem in error.problems])
            except Refused as error:
                self.fail([error.detail])
        self.stdout.write(render(applied.changes))
        if options["dry_run"]:
            self.stdout.write("dry run: all of it was done and rolled back")
        self.stdout.write(f"revision {applied.revision} token {applied.token}")

    def fail(self, lines: list[str]) -> NoReturn:
        """Every problem on a line of its own; nothing was changed."""
        for line in lines:
            self.stderr.write(line)
        sys.exit(FAILED)


class Bars:
    """One bar a section, on a terminal; silent elsewhere."""

    def __init__(self, *, shown: bool) -> None:
        self._shown = shown
        self._bar: tqdm[Any] | None = None
        self._section = ""

    def __enter__(self) -> Bars:
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.close()

    def step(self, section: str, done: int, total: int) -> None:
        if not self._shown:
            return
        if self._bar is None or section != self._section:
            if self._bar is not None:
                self._bar.close()
            self._bar = tqdm(total=total, desc=section, unit="", file=sys.stderr, leave=False)
            self._section = section
        self._bar.update(done - self._bar.n)


def command_actor(command: str) -> Actor:
    """A command acts as an administrator, under the account of the machine that ran it."""
    try:
        account = getpass.getuser()
    except (OSError, KeyError):
        account = "unknown"
    return Actor("command", f"command:{command}:{account}", administrator=True)
