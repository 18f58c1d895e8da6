"""verify_audit: walks the audit chain of one realm or of all, and names the first entry that does not fit."""

from __future__ import annotations

import sys
from typing import Any

from django.core.management.base import BaseCommand, CommandParser
from tqdm import tqdm

from permissions import audit
from permissions.models import AuditEvent

BROKEN, FAILED = 1, 2


class Command(BaseCommand):
    help = "Verify the audit chains. Exit 1 if an entry was altered, removed or put in; keep the printed heads elsewhere."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--realm", default=None, help="verify this realm's chain only (default: all chains)")

    def handle(self, *_: Any, realm: str | None, **options: Any) -> None:
        chains = audit.chains()
        if realm is not None:
            if realm not in chains:
                self.stderr.write(f"there is no audit entry of a realm {realm!r}")
                sys.exit(FAILED)
            chains = [realm]
        total = AuditEvent.objects.filter(realm_name__in=chains).count()
        is_broken = False
        with tqdm(total=total, desc="audit", unit=" entries", disable=not self.stderr.isatty(), leave=False) as bar:

            def step(number: int) -> None:
                bar.update(number)

            for name in chains:
                result = audit.verify(name, progress=step)
                told = f"realm {name!r}" if name else "the platform"
                if result.first_bad is None:
                    erased = f", {result.erased} of them erased" if result.erased else ""
                    self.stdout.write(f"{told}: {result.checked} entries fit{erased}; head {result.head}")
                else:
                    is_broken = True
                    self.stderr.write(f"{told}: entry {result.first_bad} {result.problem}; the {result.checked} before it fit")
        if is_broken:
            sys.exit(BROKEN)
