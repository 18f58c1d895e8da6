"""explain_access SUBJECT PERMISSION [RESOURCE]: the decision with the path that decided, or the nearest missing grants."""

from __future__ import annotations

import json
import sys
from typing import Any

from django.core.management.base import CommandParser

from permissions import pdp
from permissions.management.asking import ALLOWED, DENIED, AskingCommand


class Command(AskingCommand):
    help = "Explain why SUBJECT may or may not do PERMISSION to RESOURCE (exit status as check_access)."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("subject", help="such as user:alice")
        parser.add_argument("permission", help="such as post:edit")
        parser.add_argument("resource", nargs="?", help="such as channel:9 (default: the realm itself)")
        parser.add_argument("--json", action="store_true", help="print one JSON object")
        self.add_context(parser)
        self.add_at(parser)
        self.add_realm(parser)

    def handle(self, *_: Any, subject: str, permission: str, resource: str | None, **options: Any) -> None:
        attributes, instant = self.context_of(options["context"]), self.at_of(options["at"])
        explanation = self.answered(
            lambda: pdp.explain(subject, permission, resource, context=attributes, realm=options["realm"], full=True, at=instant)
        )
        decision = explanation.decision
        if options["json"]:
            self.stdout.write(json.dumps(explanation.to_dict(), ensure_ascii=False, indent=2))
        else:
            word = "allowed" if decision else "denied"
            self.stdout.write(f"{word}: {decision.reason} (revision {decision.revision})")
            for line in explanation.lines():
                self.stdout.write(f"  {line}")
        sys.exit(ALLOWED if decision else DENIED)
