"""demo_load: a bounded, realistic load on the local demo, so that every page has something that moves. It ends by itself."""

from __future__ import annotations

import argparse
import random
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, Final

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from tqdm import tqdm

from permsite import keep, server
from permsite.load import Load, NotLocalError, Refusal, local

MAX_RATE: Final = 500
MAX_SECONDS: Final = 3_600
# Until the first answer: a demo that was started just now needs some seconds.
START_S: Final = 60.0


class Command(BaseCommand):
    help = (
        "Asks the demo on this machine what its users would ask: checks, batches, searches, some changes, busier by day than by "
        "night (a day takes two minutes). Ends by itself, takes back what it changed, goes on over a restart of the server."
    )
    requires_system_checks = []  # noqa: RUF012 - Django's own declaration; it only calls a server

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument(
            "--rate", type=_whole(1, MAX_RATE), default=40, help=f"calls a second at noon; default 40, at most {MAX_RATE}"
        )
        parser.add_argument("--seconds", type=_whole(1, MAX_SECONDS), default=300, help=f"default 300, at most {MAX_SECONDS}")
        parser.add_argument("--url", default="", help=f"default http://127.0.0.1:{server.DEFAULT_PORT}; this machine only")

    def handle(self, *args: Any, rate: int, seconds: int, url: str, **options: Any) -> None:
        try:
            place = local(url or f"http://127.0.0.1:{server.DEFAULT_PORT}")
        except NotLocalError as error:
            raise CommandError(str(error)) from None
        key = keep.read(Path(settings.VAR) / "api_key")
        if not key:
            raise CommandError(f"there is no demo key in {settings.VAR}: start the demo first (manage.py demo)")
        load = Load(place, key, rate=rate, seconds=seconds, chance=random.Random())  # noqa: S311 - nothing secret is drawn
        self.stdout.write(f"Load on {place.url}: up to {rate} calls a second for {seconds} s. Ctrl-C ends it.")
        self.stdout.flush()
        stop = threading.Event()
        try:
            with _ended_by_signal(stop), tqdm(total=seconds, desc="load", unit="s", disable=not self.stderr.isatty()) as bar:
                shown = 0

                def tell(elapsed_s: float, line: str) -> None:
                    nonlocal shown
                    bar.set_postfix_str(line, refresh=False)
                    bar.update(int(elapsed_s) - shown)
                    shown = int(elapsed_s)

                load.run(stop, tell, start_s=START_S)
        except Refusal as error:
            raise CommandError(str(error)) from None
        for line in load.tally.lines():
            self.stdout.write(line)
        if not load.tally.answered:
            raise CommandError(f"{place.url} did not answer once")


@contextmanager
def _ended_by_signal(stop: threading.Event) -> Iterator[None]:
    """Ctrl-C and SIGTERM let the load take back what it changed; a second Ctrl-C ends it at once."""

    def end(number: int, frame: FrameType | None) -> None:
        stop.set()
        signal.signal(signal.SIGINT, signal.default_int_handler)

    before = {number: signal.signal(number, end) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _whole(least: int, most: int) -> Any:
    def read(text: str) -> int:
        if not text.isascii() or not text.isdigit() or not least <= int(text[:9]) <= most:
            raise argparse.ArgumentTypeError(f"{text!r}: must be a whole number, {least} to {most}")
        return int(text)

    return read
