"""What the four asking commands share: their arguments, and one way to end on a question that cannot be answered."""

from __future__ import annotations

import datetime as dt
import json
import sys
from collections.abc import Callable
from typing import Any, NoReturn

from django.core.management.base import BaseCommand, CommandParser

from permissions.engine.reasons import InvalidRequestError, Unavailable
from permissions.errors import Refused

ALLOWED, DENIED, FAILED = 0, 1, 2


class AskingCommand(BaseCommand):
    """Exit status 2, with one line on stderr, whatever keeps a question from being answered."""

    requires_migrations_checks = False

    def add_realm(self, parser: CommandParser) -> None:
        parser.add_argument("--realm", default="default", help="realm to ask (default: %(default)s)")

    def add_context(self, parser: CommandParser) -> None:
        parser.add_argument("--context", default="{}", metavar="JSON", help="attributes of the request, a JSON object")

    def add_at(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--at", default=None, metavar="TIME", help="answer for this time, such as 2026-01-31T12:00:00Z (default: now)"
        )

    def at_of(self, text: str | None) -> dt.datetime | None:
        """A past time is answered with the rows then in force, a future one with those of today."""
        if text is None:
            return None
        try:
            at = dt.datetime.fromisoformat(text)
        except ValueError:
            self.fail(f"--at must be a time such as 2026-01-31T12:00:00Z, not {text[:60]!r}")
        if at.tzinfo is None:
            self.fail(f"--at must name its zone, such as 2026-01-31T12:00:00Z, not {text[:60]!r}")
        return at

    def add_page(self, parser: CommandParser) -> None:
        parser.add_argument("--limit", type=int, default=0, metavar="N", help="print at most N lines (default: all)")
        parser.add_argument("--after", default="", metavar="LINE", help="go on after this line of an earlier page")

    def context_of(self, text: str) -> dict[str, Any]:
        try:
            value = json.loads(text)
        except ValueError as error:
            self.fail(f"--context is not JSON: {error}")
        if not isinstance(value, dict):
            self.fail(f"--context must be a JSON object, not {type(value).__name__}")
        return value

    def answered(self, ask: Callable[[], Any]) -> Any:
        try:
            return ask()
        except (InvalidRequestError, Unavailable, Refused) as error:
            self.fail(str(error))

    def fail(self, message: str) -> NoReturn:
        self.stderr.write(message)
        sys.exit(FAILED)

    def print_pages(self, ask: Callable[[Any, int], Any], line_of: Callable[[Any], str], after: Any, limit: int) -> bool:
        """Page by page, so that no list is held: whole, or cut at `limit` with the line to go on after on stderr. Whether there
        was anything to print."""
        is_empty = True
        if limit < 0:
            self.fail("--limit must not be negative")
        left = limit or None
        while True:
            page = self.answered(lambda: ask(after, 0 if left is None else left))  # noqa: B023 - called at once
            for found in page.results:
                self.stdout.write(line_of(found))
                is_empty = False
            after = page.next_after
            if after is None:
                return not is_empty
            if left is not None:
                left -= len(page.results)
                if left <= 0:
                    # A cut list never looks complete.
                    self.stderr.write(f"more: --after {line_of(page.results[-1])!r}")
                    return not is_empty
