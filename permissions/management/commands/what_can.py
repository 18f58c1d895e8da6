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

        def page(after: pdp.Access | None, limit: int) -> pdp.AccessPage:
            return pdp.what_can_page(
                subject,
                options["permission"],
                resource=options["resource"],
                type=options["type"],
                context=attributes,
                limit=limit,
                after=after,
                realm=options["realm"],
                full=True,
            )

        self.print_pages(page, _line, _place(options["after"]), options["limit"])


def _line(access: pdp.Access) -> str:
    return access.permission if access.resource is None else f"{access.permission} {access.resource}"


def _place(line: str) -> pdp.Access | None:
    if not line:
        return None
    # A code has no space at its end and an id none at its beginning, but either may have one inside: the first that parts a code
    # from a `type:id` does.
    for place, letter in enumerate(line):
        if letter == " " and ":" in line[:place] and ":" in line[place:]:
            return pdp.Access(line[:place], line[place + 1 :])
    return pdp.Access(line, None)
