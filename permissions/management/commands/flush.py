"""flush, Django's own: it empties the audit trail too, which its triggers refuse to everybody else."""

from __future__ import annotations

from typing import Any

from django.core.management.commands import flush
from django.core.management.sql import emit_post_migrate_signal
from django.db import connections

from permissions import triggers


class Command(flush.Command):
    def handle(self, **options: Any) -> None:
        database, quiet = options["database"], options.get("inhibit_post_migrate", False)
        if not triggers.is_there(database):
            super().handle(**options)
            return
        # The signal comes after the triggers are back: it makes the realm `default`, whose first revision they count.
        with triggers.lifted_unsafe(connections[database]):
            super().handle(**(options | {"inhibit_post_migrate": True}))
        if not quiet:
            emit_post_migrate_signal(options["verbosity"], options["interactive"], database)
