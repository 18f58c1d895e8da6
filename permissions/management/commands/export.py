"""export: prints a realm as a bundle, such that applying it changes nothing."""

from __future__ import annotations

import sys
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from permissions.bundle.writer import dump
from permissions.models import Realm
from permissions.selectors import one_snapshot
from permissions.services.specs import export_bundle

FAILED = 2


class Command(BaseCommand):
    help = "Print a realm as a bundle."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--realm", default="default", help="realm to print (default: %(default)s)")
        parser.add_argument("--format", choices=["yaml", "json"], default="yaml", help="default: %(default)s")

    def handle(self, *_: Any, **options: Any) -> None:
        # One snapshot: a write between two sections would give a bundle whose lines do not fit together.
        with one_snapshot():
            realm = Realm.objects.filter(name=options["realm"]).first()
            if realm is None:
                self.stderr.write(f"there is no realm {options['realm']!r}")
                sys.exit(FAILED)
            bundle = export_bundle(realm)
        self.stdout.write(dump(bundle, options["format"]), ending="")
