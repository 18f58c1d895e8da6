"""serve: the production server."""

from __future__ import annotations

import argparse
import contextlib
import os
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.db import DatabaseError, connection
from django.db.migrations.executor import MigrationExecutor

from controlplane.collector import running as metrics
from controlplane.jobs import process
from controlplane.loop.leader import beside
from controlplane.loop.tasks import every_task
from permsite import server
from permsite.workers import WorkersFailedError


class Command(BaseCommand):
    help = "Serves the site. SECRET_KEY must be set; SIGTERM or SIGINT ends it once open requests are answered."

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default 127.0.0.1)")
        parser.add_argument("--port", type=int, default=server.DEFAULT_PORT, help=f"default {server.DEFAULT_PORT}")
        parser.add_argument("--workers", type=int, default=1, help="processes (default 1)")
        parser.add_argument("--no-jobs", action="store_true", help="make no background jobs on this host (runjobs makes them)")

    def handle(self, *args: Any, host: str, port: int, workers: int, no_jobs: bool, **options: Any) -> None:
        if not settings.SECRET_KEY_NAMED:
            raise CommandError("SECRET_KEY is not set: set SECRET_KEY or SECRET_KEY_FILE, the same on every host")
        if not 1 <= workers <= 64:
            raise CommandError(f"--workers is {workers}; it takes 1 to 64")
        if not 0 <= port <= 65535:
            raise CommandError(f"--port is {port}; it takes a number up to 65535")
        self._check_database()
        if not Path(settings.STATIC_ROOT).is_dir():
            self.stderr.write(self.style.WARNING("No static files: run manage.py collectstatic, or pages come without style."))
        try:
            bound = server.bind(host, port, or_next=False)
        except (server.PortTakenError, OSError) as error:
            raise CommandError(f"cannot listen on {host}, port {port}: {error}") from None
        with bound:
            address = server.address_of(bound)
            if not settings.PUBLIC_URL:
                # In the environment too: each worker reads its settings anew.
                settings.PUBLIC_URL = os.environ["PUBLIC_URL"] = address
            self.stdout.write(f"Serving {settings.PUBLIC_URL} on {address} with {workers} worker{'s' if workers > 1 else ''}.")
            self.stdout.flush()
            # Here, not in the workers: one candidate a host, whose work no request waits for. Its lease is given back at the end,
            # which a signal's own default would cut short.
            ending = server.Ending()
            ending.listen()
            try:
                metrics.wipe()
                jobs = contextlib.nullcontext() if no_jobs else process.beside("controlplane.collector.running.beside_jobs")
                with (
                    contextlib.suppress(KeyboardInterrupt),
                    metrics.beside("server" if workers == 1 else "loop"),
                    beside(every_task()),
                    jobs,
                ):
                    server.run(bound, workers=workers, ending=ending)
            except WorkersFailedError as error:
                raise CommandError(str(error)) from None

    def _check_database(self) -> None:
        """A schema that is behind would fail request by request. A database that is away is no reason not to start."""
        try:
            executor = MigrationExecutor(connection)
            missing = len(executor.migration_plan(executor.loader.graph.leaf_nodes()))
        except DatabaseError as error:
            self.stderr.write(
                self.style.WARNING(f"The database does not answer yet ({type(error).__name__}); not ready until it does.")
            )
            return
        finally:
            connection.close()
        if missing:
            raise CommandError(f"the database lacks {missing} migrations: run manage.py migrate")
