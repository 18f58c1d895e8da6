"""import_roles --format F FILE: turns a real role catalogue into a bundle and applies it."""

from __future__ import annotations

import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

from django.core.management.base import BaseCommand, CommandParser

from permissions.bundle import json_text
from permissions.bundle.difference import render
from permissions.bundle.places import UnreadableError
from permissions.bundle.specs import Bundle
from permissions.errors import Invalid, Problem, Refused
from permissions.importers import FORMATS
from permissions.management.commands.apply import Bars, command_actor
from permissions.models import Permission
from permissions.services.bundles import bundle_apply

FAILED = 2


class Command(BaseCommand):
    help = "Import the roles of AWS, Azure, Google Cloud or Kubernetes from a JSON catalogue. Nobody is given anything by it."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("file", help="the catalogue, a JSON file")
        parser.add_argument("--format", required=True, choices=sorted(FORMATS), help="where the catalogue comes from")
        parser.add_argument(
            "--catalogue", metavar="FILE", help="a JSON list of all known actions: their spelling, and what patterns reach"
        )
        parser.add_argument("--realm", default="default", help="realm to import into (default: %(default)s)")
        parser.add_argument("--dry-run", action="store_true", help="do everything, print the difference, and roll back")

    def handle(self, *_: Any, file: str, realm: str, dry_run: bool, **options: Any) -> None:
        notes: Counter[str] = Counter()
        data = self.read(file)
        catalogue = self.read(options["catalogue"]) if options["catalogue"] else None
        with Bars(shown=self.stderr.isatty()) as bars:
            try:
                bundle = FORMATS[options["format"]](
                    data, catalogue=catalogue, progress=lambda done, total: bars.step("reading", done, total), notes=notes
                )
                applied = bundle_apply(
                    actor=command_actor("import_roles"),
                    bundle=_without_known_codes(bundle, realm),
                    realm_name=realm,
                    dry_run=dry_run,
                    progress=bars.step,
                    reason=f"import of {options['format']} roles",
                )
            except Invalid as error:
                self.fail(file, error.problems)
            except Refused as error:
                self.fail(file, [Problem("", error.detail)])
        self.stdout.write(render(applied.changes))
        lines = sum(len(role.permissions) for role in bundle.roles or ())
        self.stdout.write(f"{len(bundle.roles or ()):,} roles with {lines:,} permission lines read from {Path(file).name}")
        for note, count in notes.items():
            self.stdout.write(f"note ({count:,} times): {note}")
        if dry_run:
            self.stdout.write("dry run: all of it was done and rolled back")
        self.stdout.write(f"revision {applied.revision} token {applied.token}")

    def read(self, file: str) -> Any:
        try:
            data, repeated = json_text.load(Path(file).read_bytes().decode())
        except (OSError, UnicodeDecodeError) as error:
            self.fail(file, [Problem("", str(error))])
        except UnreadableError as error:
            self.fail(file, error.problems)
        if repeated:
            self.fail(file, repeated)
        return data

    def fail(self, file: str, problems: Any) -> NoReturn:
        """Every problem on a line of its own; nothing was changed."""
        for problem in problems:
            self.stderr.write(f"{Path(file).name}: {problem}")
        sys.exit(FAILED)


def _without_known_codes(bundle: Bundle, realm: str) -> Bundle:
    """A catalogue knows codes and nothing about them: a line of its own would take a known permission's title and menu away."""
    if bundle.permissions is None:
        return bundle
    known = set(Permission.objects.filter(realm__name=realm).values_list("code", flat=True))
    return replace(bundle, permissions=tuple(spec for spec in bundle.permissions if spec.code not in known))
