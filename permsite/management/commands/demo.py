"""demo: the site with a demo world, on a store of its own, from nothing."""

from __future__ import annotations

import argparse
import os
import shutil
import time
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from django.conf import settings
from django.core.cache import caches
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError
from django.db import connection

from controlplane.collector import running as metrics
from controlplane.jobs import thread as jobs
from controlplane.live import store as live_store
from controlplane.loop.leader import beside
from controlplane.loop.tasks import every_task
from permsite import server
from permsite.launcher import Launcher
from permsite.programs import LaunchError
from permsite.settings import cache, channel_layer, permission_cache
from permsite.version import VERSION

HOST: Final = "127.0.0.1"


class Command(BaseCommand):
    help = "Starts the site with a demo world: SQLite and a Valkey of its own, an administrator, an API key, a ready check."
    # A database that is not migrated yet would fail them; migrating is what comes next.
    requires_system_checks = []  # noqa: RUF012 - Django's own declaration

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--port", type=_port, help=f"this port alone; else {server.DEFAULT_PORT} or the next free one")
        parser.add_argument("--reset", action="store_true", help="forget the demo's database, store, login and key first")

    def handle(self, *args: Any, port: int | None, reset: bool, **options: Any) -> None:
        began = time.monotonic()
        ending = server.Ending()
        ending.listen()
        folder = Path(settings.VAR)
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        if reset:
            self._reset(folder)
        try:
            bound = server.bind(HOST, server.DEFAULT_PORT if port is None else port, or_next=port is None)
        except (server.PortTakenError, OSError) as error:
            raise CommandError(str(error)) from None
        try:
            with bound, Launcher() as launcher:
                self._use(server.address_of(bound))
                store = self._store(launcher, folder)
                live_store.alone()
                self._prepare(store, began)
                metrics.wipe()
                with metrics.beside("server"), beside(every_task()), jobs.beside():
                    server.run(bound, ending=ending)
        except KeyboardInterrupt:
            pass  # Ctrl-C is how a demo ends; the launcher has ended its children
        self.stdout.write("The demo has ended.")

    def _reset(self, folder: Path) -> None:
        if os.environ.get("DATABASE_URL"):
            raise CommandError(
                "--reset forgets the demo's own SQLite file; DATABASE_URL names another database, which stays as it is"
            )
        name = Path(str(connection.settings_dict["NAME"]))
        for path in (
            name,
            *(name.with_name(name.name + end) for end in ("-wal", "-shm")),
            folder / "admin_password",
            folder / "api_key",
        ):
            path.unlink(missing_ok=True)
        shutil.rmtree(folder / "valkey", ignore_errors=True)

    def _use(self, address: str) -> None:
        """Nothing has read these yet: the settings' values follow the socket, which is bound only now."""
        if not settings.PUBLIC_URL:
            settings.PUBLIC_URL = os.environ["PUBLIC_URL"] = address

    def _store(self, launcher: Launcher, folder: Path) -> str:
        """What answers for shared state, in words. Starts a Valkey where REDIS_URL names none and a program is to be had."""
        if settings.REDIS_URL:
            return f"{urlsplit(settings.REDIS_URL).scheme} server named by REDIS_URL"
        try:
            child = launcher.redis(folder=folder / "valkey", append_only=True)
        except LaunchError as error:
            self.stderr.write(self.style.WARNING(f"No Valkey: {error}."))
            return "in memory, this one process (no Valkey or Redis was found; answers are the same)"
        settings.REDIS_URL = os.environ["REDIS_URL"] = child.url
        settings.SERVERS_LAUNCHED = True
        settings.CACHES = {"default": cache(child.url), "permissions": permission_cache(child.url)}
        settings.CHANNEL_LAYERS = {"default": channel_layer(child.url)}
        caches.settings = caches.configure_settings(None)
        return child.title

    def _prepare(self, store: str, began: float) -> None:
        call_command("migrate", verbosity=0)
        call_command("collectstatic", interactive=False, verbosity=0)
        from permsite import demo  # noqa: PLC0415 - its services read settings that are set only now

        is_first = demo.load_world()
        account = demo.ensure_administrator()
        key = demo.ensure_key()
        line, allowed = demo.curl(settings.PUBLIC_URL, key)
        password = account.password or "(the one you have set)"
        rows = [
            ("site", f"{settings.PUBLIC_URL}/admin/"),
            ("login", f"{account.name} / {password}"),
            ("API", f"{settings.PUBLIC_URL}/api/docs/"),
            ("API key", key),
            ("database", _shown(str(connection.settings_dict["NAME"]), connection.vendor)),
            ("store", store),
            ("world", f"{demo.BUNDLE.name} was loaded" if is_first else "as you left it (--reset starts anew)"),
        ]
        self.stdout.write(
            f"\npermsite {VERSION} is ready after {time.monotonic() - began:.1f} s. Ctrl-C ends it and all it started.\n\n"
        )
        for name, value in rows:
            self.stdout.write(f"  {name:<9} {value}")
        self.stdout.write(f'\nAsk it (the answer is {{"decision":{str(allowed).lower()}}}):\n\n{line}\n\n')
        self.stdout.flush()


def _port(text: str) -> int:
    if not text.isdigit() or not 0 <= int(text) <= 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is no port: it is a number up to 65535")
    return int(text)


def _shown(name: str, vendor: str) -> str:
    return f"SQLite, {name}" if vendor == "sqlite" else f"PostgreSQL, {name}"
