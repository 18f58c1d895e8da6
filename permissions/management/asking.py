"""What the four asking commands share: their arguments, and one way to end on a question that cannot be answered."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
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

    def print_page(self, lines: Sequence[str], limit: int, after: str) -> None:
        """Whole, or cut at `limit` with the line to go on after on stderr: a cut list never looks complete."""
        if limit < 0:
            self.fail("--limit must not be negative")
        start = 0
        if after:
            if after not in lines:
                self.fail(f"--after {after!r} is no line of this answer (any more)")
            start = lines.index(after) + 1
        end = len(lines) if limit == 0 else start + limit
        for line in lines[start:end]:
            self.stdout.write(line)
        if end < len(lines):
            self.stderr.write(f"{len(lines) - end} more: --after {lines[end - 1]!r}")
