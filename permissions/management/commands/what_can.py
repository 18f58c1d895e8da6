"""what_can SUBJECT: the pairs of permission and resource for which a check says yes, a line each."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandParser

from permissions import pdp
from permissions.management.asking import AskingCommand


class Command(AskingCommand):
    help = "List what SUBJECT may do: a permission, and the resource it holds on (none: the realm itself)."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("subject", help="such as user:alice")
        parser.add_argument("--type", default="", help="only resources of this type, with every permission")
        parser.add_argument("--permission", default=None, help="only this permission")
        parser.add_argument("--resource", default=None, help="only this resource, with every permission")
        self.add_context(parser)
        self.add_realm(parser)
        self.add_page(parser)

    def handle(self, *_: Any, subject: str, **options: Any) -> None:
        attributes = self.context_of(options["context"])
        pairs = self.answered(
            lambda: pdp.what_can(
                subject,
                options["permission"],
                resource=options["resource"],
                type=options["type"],
                context=attributes,
                realm=options["realm"],
                full=True,
            )
        )
        lines = [pair.permission if pair.resource is None else f"{pair.permission} {pair.resource}" for pair in pairs]
        self.print_page(lines, options["limit"], options["after"])
