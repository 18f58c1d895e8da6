"""check_access SUBJECT PERMISSION [RESOURCE]: prints the decision; exit status 0 allowed, 1 denied, 2 error."""

from __future__ import annotations

import sys
from typing import Any

from django.core.management.base import CommandParser

from permissions import pdp
from permissions.management.asking import ALLOWED, DENIED, AskingCommand


class Command(AskingCommand):
    help = "Ask whether SUBJECT may do PERMISSION to RESOURCE (exit status 0 allowed, 1 denied, 2 error)."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("subject", help="such as user:alice")
        parser.add_argument("permission", help="such as post:edit")
        parser.add_argument("resource", nargs="?", help="such as channel:9 (default: the realm itself)")
        self.add_context(parser)
        self.add_at(parser)
        self.add_realm(parser)

    def handle(
        self,
        *_: Any,
        subject: str,
        permission: str,
        resource: str | None,
        context: str,
        at: str | None,
        realm: str,
        **__: Any,
    ) -> None:
        attributes, instant = self.context_of(context), self.at_of(at)
        decision = self.answered(
            lambda: pdp.check(subject, permission, resource, context=attributes, realm=realm, full=True, at=instant)
        )
        word = "allowed" if decision else "denied"
        self.stdout.write(f"{word}: {decision.reason} (revision {decision.revision})")
        sys.exit(ALLOWED if decision else DENIED)
